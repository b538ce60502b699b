"""Promises of the cache of fits: what is read from it is what a fit of its own gives, and it is fitted once."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from tests.methods.conftest import CORPUS, METHODS, solver

from lmsteer.data.corpus import Corpus
from lmsteer.data.datamodule import SteerDataModule
from lmsteer.errors import InputError
from lmsteer.methods.fit_cache import FitCache
from lmsteer.methods.learned_method import FittedMethod, LearnedMethod
from lmsteer.methods.lora import DExperts, Lora
from lmsteer.methods.method_file import save_method
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Row
from lmsteer.runs.run import Run
from lmsteer.runs.stages import fit_stage
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.storage.timing import read_seconds
from lmsteer.training.gradient_solver import GradientSolver

LORA, DEXPERTS = Lora(rank=2, lr=0.05), DExperts(rank=2, lr=0.05)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Grows by one with each training."""
    begun: list[Any] = []
    run = GradientSolver.run

    def counted(self: GradientSolver, module: Any, *args: Any, **options: Any) -> None:
        begun.append(module)
        run(self, module, *args, **options)

    monkeypatch.setattr(GradientSolver, "run", counted)
    return begun


def file_of(
    path: Path,
    method: LearnedMethod,
    model: LanguageModel,
    cache: FitCache | None,
    corpus: Corpus = CORPUS,
    **options: Any,
) -> bytes:
    """The bytes of the file of a method."""
    steps, optimizer = options.pop("steps", 4), options.pop("optimizer", None)
    descent = solver(steps) if optimizer is None else replace(solver(steps), optimizer=optimizer)
    data = SteerDataModule(corpus, model, dimensions=1, **{"batch_size": 6, **options})
    fitted, provenance = method.fit(data, SteerConfig(name="tone"), descent, cache=cache)
    assert isinstance(fitted, FittedMethod)
    save_method(path, fitted, provenance)
    return path.read_bytes()


def test_dexperts_takes_the_adapters_of_lora_and_ends_with_the_file_of_a_fit_of_its_own(
    tiny_model: LanguageModel, tmp_path: Path, trainings: list[Any]
) -> None:
    alone = file_of(tmp_path / "alone", DEXPERTS, tiny_model, None)
    assert len(trainings) == 2
    lora = file_of(tmp_path / "lora", LORA, tiny_model, FitCache(tmp_path / "cache"))
    assert len(trainings) == 4
    cache = FitCache(tmp_path / "cache")
    assert file_of(tmp_path / "dexperts", DEXPERTS, tiny_model, cache) == alone
    assert file_of(tmp_path / "again", LORA, tiny_model, cache) == lora
    file_of(tmp_path / "anti_only", replace(DEXPERTS, form="anti_only"), tiny_model, cache)
    assert len(trainings) == 4
    assert cache.saved_seconds > 0


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"batch_size": 5},
        {"max_length": 4},
        {"rows": 8},
        {"dev_rows": 2},
        {"steps": 6},
        {"optimizer": partial(torch.optim.SGD, lr=0.1)},
        {"method": Lora(rank=3, lr=0.05)},
        {"method": Lora(rank=2, alpha=8.0, lr=0.05)},
        {"method": Lora(rank=2, lr=0.01)},
        {"corpus": replace(CORPUS, train=(Row("the film 0 is warm", 1.0), *CORPUS.train[1:]))},
        {"corpus": replace(CORPUS, dev=(Row("the film 0 is warm", 1.0), *CORPUS.dev[1:]))},
    ],
    ids=lambda change: str(next(iter(change))),
)
def test_another_fit_is_never_read_in_its_place(
    change: dict[str, Any], tiny_model: LanguageModel, tmp_path: Path, trainings: list[Any]
) -> None:
    cache = FitCache(tmp_path / "cache")
    file_of(tmp_path / "one", LORA, tiny_model, cache)
    options = {"method": LORA, **change}
    file_of(tmp_path / "other", options.pop("method"), tiny_model, cache, **options)
    assert len(trainings) == 4
    assert cache.saved_seconds == 0


def test_whole_copies_and_fits_with_callbacks_are_not_stored(tiny_model: LanguageModel, tmp_path: Path) -> None:
    data = SteerDataModule(CORPUS, tiny_model, dimensions=1, batch_size=6)
    watched = replace(solver(2), callbacks={"mine": pl.Callback()})
    for method, descent in ((METHODS["whole_copies"], solver(2)), (LORA, watched)):
        method.fit(data, SteerConfig(name="tone"), descent, cache=FitCache(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


def test_the_seconds_of_a_fit_are_told_where_it_was_read_instead(tiny_model: LanguageModel, tmp_path: Path) -> None:
    cache = FitCache(tmp_path / "cache")
    cache.saved_seconds = 1000.0
    data = SteerDataModule(CORPUS, tiny_model, dimensions=1, batch_size=6)
    run = Run(tmp_path / "run", "seed: 0")
    run.begin()
    fit_stage(run, METHODS["prompt"], data, SteerConfig(name="tone"), solver(2), cache=cache)
    assert 1000 < read_seconds(run.folder)["fit"] < 1010


def test_a_damaged_entry_and_a_folder_that_cannot_be_written_are_refused_in_one_line(tmp_path: Path) -> None:
    cache = FitCache(tmp_path / "cache")
    cache.tuned(1, lambda: ({"w": torch.ones(1)}, {}))
    (entry,) = (tmp_path / "cache").glob("*.safetensors")
    entry.write_bytes(entry.read_bytes()[:-2])
    with pytest.raises(InputError, match=rf"{entry.name}: damaged; delete it"):
        cache.tuned(1, lambda: ({}, {}))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cache=.*; another folder or off expected"):
        FitCache(tmp_path / "file" / "fits").tuned(1, lambda: ({}, {}))
