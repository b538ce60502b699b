"""Promises of the feature store."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.fitting import GradientFit

from lmsteer.data.corpus import Corpus
from lmsteer.data.datamodule import SteerDataModule
from lmsteer.data.feature_store import FeatureStore, FeatureStoreConfig
from lmsteer.data.features import FeatureExtractor, Features
from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.records import Row
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.storage.shards import key_of
from lmsteer.training.fit import FitEnvironment

TEXTS = [f"the story number {n} is {'warm and funny ' * (n % 4)}indeed" for n in range(30)] + ["a"]
STEER_CONFIG = SteerConfig(name="tone", rank=4, epsilon=0.05)
FIT = GradientFit(steps=12, batch_size=4, dev_every=5)
ROWS = tuple(Row(text, 1.0 if index % 2 else -1.0) for index, text in enumerate(TEXTS))
CORPUS = Corpus("toy", ROWS[:20], ROWS[20:])


def is_close(first: Features, second: Features) -> bool:
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in ("targets_N", "lengths")) and (
        torch.allclose(first.hidden_ND, second.hidden_ND, rtol=1e-4, atol=1e-5)
    )


def forbid_extraction(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the language model ran")

    monkeypatch.setattr(LanguageModel, "hidden", refuse)


def test_stored_features_are_those_of_the_extractor_in_any_order(tmp_path: Path, tiny_model: LanguageModel) -> None:
    extract = FeatureExtractor(tiny_model)
    store = FeatureStore(extract, tmp_path)
    store.add(TEXTS[:20])
    requested = [TEXTS[3], TEXTS[25], TEXTS[30], TEXTS[7], TEXTS[3]]  # two of them are not stored
    assert is_close(store(requested), extract(requested))
    assert store(requested).hidden_ND.dtype == tiny_model.head.weight.dtype


@pytest.mark.parametrize("difference", ["weights", "max_length", "dtype"])
def test_features_of_another_model_length_or_precision_are_not_used(
    tmp_path: Path, tiny_model: LanguageModel, difference: str
) -> None:
    FeatureStore(FeatureExtractor(tiny_model), tmp_path).add(TEXTS)
    extract = {
        "weights": lambda: FeatureExtractor(tiny(seed=1)),
        "max_length": lambda: FeatureExtractor(tiny_model, max_length=5),
        "dtype": lambda: FeatureExtractor(tiny(dtype="bfloat16")),
    }[difference]()
    store = FeatureStore(extract, tmp_path)
    assert torch.equal(store(TEXTS).hidden_ND, extract(TEXTS).hidden_ND)
    assert len(list(tmp_path.iterdir())) == 2


def test_an_interrupted_extraction_goes_on_to_the_same_features(
    tmp_path: Path, tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmsteer.data.feature_store.TOKENS_PER_FILE", 60)
    monkeypatch.setattr("lmsteer.data.features.CPU_TOKENS", 50)
    unbroken = FeatureStore(FeatureExtractor(tiny_model), tmp_path / "a")
    unbroken.add(TEXTS)
    original, calls = LanguageModel.hidden, []

    def die(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(LanguageModel, "hidden", die)
    broken = FeatureStore(FeatureExtractor(tiny_model), tmp_path / "b")
    with pytest.raises(KeyboardInterrupt):
        broken.add(TEXTS)
    assert list((tmp_path / "b").rglob("*.safetensors")), "the case needs a file written before the interruption"
    assert key_of(TEXTS[3]) not in broken.shards, "and texts that are not stored yet"
    broken.add(TEXTS)
    assert torch.equal(broken(TEXTS).hidden_ND, unbroken(TEXTS).hidden_ND)


def test_a_fit_from_the_store_has_the_loss_curve_of_one_without(
    tmp_path: Path, tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, without = FIT(tiny_model, CORPUS, STEER_CONFIG)
    stored = FeatureStoreConfig(where=str(tmp_path))
    _, first = FIT(tiny_model, CORPUS, STEER_CONFIG, environment=FitEnvironment(store=stored))
    assert list((tmp_path / "features").rglob("*.safetensors")), "the folder has others for scores and texts"
    forbid_extraction(monkeypatch)
    _, second = FIT(tiny_model, CORPUS, STEER_CONFIG, environment=FitEnvironment(store=stored))
    assert second.training["curve"] == first.training["curve"]
    stored_loss, plain_loss = (torch.tensor(o.training["curve"]["train"]) for o in (first, without))
    torch.testing.assert_close(stored_loss, plain_loss, rtol=1e-4, atol=0)


def test_auto_stores_only_rows_that_are_used_more_than_once(
    tmp_path: Path, tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stored_texts(*, store_all: bool, steps: int) -> set[str]:
        monkeypatch.setattr("lmsteer.data.feature_store.cache_folder", lambda: tmp_path / f"{store_all}{steps}")
        store = FeatureStoreConfig(where="auto", store_all=store_all)
        small = replace(FIT, steps=steps, dev_rows=3)
        small(tiny_model, CORPUS, STEER_CONFIG, environment=FitEnvironment(store=store))
        stored = store.wrap(FeatureExtractor(tiny_model))
        assert isinstance(stored, FeatureStore)
        return {text for text in TEXTS if key_of(text) in stored.shards}

    dev = {row.text for row in CORPUS.dev[:3]}
    assert stored_texts(store_all=False, steps=5) == dev  # 20 draws of 20 rows
    assert stored_texts(store_all=True, steps=5) == dev | {row.text for row in CORPUS.train}
    data = SteerDataModule(CORPUS, tiny_model, dimensions=2, batch_size=4)
    assert stored_texts(store_all=False, steps=6) == dev | {row.text for row in data.rows(5)}


def test_a_store_that_would_grow_too_large_is_refused_before_the_work(
    tmp_path: Path, tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    forbid_extraction(monkeypatch)
    extract = FeatureExtractor(tiny_model)
    with pytest.raises(InputError, match=r"GiB of hidden states to store, but .* may hold 1e-06: raise cache_gib"):
        FeatureStore(extract, tmp_path, limit=1e-6).add(TEXTS)
    FeatureStore(extract, tmp_path, limit=1e-6, strict=False).add(TEXTS)
    assert "continuing without storing" in caplog.text
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
    with pytest.raises(InputError, match=r"0\.00 are free on the disk of .*: cache=FOLDER on another, or off"):
        FeatureStore(extract, tmp_path).add(TEXTS)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_settings_refuse_what_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cache=.*file: off, auto or a folder expected"):
        FeatureStoreConfig(where=str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cache_gib=0: a number above 0"):
        FeatureStoreConfig(gib=0)
