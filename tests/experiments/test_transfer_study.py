"""Promises of the study of transfer, on a tiny model and random steers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.handmade_commands import study_config, write_prompts, write_steer
from tests.handmade_runs import run_row

from experiments.transfer.report import transfer_figure, transfer_tables
from experiments.transfer.run import compare_steers, summarize_effects
from lmsteer.evaluation.comparable import FinishedRun, read_run
from lmsteer.evaluation.prompt_values import PromptValues
from lmsteer.evaluation.results import Result
from lmsteer.metrics.intervals import bootstrap_interval
from lmsteer.records import read_generations
from lmsteer.reporting.text import interval
from lmsteer.steering.steer import Steer

STEERS = ("states", "direct")


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files of two steers and of prompts, and a small size."""
    folder = tmp_path_factory.mktemp("files")
    for seed, name in enumerate(STEERS):
        steer = Steer(32, dimensions=["mood"], rank=4, epsilon=0.1, init_std=0.2, seed=seed)
        write_steer(folder / f"{name}.safetensors", steer)
    prompts = write_prompts(folder / "prompts.jsonl", [f"the film {number}" for number in range(5)])
    return [
        *("model=tiny", "dtype=float32", "cache=off"),
        f"steers={{states:{folder / 'states.safetensors'},direct:{folder / 'direct.safetensors'}}}",
        *("prompts@protocol.prompts.neutral=any", f"protocol.prompts.neutral.path={prompts}"),
        *("scorer@protocol.scorers=[alt-profanity-check]", "protocol.perplexity=1.1", "protocol.kl=0.05"),
        "decoding.max_new_tokens=6",
    ]


@pytest.fixture(scope="module")
def folder(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_folder = tmp_path_factory.mktemp("study") / "run"
    compare_steers(study_config("transfer", f"run_dir={run_folder}", *options))
    return run_folder


@pytest.fixture
def results(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "transfer.json").read_text(encoding="utf-8")))


def test_each_steer_has_a_run_of_calibrated_strengths_alone_and_the_same_plain_texts(folder: Path) -> None:
    names = {".lock", "config.yaml", *STEERS, "transfer.json", "transfer.md", "transfer.png"}
    assert {path.name for path in folder.iterdir()} == names
    generations = {name: read_generations(folder / name / "generations.jsonl") for name in STEERS}
    for name in STEERS:
        rows = {(g.budget, *g.strength.values()) for g in generations[name]}
        assert ("",) in rows
        assert {row[0] for row in rows if len(row) > 1} <= {"kl 0.05", "perplexity ×1.1"}
        assert len({row for row in rows if row[0] == "kl 0.05"}) == 2
    plain = [[g for g in generations[name] if not g.strength] for name in STEERS]
    assert plain[0] == plain[1]


def test_the_same_command_measures_nothing_again(
    folder: Path, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "transfer.json").unlink()  # made again of the finished runs
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setattr("lmsteer.runs.stages.evaluate", None)
    monkeypatch.setattr("lmsteer.runs.stages.calibrate", None)
    compare_steers(study_config("transfer", f"run_dir={folder}", *options))
    assert {path: path.read_bytes() for path in before} == before


UP, DOWN = np.array([1.0, 0.5, 0.75, 0.5]), np.array([0.25, 0.25, 0.0, 0.25])
HALF_UP, HALF_DOWN = np.array([0.75, 0.5, 0.5, 0.25]), np.array([0.5, 0.25, 0.25, 0.25])


def finished_run(up: Any, down: Any, *, budget: str = "kl 0.3") -> FinishedRun:
    rows = []
    for strength, positivity in ((None, up), (-2.0, down), (3.0, up)):
        values = {"positivity": positivity, "perplexity": [20.0] * 4, "dist_3": positivity}
        rows.append(run_row(values, {"mood": strength} if strength else None, budget=budget if strength else ""))
    row, values = rows[1]  # rows need not have the prompts in one order
    rows[1] = row, PromptValues(values.prompts[::-1], {name: column[::-1] for name, column in values.values.items()})
    protocol = {"metric": "positivity", "prompts": {"toxic-leaning": {"n": 4, "digest": "x"}}}
    result = Result(protocol=protocol, rows=[row for row, _ in rows])
    return FinishedRun(Path("x"), result, [values for _, values in rows])


def test_effect_and_share_are_those_of_a_hand_count_paired_by_prompt() -> None:
    runs = {"half": finished_run(HALF_UP, HALF_DOWN), "direct": finished_run(UP, DOWN)}
    half, direct = summarize_effects(runs, "direct")["effects"]
    assert (half["steer"], half["effect"]["value"], half["share"]["value"]) == ("half", 0.1875, 0.375)
    assert (direct["effect"]["value"], direct["share"]) == (0.5, None)
    paired = bootstrap_interval([UP - DOWN], lambda *columns, axis: columns[0].mean(axis=axis))
    assert (direct["effect"]["low"], direct["effect"]["high"]) == pytest.approx((paired.low, paired.high))


def test_there_is_no_share_without_the_direct_steer_or_of_an_effect_that_may_be_none() -> None:
    half, without_effect = finished_run(HALF_UP, HALF_DOWN), finished_run(UP, UP[::-1].copy())
    for runs in ({"half": half}, {"half": half, "direct": without_effect}):
        assert {row["share"] for row in summarize_effects(runs, "direct")["effects"]} == {None}


def test_a_budget_that_was_not_reached_both_ways_has_no_effect() -> None:
    run = finished_run(UP, DOWN)
    one_way = FinishedRun(run.folder, run.result.model_copy(update={"rows": run.result.rows[:2]}), run.values[:2])
    results = summarize_effects({"short": one_way, "direct": run}, "direct")
    assert [row["steer"] for row in results["effects"]] == ["direct"]
    assert [row["steer"] for row in results["rows"]] == ["short", "direct", "direct"]


def test_the_report_holds_every_row_and_effect(results: dict[str, Any], folder: Path) -> None:
    text = (folder / "transfer.md").read_text(encoding="utf-8")
    assert text == transfer_tables(results) + "\n"
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.split("\n")]
    for row in results["rows"]:
        cells = [row["steer"], row["budget"], f"{row['strength']:+.3g}", interval(row["positivity"])]
        assert cells in [line[:4] for line in lines]
    for row in results["effects"]:
        cells = [row["steer"], row["budget"], "alt-profanity-check", interval(row["effect"])]
        assert cells in [line[:4] for line in lines]
    run = read_run(folder / "states")
    assert results["rows"][0]["positivity"]["value"] == run.result.rows[1].metrics["positivity"].value


def test_the_picture_draws_every_row_of_every_steer(results: dict[str, Any]) -> None:
    panels = transfer_figure(results).axes
    budgets = list(dict.fromkeys(row["budget"] for row in results["rows"]))
    assert len(panels) == len(budgets)
    for axes, budget in zip(panels, budgets, strict=True):
        for line, steer in zip(axes.lines, STEERS, strict=True):
            expected = {(0, results["plain"]["positivity"]["value"])} | {
                (1 if row["strength"] > 0 else -1, row["positivity"]["value"])
                for row in results["rows"]
                if (row["steer"], row["budget"]) == (steer, budget)
            }
            assert set(zip(line.get_xdata(), line.get_ydata(), strict=True)) == expected  # type: ignore[arg-type]
