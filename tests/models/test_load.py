"""Promises of models that are built, not loaded."""

from pathlib import Path

import pytest
import torch

from lmsteer.errors import InputError
from lmsteer.models import random_models
from lmsteer.models.random_models import gpt2_shaped, tiny

SIZES = {"width": 16, "layers": 2, "heads": 2, "vocabulary": 400}


@pytest.fixture(autouse=True)
def _small_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the embedded model's, one of 384 tokens."""
    tiny().tokenizer.save_pretrained(tmp_path)
    monkeypatch.setattr(random_models, "smollm2_folder", lambda: tmp_path)


def gpt2_parameters(width: int, layers: int, vocabulary: int) -> int:
    """Counted by hand: embeddings of tokens and 1024 positions; a layer's matrices and vectors; a norm."""
    return (vocabulary + 1024) * width + layers * (12 * width**2 + 13 * width) + 2 * width


def test_it_has_the_parameters_of_a_gpt2_of_its_sizes() -> None:
    model = gpt2_shaped(**SIZES, device="cpu", dtype="float32")
    assert sum(parameter.numel() for parameter in model.lm.parameters()) == gpt2_parameters(16, 2, 400)
    assert gpt2_parameters(1280, 36, 50257) == 774_030_080  # GPT2-large, as published
    assert (model.head.weight.shape, model.head.vocabulary) == ((400, 16), 384)


def test_the_weights_are_those_of_the_seed() -> None:
    one, same, other = (gpt2_shaped(**SIZES, seed=seed, device="cpu", dtype="float32") for seed in (1, 1, 2))
    assert torch.equal(one.head.weight, same.head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"heads": 3}, "width 16, 2 layers, 3 heads"),
        ({"layers": 0}, "width 16, 0 layers"),
        ({"vocabulary": 383}, r"model\.vocabulary=383: 384 or more expected"),
    ],
)
def test_impossible_sizes_are_refused(changed: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        gpt2_shaped(**{**SIZES, **changed})
