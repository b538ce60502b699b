"""Promises of the reference's padding, which counts in its training loss: for measuring what that does."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fitting import GradientFit

from lmsteer.data.corpus import Corpus
from lmsteer.data.datamodule import PREFETCH_BATCHES, SteerDataModule
from lmsteer.data.feature_store import FeatureStoreConfig
from lmsteer.data.features import FeatureExtractor
from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.records import Row
from lmsteer.reference.padded_batches import PaddedDataModule, PaddedExtractor
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.training.fit import FitEnvironment
from lmsteer.training.module import SteerModule

ROWS = (
    Row("The film is", 1.0),
    Row("This is not the worst thing that could happen to people", -0.5),
    Row("I", 1.0),
    Row("people who learn to live with what they have lost, far too long, far too often", -1.0),
)
CORPUS = Corpus("toy", ROWS * 4, dev=ROWS[:2])
STEER_CONFIG = SteerConfig(name="tone", rank=4, epsilon=0.05)
PADDED = GradientFit(steps=6, batch_size=3, dev_every=3, datamodule=PaddedDataModule)


def reference_loss(model: LanguageModel, steer: Steer, rows: list[Row], max_length: int = 256) -> float:
    """Loss of transformers itself on the padded batch, every token of it a label."""
    texts = [row.text for row in rows]
    batch = model.tokenizer(
        texts, padding=True, padding_side="right", truncation=True, max_length=max_length, return_tensors="pt"
    )
    assert model.tokenizer.pad_token == model.tokenizer.eos_token
    strength = torch.tensor([[row.label, 1.0] for row in rows])
    with torch.no_grad(), steer.apply(model.lm, strength) as lm:
        return float(lm(**batch, labels=batch["input_ids"]).loss)


def data(model: LanguageModel, *, legacy: bool = True, **options: Any) -> SteerDataModule:
    return (PaddedDataModule if legacy else SteerDataModule)(CORPUS, model, dimensions=2, batch_size=3, **options)


def test_the_loss_of_every_training_batch_is_that_of_transformers_on_the_padded_batch(
    tiny_model: LanguageModel, steer: Steer
) -> None:
    check(tiny_model, steer, max_length=256)


def test_so_it_is_for_every_architecture(model: LanguageModel, steer: Steer) -> None:
    # Short texts: padding further off than a sliding window sees no key at all, and what it has then is not defined.
    check(model, steer, max_length=9)


def check(model: LanguageModel, steer: Steer, *, max_length: int) -> None:
    legacy = data(model, max_length=max_length)
    module = SteerModule(steer, model.head)
    losses = torch.stack([module.nll(batch).mean() for batch in legacy.train_batches(range(4))])
    expected = [reference_loss(model, steer, legacy.rows(t), max_length) for t in range(4)]
    torch.testing.assert_close(losses, torch.tensor(expected), rtol=1e-4, atol=1e-4)
    without = data(model, legacy=False, max_length=max_length).train_batches(range(4))
    ours = torch.stack([module.nll(batch).mean() for batch in without])
    assert ((losses - ours).abs() > 1e-3).all()


def test_without_padding_there_is_no_difference(tiny_model: LanguageModel) -> None:
    extract = FeatureExtractor(tiny_model)
    padded, plain = PaddedExtractor(extract)([ROWS[1].text] * 2), extract([ROWS[1].text] * 2)
    assert torch.equal(padded.targets_N, plain.targets_N)
    assert torch.equal(padded.lengths, plain.lengths)
    torch.testing.assert_close(padded.hidden_ND, plain.hidden_ND, rtol=1e-4, atol=1e-4)


def test_a_fit_with_the_switch_learns_from_padding_and_is_judged_without(
    tiny_model: LanguageModel, tmp_path: Path
) -> None:
    steer, provenance = PADDED(
        tiny_model,
        CORPUS,
        STEER_CONFIG,
        environment=FitEnvironment(store=FeatureStoreConfig(where=str(tmp_path / "store"))),
    )
    first = reference_loss(tiny_model, STEER_CONFIG.build(32, 0), data(tiny_model).rows(0))
    assert provenance.training["curve"]["train"][0][1] == pytest.approx(first, rel=1e-4)
    dev = SteerModule(steer, tiny_model.head).nll(data(tiny_model).batch(CORPUS.dev)).mean().item()
    assert min(loss for _, loss in provenance.training["curve"]["dev"]) == pytest.approx(dev, rel=1e-4)
    assert provenance.training["legacy_padding"] is True
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_padded_batch_does_not_depend_on_the_batches_beside_it(tiny_model: LanguageModel) -> None:
    legacy = data(tiny_model)
    together = legacy.train_batches(range(PREFETCH_BATCHES))[3]
    alone = legacy.train_batches([3])[0]
    assert all(torch.equal(one, other) for one, other in zip(together, alone, strict=True))


def test_a_tokenizer_without_an_end_of_sequence_token_is_refused() -> None:
    model = tiny()
    model.tokenizer.eos_token = None
    with pytest.raises(InputError, match=r"data=padded: the tokenizer of .* has no end-of-sequence token"):
        data(model)
