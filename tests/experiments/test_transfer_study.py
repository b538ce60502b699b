"""Promises of the study of transfer, on a tiny model and random steers."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

import experiments.transfer.run as command
from experiments.transfer.effects import effects
from experiments.transfer.figure import effects_figure
from experiments.transfer.report import interval, markdown
from experiments.transfer.run import KEYS, KINDS, transfer_study
from lmsteer.cli.configuration import CONF, entry_point, resolved
from lmsteer.evaluation.comparable import FinishedRun, read_run
from lmsteer.evaluation.prompt_values import PromptValues
from lmsteer.evaluation.results import Result, ResultRow, Value
from lmsteer.metrics.intervals import bootstrap_interval
from lmsteer.models.random_models import tiny
from lmsteer.records import read_generations
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import Provenance, save_steer


def config(*overrides: str) -> Any:
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose("transfer_study", overrides=list(overrides))


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files of two steers and of prompts, and a small size."""
    folder = tmp_path_factory.mktemp("files")
    provenance = Provenance(model="tiny-0", fingerprint=tiny().head.fingerprint())
    for seed, name in enumerate(("states", "direct")):
        steer = Steer(32, dimensions=["mood"], rank=4, epsilon=0.1, init_std=0.2, seed=seed)
        save_steer(folder / f"{name}.safetensors", steer, provenance)
    (folder / "prompts.jsonl").write_text("\n".join(f'{{"text": "the film {number}"}}' for number in range(5)) + "\n")
    return [
        "model=tiny",
        "dtype=float32",
        f"steers={{states:{folder / 'states.safetensors'},direct:{folder / 'direct.safetensors'}}}",
        "prompts@protocol.prompts.neutral=any",
        f"protocol.prompts.neutral.path={folder / 'prompts'}.jsonl",
        "scorer@protocol.scorers=[alt-profanity-check]",
        "protocol.perplexity=1.1",
        "protocol.kl=0.05",
        "decoding.max_new_tokens=6",
        "scores=off",
    ]


@pytest.fixture(scope="module")
def folder(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("study") / "run"
    transfer_study(config(f"run_dir={place}", *options))
    return place


@pytest.fixture
def found(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "transfer.json").read_text(encoding="utf-8")))


def test_the_top_level_keys_are_those_the_command_reads() -> None:
    chosen = config("run_dir=x", "steers={states:a}")
    assert set(chosen) == KEYS
    resolved(chosen, KEYS, KINDS)


def test_it_leaves_a_finished_run_for_each_steer_and_three_files(folder: Path) -> None:
    names = {".lock", "config.yaml", "states", "direct", "transfer.json", "transfer.md", "transfer.png"}
    assert {path.name for path in folder.iterdir()} == names
    assert (folder / "transfer.png").read_bytes().startswith(b"\x89PNG")


def test_rows_are_the_plain_model_and_calibrated_strengths_alone(folder: Path) -> None:
    for name in ("states", "direct"):
        rows = {(g.budget, *g.strength.values()) for g in read_generations(folder / name / "generations.jsonl")}
        assert ("",) in rows
        assert {row[0] for row in rows if len(row) > 1} <= {"kl 0.05", "perplexity ×1.1"}
        assert len({row for row in rows if row[0] == "kl 0.05"}) == 2


def test_the_plain_model_wrote_the_same_for_every_steer(folder: Path) -> None:
    plain = [
        [g for g in read_generations(folder / name / "generations.jsonl") if not g.strength]
        for name in ("states", "direct")
    ]
    assert plain[0] == plain[1]


def test_the_same_command_measures_nothing_again(
    folder: Path, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setattr("lmsteer.runs.stages.evaluate", None)
    monkeypatch.setattr("lmsteer.runs.stages.calibrations", None)
    transfer_study(config(f"run_dir={folder}", *options))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


UP, DOWN = np.array([1.0, 0.5, 0.75, 0.5]), np.array([0.25, 0.25, 0.0, 0.25])
HALF_UP, HALF_DOWN = np.array([0.75, 0.5, 0.5, 0.25]), np.array([0.5, 0.25, 0.25, 0.25])


def handmade(up: Any, down: Any, *, budget: str = "kl 0.3") -> FinishedRun:
    def row(strength: float | None, values: Any) -> ResultRow:
        value = Value(value=float(np.mean(values)), low=0.0, high=1.0, n=4, scorer="perplexity_model")
        other = Value(value=20.0, low=19.0, high=21.0, n=4, scorer="model")
        return ResultRow(
            model="m",
            method="lm-steer" if strength else "plain",
            seed=0,
            prompts="p",
            strength={"mood": strength} if strength else {},
            budget=budget if strength else "",
            settings={},
            metrics={"positivity": value, "perplexity": other, "dist_3": value},
        )

    measured = [(None, up), (-2.0, down), (3.0, up)]
    prompts = ("a", "b", "c", "d")
    order = {-2.0: [3, 2, 1, 0]}  # rows need not have the prompts in one order
    values = []
    for strength, own in measured:
        places = order.get(strength or 0.0, [0, 1, 2, 3])
        shown = torch.tensor([[own[place]] for place in places], dtype=torch.float64)
        values.append(PromptValues(tuple(prompts[place] for place in places), {"positivity": shown}))
    protocol: dict[str, Any] = {"metric": "positivity", "prompts": {"p": {"n": 4, "digest": "x"}}}
    return FinishedRun(Path("x"), Result(protocol=protocol, rows=[row(*own) for own in measured]), values)


def test_effect_and_share_are_those_of_a_hand_count_paired_by_prompt() -> None:
    found = effects({"half": handmade(HALF_UP, HALF_DOWN), "direct": handmade(UP, DOWN)}, "direct")
    half, whole = found["effects"]
    assert (half["steer"], half["effect"]["value"], half["share"]["value"]) == ("half", 0.1875, 0.375)
    assert (whole["effect"]["value"], whole["share"]) == (0.5, None)
    paired = bootstrap_interval([UP - DOWN], lambda *columns, axis: columns[0].mean(axis=axis))
    assert (whole["effect"]["low"], whole["effect"]["high"]) == pytest.approx((paired.low, paired.high))


def test_there_is_no_share_of_an_effect_that_may_be_none() -> None:
    found = effects({"half": handmade(HALF_UP, HALF_DOWN), "direct": handmade(UP, UP[::-1].copy())}, "direct")
    assert [one["share"] for one in found["effects"]] == [None, None]


def test_without_the_direct_steer_there_are_no_shares() -> None:
    assert effects({"half": handmade(HALF_UP, HALF_DOWN)}, "direct")["effects"][0]["share"] is None


def test_a_budget_that_was_not_reached_both_ways_has_no_effect() -> None:
    run = handmade(UP, DOWN)
    short = FinishedRun(run.folder, run.result.model_copy(update={"rows": run.result.rows[:2]}), run.values[:2])
    found = effects({"short": short, "direct": run}, "direct")
    assert [one["steer"] for one in found["effects"]] == ["direct"]
    assert [row["steer"] for row in found["rows"]] == ["short", "direct", "direct"]


def test_the_report_tells_every_row_and_effect(found: dict[str, Any], folder: Path) -> None:
    text = markdown(found)
    assert text == (folder / "transfer.md").read_text(encoding="utf-8").rstrip("\n")
    for row in found["rows"]:
        line = f"| {row['steer']} | {row['budget']} | {row['strength']:+.3g} | {interval(row['positivity'])} |"
        assert line in text
    for one in found["effects"]:
        assert f"| {one['steer']} | {one['budget']} | alt-profanity-check | {interval(one['effect'])} |" in text
    run = read_run(folder / "states")
    assert found["rows"][0]["positivity"]["value"] == run.result.rows[1].metrics["positivity"].value


def test_an_interval_is_written_without_zeros_before_the_point() -> None:
    assert interval({"value": -0.254, "low": -0.5, "high": 0.126}) == "-.25 [-.50, .13]"
    assert interval({"value": 1.5, "low": None, "high": None}) == "1.50"
    assert interval(None) == "-"


def test_the_picture_draws_every_row_at_its_steer(found: dict[str, Any]) -> None:
    panels = effects_figure(found).axes
    budgets = list(dict.fromkeys(row["budget"] for row in found["rows"]))
    assert len(panels) == len(budgets)
    for axes, budget in zip(panels, budgets, strict=True):
        drawn = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines[1:]]  # type: ignore[index]
        wanted = [
            (row["positivity"]["value"], ["states", "direct"].index(row["steer"]))
            for row in found["rows"]
            if row["budget"] == budget
        ]
        assert drawn == wanted


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "Error: steers: a value is needed"),
        (["steers={}"], "Error: steers={}: Dictionary should have at least 1 item"),
        (["steers={states: nowhere.safetensors}"], "Error: nowhere.safetensors: no such steer file"),
    ],
)
def test_wrong_values_end_in_one_line_and_leave_nothing(
    overrides: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")  # put back afterwards
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["study", "model=tiny", "scores=off", *overrides, f"hydra.run.dir={out}"])
    with pytest.raises(SystemExit) as caught:
        entry_point("transfer_study")(command.transfer_study)()
    said = str(caught.value)
    assert said.startswith(message)
    assert "\n" not in said
    assert not list(out.glob("*"))
