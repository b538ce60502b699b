"""Promises of the study of two steers at once, on a tiny model and random steers."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.handmade_commands import study_config, write_prompts, write_steer

from experiments.composition.report import (
    BOTH,
    FACTORS_ADDED,
    PANELS,
    are_disjoint,
    both_table,
    grid_figure,
    is_desired,
)
from experiments.composition.run import cross_terms, measure_composition, study_steer
from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import FinishedRun, read_run
from lmsteer.evaluation.metric_names import Metric
from lmsteer.generation.generator import Generator
from lmsteer.generation.sampling import Nucleus
from lmsteer.metrics.intervals import Interval
from lmsteer.metrics.paired_test import PairedChange, Sample
from lmsteer.models.random_models import tiny
from lmsteer.records import read_generations
from lmsteer.reporting.comparison import Measurement, compare_runs
from lmsteer.steering.composition import compose
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer

PAIR = ("joy", "calm")
STRENGTHS = (-2.0, 2.0)
SETS = ("neutral", "toxic-leaning")


def random_steer(name: str, *, seed: int = 0, rank: int | str = 4) -> Steer:
    return Steer(32, dimensions=[name, "dummy"], rank=rank, epsilon=0.1, init_std=0.2, seed=seed)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files of two steers and of prompts, and a small size."""
    folder = tmp_path_factory.mktemp("files")
    for seed, name in enumerate(PAIR):
        write_steer(folder / f"{name}.safetensors", random_steer(name, seed=seed))
    for key, words in zip(SETS, ("the film", "the storm"), strict=True):
        write_prompts(folder / f"{key}.jsonl", [f"{words} {number}" for number in range(5)])
    return [
        *("model=tiny", "dtype=float32", "cache=off"),
        f"steer_files=[{folder / 'joy.safetensors'},{folder / 'calm.safetensors'}]",
        *(f"prompts@protocol.prompts.{key}=any" for key in SETS),
        *(f"protocol.prompts.{key}.path={folder / key}.jsonl" for key in SETS),
        *("scorer@protocol.scorers=[alt-profanity-check]", "scorer@toxicity=[alt-profanity-check]"),
        *("protocol.strengths=[-2,2]", "protocol.perplexity=1.1", "protocol.samples=3", "decoding.max_new_tokens=6"),
    ]


@pytest.fixture(scope="module")
def folder(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_folder = tmp_path_factory.mktemp("study") / "run"
    measure_composition(study_config("composition", f"run_dir={run_folder}", *options))
    return run_folder


@pytest.fixture(scope="module")
def run(folder: Path) -> FinishedRun:
    return read_run(folder)


def test_both_attributes_is_the_sum_of_the_matrices_and_factors_added_is_not() -> None:
    pair = compose([random_steer("joy"), random_steer("calm", seed=1)], dummy="none")
    steer = study_steer(pair)
    assert steer.dimensions == (*PAIR, BOTH, FACTORS_ADDED)
    joy, calm, both, factors_added = (steer.matrix(k).detach() for k in range(4))
    torch.testing.assert_close(both, joy + calm, rtol=1e-5, atol=1e-6)
    assert pair.p2 is not None
    torch.testing.assert_close(factors_added, pair.p1.sum(0) @ pair.p2.sum(0).T, rtol=1e-5, atol=1e-6)
    assert cross_terms(steer) == pytest.approx(((factors_added - both).norm() / both.norm()).item())
    assert cross_terms(steer) > 0.5


def test_steers_without_factors_or_with_other_attributes_than_two_are_refused() -> None:
    with pytest.raises(InputError, match="a full steer has no factors"):
        study_steer(compose([random_steer("joy", rank="full"), random_steer("calm")], dummy="none"))
    with pytest.raises(InputError, match="attributes joy, calm, wit; two expected"):
        study_steer(compose([random_steer(name) for name in ("joy", "calm", "wit")], dummy="none"))


def test_every_pair_of_strengths_is_measured_on_every_prompt_set(run: FinishedRun) -> None:
    cells = {(x, y) for x in (*STRENGTHS, 0.0) for y in (*STRENGTHS, 0.0)} - {(0.0, 0.0)}
    for prompts in SETS:
        rows = [row for row in run.result.rows if row.prompts == prompts]
        assert rows[0].is_plain
        at_strengths = [row for row in rows if set(row.strength) == set(PAIR) and not row.budget]
        assert {tuple(row.strength[name] for name in PAIR) for row in at_strengths} == cells
        calibrated = [row.strength["joy"] for row in rows if row.budget]
        assert all(row.strength["joy"] == row.strength["calm"] for row in rows if row.budget)
        factors_added = [row.strength[FACTORS_ADDED] for row in rows if FACTORS_ADDED in row.strength]
        assert sorted(factors_added) == sorted([2.0, *(value for value in calibrated if value > 0)])
        metrics = {"positivity", "expected_maximum_toxicity", "toxicity_probability"}
        assert all(set(row.metrics) >= metrics for row in rows)


def test_strengths_are_calibrated_along_both_attributes(folder: Path) -> None:
    calibration = load_steer(folder / "steer.safetensors")[1].calibration
    expected = [("perplexity ×1.1", BOTH, direction) for direction in (-1, 1)]
    assert [(entry["budget"], entry["dimension"], entry["direction"]) for entry in calibration] == expected


def test_a_cell_holds_the_texts_of_both_steers_together(folder: Path) -> None:
    strength = {"joy": 2.0, "calm": -2.0}
    generations = read_generations(folder / "generations.jsonl")
    cell = [g for g in generations if g.prompts == "neutral" and g.strength == strength]
    pair = compose([random_steer(name, seed=seed) for seed, name in enumerate(PAIR)])
    decoding = Nucleus(p=0.9, max_new_tokens=6)
    generator = Generator(tiny(), [g.prompt for g in cell], decoding=decoding, samples=3, batch_size=256)
    expected = [g for batch in generator.run([strength], pair) for g in batch]
    assert {g.prompt.text: g.texts for g in cell} == {g.prompt.text: g.texts for g in expected}


def test_both_attributes_are_measured_on_the_same_texts(run: FinishedRun) -> None:
    """One scorer for both, so that a share above .5 in any sample and the probability of it must agree."""
    for row in run.values:
        in_any_sample = row.values["expected_maximum_toxicity"] > 0.5
        assert ((row.values["toxicity_probability"] == 1) == in_any_sample).all()
        assert row.values["positivity"].shape == row.values["expected_maximum_toxicity"].shape == (5,)
    assert run.result.protocol["metric"] == "positivity toxicity"


@pytest.mark.parametrize(
    "lost", [set(), {"composition.json"}, {"composition.json", "generations.jsonl", "metrics.json"}]
)
def test_a_run_that_is_repeated_or_lost_later_stages_ends_with_the_same_bytes(
    lost: set[str], folder: Path, options: list[str]
) -> None:
    names = {".lock", "config.yaml", "steer.safetensors", "generations.jsonl", "metrics.json", "values.safetensors"}
    names |= {"timing.json", "composition.json", "composition.md", "composition.png"}
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert content.keys() == names
    for name in lost:
        (folder / name).unlink()
    measure_composition(study_config("composition", f"run_dir={folder}", *options))
    for name in names - {"timing.json"}:
        assert (folder / name).read_bytes() == content[name], name


def test_the_picture_draws_the_value_of_every_cell(run: FinishedRun) -> None:
    panels = grid_figure(run.result, PAIR).axes
    assert len(panels) == 6
    for axes, (prompts, metric) in zip(panels, itertools.product(SETS, PANELS), strict=True):
        drawn = {
            (float(x), calm): float(y)
            for line, calm in zip(axes.lines, (-2.0, 0.0, 2.0), strict=True)
            for x, y in np.asarray(line.get_xydata())
        }
        expected = {
            tuple(row.strength.get(name, 0.0) for name in PAIR): row.metrics[metric].value
            for row in run.result.rows
            if row.prompts == prompts and not row.budget and FACTORS_ADDED not in row.strength
        }
        assert drawn == expected
        assert len(drawn) == 9


def test_the_table_has_the_rows_of_both_at_once(run: FinishedRun) -> None:
    comparison = compare_runs([run])
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in both_table(comparison, PAIR).split("\n")]
    assert len({len(line) for line in lines}) == 1
    positive = [row for row in run.result.rows if row.strength and min(row.strength.values()) > 0]
    expected = [(row.prompts, row.label) for row in positive if len(set(row.strength.values())) == 1]
    assert sorted((line[0], line[1]) for line in lines[2:]) == sorted(expected)
    (cells,) = (line for line in lines if line[:2] == ["neutral", "joy +2, calm +2"])
    (index,) = (i for i, row in enumerate(comparison.rows) if (row.prompts, row.strength_label) == (cells[0], cells[1]))
    change = comparison.changes[index, "positivity"]
    assert f", {change.change:+.2f} [".replace("0.", ".", 1) in cells[2]


def measurement(low: float, high: float) -> Measurement:
    interval = Interval(value=(low + high) / 2, low=low, high=high, n=9)
    return Measurement(interval, None, None, Sample((), ()))


@pytest.mark.parametrize(
    ("metric", "low", "high", "desired"),
    [
        ("positivity", 0.1, 0.3, True),
        ("positivity", -0.1, 0.3, False),
        ("positivity", -0.3, -0.1, False),
        ("expected_maximum_toxicity@word-list", -0.3, -0.1, True),
        ("expected_maximum_toxicity", 0.1, 0.3, False),
        ("expected_maximum_toxicity", None, None, False),
    ],
)
def test_a_change_is_desired_in_its_direction_beyond_its_interval(
    metric: str, low: float | None, high: float | None, desired: bool
) -> None:
    assert is_desired(Metric(metric), PairedChange(change=0.2, low=low, high=high, p=0.01, n=9)) is desired


def test_intervals_that_touch_are_not_disjoint() -> None:
    assert are_disjoint(measurement(0.1, 0.2), measurement(0.3, 0.4))
    assert are_disjoint(measurement(0.3, 0.4), measurement(0.1, 0.2))
    assert not are_disjoint(measurement(0.1, 0.3), measurement(0.3, 0.4))
