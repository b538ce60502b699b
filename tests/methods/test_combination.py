"""Promises of combined methods: vectors add in their layer, adapters are merged as PEFT merges them."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraModel, PeftModel
from tests.methods.conftest import CORPUS, METHODS, fit, solver

from lmsteer.data.corpus import Corpus
from lmsteer.data.datamodule import SteerDataModule
from lmsteer.errors import InputError
from lmsteer.methods.combination import add_vectors, merge_adapters
from lmsteer.methods.layer_vector import LAYER, VECTOR, DiffMean
from lmsteer.methods.learned_method import FittedMethod
from lmsteer.methods.lora import Lora
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Row
from lmsteer.steering.merging import MERGED
from lmsteer.steering.steer_config import SteerConfig

OPPOSITE = Corpus(
    "opposite", *(tuple(Row(row.text, -row.label) for row in rows) for rows in (CORPUS.train, CORPUS.dev))
)
STRENGTHS = [0.5, 2.0]


def test_merged_adapters_write_what_those_of_peft_do(
    tiny_model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = []
    for name, corpus in (("first", CORPUS), ("second", OPPOSITE)):
        data = SteerDataModule(corpus, tiny_model, dimensions=1, batch_size=6)
        one, _ = METHODS["lora"].fit(data, SteerConfig(name="tone"), solver(4), folder=tmp_path / name / "checkpoints")
        assert isinstance(one, FittedMethod)
        fitted.append(one)
    lm = copy.deepcopy(tiny_model.lm)
    stock = PeftModel.from_pretrained(lm, tmp_path / "first" / "adapters" / "positive", adapter_name="first")
    stock.load_adapter(tmp_path / "second" / "adapters" / "positive", adapter_name="second")
    merge_one_module = LoraModel._generalized_task_arithmetic_weighted_adapter

    def merge_from_seed(*arguments: Any, **options: Any) -> Any:
        if not calls:  # the new adapter has drawn its own first weights by now
            torch.manual_seed(5)
        calls.append(1)
        return merge_one_module(*arguments, **options)

    calls: list[int] = []
    monkeypatch.setattr(LoraModel, "_generalized_task_arithmetic_weighted_adapter", merge_from_seed)
    stock.add_weighted_adapter(  # type: ignore[operator]
        ["first", "second"], STRENGTHS, "both", combination_type="dare_linear", density=0.5
    )
    stock.set_adapter("both")
    ids = torch.tensor(tiny_model.tokenize(["the film is warm and funny"]))
    expected = stock.merge_and_unload()(input_ids=ids).logits  # type: ignore[operator]
    (source,) = merge_adapters(fitted, STRENGTHS, density=0.5, seed=5).at(tiny_model, {MERGED: 1.0}).sources
    with source.editing():
        states = tiny_model.hidden(ids)
    torch.testing.assert_close(source.readout(states[0]), expected[0], rtol=1e-3, atol=1e-3)


def test_vectors_of_one_layer_add(tiny_model: LanguageModel) -> None:
    pair = [fit(DiffMean(layer=1), tiny_model, corpus) for corpus in (CORPUS, Corpus("few", CORPUS.train[:4]))]
    combined = add_vectors(pair, STRENGTHS)
    expected = sum(value * one.learned.tensors[VECTOR] for value, one in zip(STRENGTHS, pair, strict=True))
    assert torch.equal(combined.learned.tensors[VECTOR], expected)
    assert combined.learned.values[LAYER] == 1


def test_what_cannot_be_combined_is_refused(tiny_model: LanguageModel) -> None:
    vectors = [fit(DiffMean(layer=layer), tiny_model) for layer in (0, 1)]
    with pytest.raises(InputError, match="vectors of layers 0, 1: one layer expected"):
        add_vectors(vectors, STRENGTHS)
    adapters = [fit(Lora(rank=rank, lr=0.05), tiny_model, steps=1) for rank in (2, 3)]
    with pytest.raises(InputError, match="lora, lora: LoRA adapters of equal options expected"):
        merge_adapters(adapters, STRENGTHS)
    with pytest.raises(InputError, match="diffmean, diffmean: LoRA adapters"):
        merge_adapters(vectors, STRENGTHS)
    with pytest.raises(InputError, match=r"strengths 1.0, -1.0: none below 0"):
        merge_adapters([adapters[0], adapters[0]], [1.0, -1.0])
