"""Promises of the one-pass solver: on a tiny model, from texts to a steer file."""

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fitting import GradientFit
from tests.handmade_commands import command_config
from tests.handmade_runs import run_row, stored_run
from tests.tone import write_tone

from lmsteer.commands.train import train
from lmsteer.data.corpus import Corpus
from lmsteer.data.datamodule import SteerDataModule
from lmsteer.data.feature_store import FeatureStoreConfig
from lmsteer.data.features import FeatureExtractor
from lmsteer.errors import InputError
from lmsteer.models.cross_entropy import nll
from lmsteer.models.language_model import LanguageModel
from lmsteer.one_pass.corpus_pass import sum_statistics
from lmsteer.one_pass.one_pass_solver import OnePassSolver
from lmsteer.one_pass.solver import UNIT_KL
from lmsteer.records import Row
from lmsteer.reporting.comparison import compare_runs
from lmsteer.reporting.comparison_rows import kind_label
from lmsteer.runs.stages import settings_of
from lmsteer.steering.kl import divergence
from lmsteer.steering.provenance import load_provenance
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_config import Form, SteerConfig
from lmsteer.steering.steer_file import load_steer, save_steer
from lmsteer.training.fit import FitEnvironment, Solver, fit

STEER_CONFIG = SteerConfig(name="tone", rank=8)
ONE_PASS = OnePassSolver()
GRADIENT = GradientFit(steps=20, batch_size=8, dev_every=10)
TONES = {1.0: "warm and funny", -1.0: "dull, slow and far too long"}


def rows(count: int = 40) -> tuple[Row, ...]:
    return tuple(Row(f"the story number {n} is {tone}", label) for n in range(count) for label, tone in TONES.items())


def corpus() -> Corpus:
    return Corpus("toy", rows()[:60], rows()[60:])


@pytest.fixture(scope="module")
def solved(tiny_model: LanguageModel) -> tuple[Steer, Any]:
    return fit(tiny_model, corpus(), STEER_CONFIG, ONE_PASS)


def mean_nll(model: LanguageModel, steer: Steer, strength: float, label: float) -> float:
    features = FeatureExtractor(model)([row.text for row in corpus().dev if row.label == label])
    steered = steer(features.hidden_ND, torch.tensor([[strength]]))
    return float(nll(model.head, steered, features.targets_N).detach().mean())


def test_a_steer_of_one_pass_makes_each_kind_of_text_likelier_in_its_direction(
    tiny_model: LanguageModel, solved: tuple[Steer, Any]
) -> None:
    steer, _ = solved
    for label in (1.0, -1.0):
        toward, plain, away = (mean_nll(tiny_model, steer, v * label, label) for v in (2.0, 0.0, -2.0))
        assert toward < plain < away


@pytest.mark.parametrize(("epsilon", "damping"), [(1e-30, 1.0), (1e30, 1.0), (1e-3, 1e30)])
def test_weights_beyond_float32_are_refused(tiny_model: LanguageModel, epsilon: float, damping: float) -> None:
    with pytest.raises(InputError, match=r"steer of tone: its weights are beyond float32; solver\.damping and"):
        fit(tiny_model, corpus(), replace(STEER_CONFIG, epsilon=epsilon), OnePassSolver(damping=damping))


def test_the_rank_is_the_number_of_directions_above_the_null(solved: Any) -> None:
    steer, provenance = solved
    assert steer.dimensions == ("tone",)
    result = provenance.training["solver_result"]
    assert result["rank"] == steer.rank == min(8, result["null"]["above"])
    assert result["null"]["permutations"] == 199
    assert sum(size > result["null"]["threshold"] for size in result["spectrum"]) == result["null"]["above"] >= 1


def test_the_same_corpus_gives_the_same_steer_and_the_seed_changes_only_the_permutations(
    tiny_model: LanguageModel, solved: Any
) -> None:
    steer, provenance = solved
    repeated, repeated_provenance = fit(tiny_model, corpus(), STEER_CONFIG, ONE_PASS)
    assert torch.equal(repeated.p1, steer.p1)
    assert repeated_provenance == provenance
    results = [provenance.training["solver_result"]]
    results.append(fit(tiny_model, corpus(), STEER_CONFIG, ONE_PASS, seed=1)[1].training["solver_result"])
    assert results[0]["spectrum"] == results[1]["spectrum"]
    assert results[0]["null"]["threshold"] != results[1]["null"]["threshold"]


def test_without_permutations_the_rank_is_the_configured_one(tiny_model: LanguageModel) -> None:
    for rank, expected in ((3, 3), ("full", "full"), (32, "full")):
        steer_config = replace(STEER_CONFIG, rank=rank)  # type: ignore[arg-type]
        steer, provenance = fit(tiny_model, corpus(), steer_config, OnePassSolver(permutations=0))
        assert steer.rank == expected
        assert provenance.training["solver_result"]["null"] == {}


def test_permutations_that_exceed_the_memory_take_further_passes_to_the_same_threshold(
    tiny_model: LanguageModel, solved: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmsteer.one_pass.solver.MOMENT_ELEMENTS", 60 * tiny_model.width**2)
    sizes = []

    def record(*args: Any, permuted_BP: torch.Tensor, **options: Any) -> Any:
        sizes.append(permuted_BP.shape[1])
        return sum_statistics(*args, permuted_BP=permuted_BP, **options)

    monkeypatch.setattr("lmsteer.one_pass.solver.sum_statistics", record)
    steer, provenance = fit(tiny_model, corpus(), STEER_CONFIG, ONE_PASS)
    assert sizes == [60, 60, 60, 19]
    torch.testing.assert_close(steer.p1, solved[0].p1)
    test, expected = provenance.training["solver_result"]["null"], solved[1].training["solver_result"]["null"]
    assert test == expected | {"threshold": pytest.approx(expected["threshold"], rel=1e-5)}


@pytest.mark.parametrize("form", ["add", "both"])
@pytest.mark.parametrize("solver", [ONE_PASS, GRADIENT.solver])
def test_a_bias_is_fitted_by_either_solver(tiny_model: LanguageModel, form: Any, solver: Solver) -> None:
    steer_config = replace(STEER_CONFIG, form=form, dummy=False, epsilon=0.05)
    steer, provenance = fit(tiny_model, corpus(), steer_config, solver, data=GRADIENT.data)
    assert steer.bias is not None
    assert (steer.rank == 0) == (form == "add")
    assert steer.bias.detach().abs().max() > 0
    signs = (1.0, -1.0)
    toward, plain, away = (sum(mean_nll(tiny_model, steer, v * y, y) for y in signs) for v in (1.0, 0.0, -1.0))
    assert toward < plain < away
    assert settings_of(steer, provenance)["form"] == form


@pytest.mark.parametrize("form", ["matrix", "both"])
@pytest.mark.parametrize("solver", [ONE_PASS, GRADIENT.solver])
def test_a_matrix_of_rank_0_is_refused_with_or_without_a_bias(
    tiny_model: LanguageModel, solver: Solver, form: Any
) -> None:
    with pytest.raises(InputError, match=r"steer\.rank=0: an integer in \[1, 32\]"):
        fit(tiny_model, corpus(), replace(STEER_CONFIG, form=form, rank=0), solver, data=GRADIENT.data)
    assert fit(tiny_model, corpus(), replace(STEER_CONFIG, form="add", rank=0), solver)[0].rank == 0


def test_five_units_of_strength_cost_the_same_in_every_form(tiny_model: LanguageModel) -> None:
    hidden = FeatureExtractor(tiny_model)([row.text for row in corpus().dev]).hidden_ND
    forms: tuple[Form, ...] = ("matrix", "add", "both")
    fits = {form: fit(tiny_model, corpus(), replace(STEER_CONFIG, form=form), ONE_PASS) for form in forms}
    for steer, provenance in fits.values():
        kl = [divergence(tiny_model.head, steer(hidden, torch.tensor([[v]])), hidden).mean() for v in (5.0, -5.0)]
        assert float(sum(kl)) / 2 == pytest.approx(UNIT_KL, rel=0.02)
        unit = {"strength": 5.0, "kl": pytest.approx(UNIT_KL, rel=0.01), "tokens": len(hidden)}
        assert provenance.training["solver_result"]["unit"] == unit
    _, (add, add_provenance), (both, _) = fits.values()
    assert add.bias is not None
    assert both.bias is not None
    mean_D = FeatureExtractor(tiny_model)([row.text for row in corpus().train]).hidden_ND.mean(0)  # labels are ±1
    shift = mean_D @ both.matrix(0) + both.bias[0]
    assert torch.cosine_similarity(shift, add.bias[0], dim=0) > 0.999, "in the mean context both forms shift alike"
    assert add_provenance.training["solver_result"]["null"] == {}, "no permutation test where there is no rank"


def test_without_a_significant_direction_one_is_used_with_a_warning(
    tiny_model: LanguageModel, caplog: pytest.LogCaptureFixture
) -> None:
    signs = torch.randint(2, (40,), generator=torch.Generator().manual_seed(1)) * 2.0 - 1
    mixed = tuple(Row(f"the story number {n} is long", float(sign)) for n, sign in enumerate(signs))
    with caplog.at_level(logging.WARNING, logger="lmsteer"):
        steer, provenance = fit(tiny_model, Corpus("mixed", mixed), STEER_CONFIG, ONE_PASS)
    assert provenance.training["solver_result"]["null"]["above"] == 0
    assert steer.rank == 1
    assert "tone: no direction is significant" in caplog.text


def test_rows_of_a_table_differ_by_the_solver_and_not_by_options_it_does_not_use(
    tmp_path: Path, tiny_model: LanguageModel
) -> None:
    small = replace(GRADIENT, steps=2, batch_size=4)
    gradient = settings_of(*small(tiny_model, corpus(), STEER_CONFIG))
    one_pass = settings_of(*fit(tiny_model, corpus(), STEER_CONFIG, ONE_PASS, data=small.data))
    differing = {name for name in gradient if one_pass.get(name, gradient[name]) != gradient[name]}
    assert differing == {"solver", "dummy"}
    assert set(one_pass) - set(gradient) == {"damping", "context_damping", "permutations"}
    of_gradient = {"steps", "batch_size", "dev_every", "stop", "legacy_padding", "lr", "regularization", "init_std"}
    assert set(gradient) - set(one_pass) == of_gradient
    values = {"positivity": [0.5, 0.6, 0.7, 0.8]}
    rows = {name: run_row(values, {"tone": 1.0}, settings=own) for name, own in (("a", gradient), ("b", one_pass))}
    comparison = compare_runs([stored_run(tmp_path / name, [row], metric="positivity") for name, row in rows.items()])
    labels = [kind_label(comparison, row) for row in comparison.rows]
    assert sorted(labels) == ["lm-steer, dummy, solver gradient", "lm-steer, no dummy, solver one_pass"]


def test_a_steer_file_says_by_which_solver_and_with_what_options(tmp_path: Path, tiny_model: LanguageModel) -> None:
    solver = OnePassSolver(damping=0.3, context_damping=2.0, permutations=0)
    data = partial(SteerDataModule, max_length=40, rows=10, dev_rows=5)
    save_steer(tmp_path / "steer.safetensors", *fit(tiny_model, corpus(), STEER_CONFIG, solver, data=data))
    training = load_provenance(tmp_path / "steer.safetensors").training
    assert training.pop("solver_result").keys() == {"rank", "spectrum", "null", "unit"}
    assert training.pop("seen")["rows"] == 10
    assert training == {
        "solver": "one_pass",
        "rank": 8,
        "damping": 0.3,
        "context_damping": 2.0,
        "permutations": 0,
        "max_length": 40,
        "rows": 10,
        "dev_rows": 5,
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"damping": 0.0}, r"solver\.damping=0"),
        ({"damping": float("inf")}, r"solver\.damping=inf"),
        ({"context_damping": -1.0}, r"solver\.context_damping=-1"),
        ({"permutations": 20}, r"solver\.permutations=20: 0 \(no permutation test\), or 39 and more expected"),
        ({"permutations": -1}, r"solver\.permutations=-1"),
    ],
)
def test_impossible_settings_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        OnePassSolver(**options)


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (("I", "a"), (1.0, -1.0), "no text is longer than one token"),
        (
            ("the story", "the film"),
            (1.0, 1.0),
            "corpus tiny: all 2 train rows have the label 1, from which nothing can be learned",
        ),
        (("the story", "the film"), (2.0, -1.0), r"labels up to 2: values in \[-1, 1\]"),
        ((), (), r"no rows to learn from"),
    ],
)
def test_a_corpus_that_teaches_nothing_is_refused(
    tiny_model: LanguageModel, texts: tuple[str, ...], labels: tuple[float, ...], message: str
) -> None:
    train_rows = tuple(Row(text, label) for text, label in zip(texts, labels, strict=True))
    with pytest.raises(InputError, match=message):
        fit(tiny_model, Corpus("tiny", train_rows), STEER_CONFIG, ONE_PASS)


def test_a_fit_with_stored_states_gives_the_same_steer(tmp_path: Path, tiny_model: LanguageModel, solved: Any) -> None:
    store = FeatureStoreConfig(where=str(tmp_path / "states"))
    for _ in range(2):
        steer, _ = fit(tiny_model, corpus(), STEER_CONFIG, ONE_PASS, environment=FitEnvironment(store=store))
        torch.testing.assert_close(steer.p1, solved[0].p1, rtol=1e-3, atol=1e-4)


def test_the_train_command_does_the_whole_job_with_this_solver(tmp_path: Path) -> None:
    options = ["model=tiny", "dtype=float32", "corpus=file", f"corpus.path={write_tone(tmp_path, rows=150)}"]
    options += ["steer.name=tone", "steer.rank=8", "solver=one_pass", "logger=none"]
    options += ["cache=off", "protocol.samples=2", "protocol.prompts.own.n=3"]
    result = train(command_config("train", f"run_dir={tmp_path / 'run'}", *options))
    assert [row.strength for row in result.rows] == [{}, {"tone": -5.0}, {"tone": 5.0}]  # type: ignore[union-attr]
    assert result.rows[1].settings["solver"] == "one_pass"  # type: ignore[union-attr]
    _, provenance = load_steer(tmp_path / "run" / "steer.safetensors")
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert f"directions {provenance.training['solver_result']['rank']}" in page
    assert "Loss of the fit" not in page
