"""Promises of the study of two steers at once, on a tiny model and random steers."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from experiments.composition.figure import PANELS, grid_figure, surface
from experiments.composition.grid import BOTH, FACTORS_ADDED, cross_terms, study_steer
from experiments.composition.report import are_apart, at_once, is_wanted
from experiments.composition.run import KEYS, KINDS, composition
from lmsteer.cli.configuration import CONF, entry_point, resolved
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
from lmsteer.steering.budget import Budget
from lmsteer.steering.composition import compose as composed
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import Provenance, load_steer, save_steer
from lmsteer.steering.strength_search import TOLERANCE

PAIR = ("joy", "calm")
STRENGTHS = (-2.0, 2.0)
SETS = ("neutral", "toxic-leaning")


def made(name: str, *, seed: int = 0, rank: int | str = 4) -> Steer:
    return Steer(32, dimensions=[name, "dummy"], rank=rank, epsilon=0.1, init_std=0.2, seed=seed)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files of two steers and of prompts, and a small size."""
    folder = tmp_path_factory.mktemp("files")
    provenance = Provenance(model="tiny-0", fingerprint=tiny().head.fingerprint())
    for seed, name in enumerate(PAIR):
        save_steer(folder / f"{name}.safetensors", made(name, seed=seed), provenance)
    for key, words in zip(SETS, ("the film", "the storm"), strict=True):
        lines = [f'{{"text": "{words} {number}"}}' for number in range(5)]
        (folder / f"{key}.jsonl").write_text("\n".join(lines) + "\n")
    return [
        "model=tiny",
        "dtype=float32",
        f"steer_files=[{folder / 'joy.safetensors'},{folder / 'calm.safetensors'}]",
        *(f"prompts@protocol.prompts.{key}=any" for key in SETS),
        *(f"protocol.prompts.{key}.path={folder / key}.jsonl" for key in SETS),
        "scorer@protocol.scorers=[alt-profanity-check]",
        "scorer@toxicity=[alt-profanity-check]",
        "protocol.strengths=[-2,2]",
        "protocol.perplexity=1.1",
        "protocol.samples=3",
        "decoding.max_new_tokens=6",
        "scores=off",
    ]


def config(*overrides: str) -> Any:
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose("composition", overrides=list(overrides))


@pytest.fixture(scope="module")
def folder(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("study") / "run"
    composition(config(f"run_dir={place}", *options))
    return place


@pytest.fixture(scope="module")
def run(folder: Path) -> FinishedRun:
    return read_run(folder)


def test_the_top_level_keys_are_those_the_command_reads() -> None:
    chosen = config("run_dir=x", "steer_files=[a,b]")
    assert set(chosen) == KEYS
    resolved(chosen, KEYS, KINDS)


def test_both_attributes_is_the_sum_of_the_matrices_and_factors_added_is_not() -> None:
    pair = composed([made("joy"), made("calm", seed=1)], dummy="none")
    steer = study_steer(pair)
    assert steer.dimensions == (*PAIR, BOTH, FACTORS_ADDED)
    joy, calm, both, wrong = (steer.matrix(k).T.detach() for k in range(4))
    torch.testing.assert_close(both, joy + calm, rtol=1e-5, atol=1e-6)
    assert pair.p2 is not None
    torch.testing.assert_close(wrong, pair.p2.sum(0) @ pair.p1.sum(0).T, rtol=1e-5, atol=1e-6)
    assert cross_terms(steer) == pytest.approx(((wrong - both).norm() / both.norm()).item())
    assert cross_terms(steer) > 0.5


def test_the_sum_of_matrices_knows_nothing_of_their_factors_but_added_factors_depend_on_them() -> None:
    joy, calm = made("joy"), made("calm", seed=1)
    turned, turn = (
        made("calm", seed=1),
        torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(2))).Q,
    )
    with torch.no_grad():  # the same matrix in other factors
        for factor in turned.parameters():
            factor.copy_(factor @ turn)
    one, other = (study_steer(composed([joy, second], dummy="none")) for second in (calm, turned))
    torch.testing.assert_close(one.matrix(2).T, other.matrix(2).T, rtol=1e-4, atol=1e-5)
    assert (one.matrix(3).T - other.matrix(3).T).norm() > 0.3 * one.matrix(3).T.norm()


def test_steers_without_factors_or_with_other_attributes_than_two_are_refused() -> None:
    with pytest.raises(InputError, match="a full steer has no factors"):
        study_steer(composed([made("joy", rank="full"), made("calm")], dummy="none"))
    with pytest.raises(InputError, match="attributes joy, calm, wit; two expected"):
        study_steer(composed([made(name) for name in ("joy", "calm", "wit")], dummy="none"))


def test_the_run_leaves_its_files_and_nothing_else(folder: Path) -> None:
    names = {".lock", "config.yaml", "steer.safetensors", "generations.jsonl", "metrics.json", "values.safetensors"}
    names |= {"timing.json", "composition.md", "composition.png"}
    assert {path.name for path in folder.iterdir()} == names


def test_every_pair_of_strengths_is_measured_on_every_prompt_set(run: FinishedRun) -> None:
    cells = {(x, y) for x in (*STRENGTHS, 0.0) for y in (*STRENGTHS, 0.0)} - {(0.0, 0.0)}
    for prompts in SETS:
        rows = [row for row in run.result.rows if row.prompts == prompts]
        assert rows[0].is_plain
        given = [row for row in rows if set(row.strength) == set(PAIR) and not row.budget]
        assert {tuple(row.strength[name] for name in PAIR) for row in given} == cells
        reached = [row.strength["joy"] for row in rows if row.budget]
        assert all(row.strength["joy"] == row.strength["calm"] for row in rows if row.budget)
        beside = [row.strength[FACTORS_ADDED] for row in rows if FACTORS_ADDED in row.strength]
        assert sorted(beside) == sorted([2.0, *(value for value in reached if value > 0)])
        wanted = {"positivity", "expected_maximum_toxicity", "toxicity_probability"}
        assert all(set(row.metrics) >= wanted for row in rows)


def test_the_calibrated_strengths_cost_what_the_budget_says(folder: Path) -> None:
    found = load_steer(folder / "steer.safetensors")[1].calibration
    assert [entry["direction"] for entry in found] == [-1, 1]
    budget = Budget("perplexity", 1.1)
    for entry in found:
        assert (entry["budget"], entry["dimension"], entry["fixed_strengths"]) == (budget.label, BOTH, {})
        nearest = min(abs(cost - budget.value) for _, cost in entry["tried"])
        assert abs(entry["reached"] - budget.value) == pytest.approx(nearest)
    assert any(abs(entry["reached"] - budget.value) < 2 * TOLERANCE["perplexity"] for entry in found)


def test_a_cell_holds_what_both_steers_write_together(folder: Path) -> None:
    strength = {"joy": 2.0, "calm": -2.0}
    written = read_generations(folder / "generations.jsonl")
    cell = [g for g in written if g.prompts == "neutral" and g.strength == strength]
    pair = composed([made(name, seed=seed) for seed, name in enumerate(PAIR)])
    how = Nucleus(p=0.9, max_new_tokens=6)
    generator = Generator(tiny(), [g.prompt for g in cell], decoding=how, samples=3, batch_size=256)
    expected = [g for batch in generator.run([strength], pair) for g in batch]
    assert {g.prompt.text: g.texts for g in cell} == {g.prompt.text: g.texts for g in expected}


def test_both_attributes_are_measured_on_the_same_texts(run: FinishedRun) -> None:
    """One scorer for both, so that a share above .5 in any sample and the probability of it must agree."""
    for own in run.values:
        any_sample = own.values["expected_maximum_toxicity"] > 0.5
        assert torch.equal(own.values["toxicity_probability"] == 1, any_sample)
        assert own.values["positivity"].shape == own.values["expected_maximum_toxicity"].shape == (5,)
    assert run.result.protocol["metric"] == "positivity toxicity"


def test_a_finished_run_measures_nothing_again_and_ends_with_the_same_files(folder: Path, options: list[str]) -> None:
    def content() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "timing.json"}

    before = content()
    composition(config(f"run_dir={folder}", *options))
    assert content() == before


def test_a_run_that_lost_its_later_stages_ends_with_the_same_bytes(
    folder: Path, options: list[str], tmp_path: Path
) -> None:
    for name in ("config.yaml", "steer.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    composition(config(f"run_dir={tmp_path}", *options))
    for name in ("generations.jsonl", "metrics.json", "values.safetensors", "composition.md", "composition.png"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_the_surface_holds_every_cell_once(run: FinishedRun) -> None:
    rows = [row for row in run.result.rows if row.prompts == "neutral"]
    for panel in PANELS:
        strengths, values = surface(rows, PAIR, panel)
        assert strengths == [-2.0, 0.0, 2.0]
        value = {tuple(row.strength.get(name, 0.0) for name in PAIR): row.metrics[panel.metric].value for row in rows
                 if not row.budget and FACTORS_ADDED not in row.strength}  # fmt: skip
        expected = [[value[x, y] for y in strengths] for x in strengths]
        assert values.tolist() == (np.log(expected).tolist() if panel.metric == "perplexity" else expected)


def test_the_picture_has_three_panels_a_prompt_set_with_the_values_in_them(run: FinishedRun) -> None:
    figure = grid_figure(run.result, PAIR)
    panels = [axes for axes in figure.axes if axes.texts]
    assert len(panels) == 6
    rows = [row for row in run.result.rows if row.prompts == "neutral"]
    _, values = surface(rows, PAIR, PANELS[0])
    said = [text.get_text() for text in panels[0].texts]
    assert said == [f"{value:.2f}".removeprefix("0") for value in values.flatten()]


def test_the_table_has_the_rows_of_both_at_once(run: FinishedRun) -> None:
    found = compare_runs([run])
    lines = at_once(found, PAIR).split("\n")
    assert len({line.count("|") for line in lines}) == 1
    metadata = [tuple(cell.strip() for cell in line.split("|")[1:3]) for line in lines[2:]]
    positive = [row for row in run.result.rows if row.strength and min(row.strength.values()) > 0]
    wanted = [row for row in positive if len(set(row.strength.values())) == 1]
    assert sorted(metadata) == sorted((row.prompts, row.label) for row in wanted)
    line = next(line for line in lines if "| neutral | joy +2, calm +2 |" in line)
    place = next(
        i for i, row in enumerate(found.rows) if row.prompts == "neutral" and row.strength_label == "joy +2, calm +2"
    )
    change = found.changes[place, "positivity"]
    assert f"{change.change:+.2f}".replace("0.", ".", 1) in line


def measurement(low: float, high: float) -> Measurement:
    interval = Interval(value=(low + high) / 2, low=low, high=high, n=9)
    return Measurement(interval, None, None, Sample((), ()))


@pytest.mark.parametrize(
    ("metric", "low", "high", "wanted"),
    [
        ("positivity", 0.1, 0.3, True),
        ("positivity", -0.1, 0.3, False),
        ("positivity", -0.3, -0.1, False),
        ("expected_maximum_toxicity@word-list", -0.3, -0.1, True),
        ("expected_maximum_toxicity", 0.1, 0.3, False),
        ("expected_maximum_toxicity", None, None, False),
    ],
)
def test_a_change_is_wanted_in_its_direction_beyond_its_interval(
    metric: str, low: float | None, high: float | None, wanted: bool
) -> None:
    assert is_wanted(Metric(metric), PairedChange(change=0.2, low=low, high=high, p=0.01, n=9)) is wanted


def test_intervals_that_touch_are_not_apart() -> None:
    assert are_apart(measurement(0.1, 0.2), measurement(0.3, 0.4))
    assert are_apart(measurement(0.3, 0.4), measurement(0.1, 0.2))
    assert not are_apart(measurement(0.1, 0.3), measurement(0.3, 0.4))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["steer_files=[a.safetensors]"], "steer_files=['a.safetensors']: List should have at least 2 items"),
        (["steer_files=[a.safetensors,b.safetensors]"], "a.safetensors: no such steer file"),
        (["toxicity=5"], "toxicity=5: choices in conf/scorer expected"),
        (["protocol=null"], "Config group override must be a string"),
        (["steer_files=[SAME,SAME]"], "attributes joy, joy: distinct names expected"),
        (["protocol.strengths=[0]"], "protocol.strengths=[0]"),
        (["rank=9"], "rank=9: an integer in [1, 4]"),
        (["+protocol.prompts.third=5"], "protocol.prompts"),
        (["model.seed=1"], "fitted for model tiny-0 (width 32), not for tiny-1"),
        (["decoding.max_new_tokens=126"], "exceeds the context of tiny-0, 128"),
    ],
)
def test_wrong_values_end_in_one_line_and_leave_nothing(
    overrides: list[str], message: str, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")  # put back afterwards
    same = next(item for item in options if item.startswith("steer_files")).split("[")[1].split(",")[0]
    overrides = [override.replace("SAME", same) for override in overrides]
    gone = [override.split("=")[0] for override in overrides]
    kept = [item for item in options if not any(re.match(rf"(.*@)?{re.escape(name)}([.=]|$)", item) for name in gone)]
    monkeypatch.setattr(sys, "argv", ["composition", *kept, *overrides, f"hydra.run.dir={tmp_path / 'out'}"])
    with pytest.raises(SystemExit) as caught:
        entry_point("composition")(composition)()
    said = str(caught.value)
    assert said.startswith("Error: ")
    assert message in said
    assert "\n" not in said
    assert not list((tmp_path / "out").glob("*"))
