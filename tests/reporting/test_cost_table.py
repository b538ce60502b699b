"""Promises of the tables of costs: seconds come from the runs, and times from what the speed study measured."""

import json
from pathlib import Path

import pytest
from tests.handmade_runs import PLAIN, STEERED, run_row, write_run

from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import read_run
from lmsteer.reporting.comparison import compare_runs
from lmsteer.reporting.comparison_rows import Block
from lmsteer.reporting.cost_table import cost_block
from lmsteer.reporting.measured_speed import MeasuredSpeed, read_speed

COST = {"trained_parameters": 20, "inference_parameters": 10, "passes": 2, "train_rows": 8, "train_tokens": 90}
COST |= {"kl": 0.25, "kl_p95": 0.5}  # type: ignore[dict-item]


def run_of(folder: Path, timing: object, seed: int | None = 0, method: str = "x", **cost: object) -> Path:
    steered = run_row(STEERED, {"detox": 1.0}, method=method, seed=seed, cost=COST | cost)
    write_run(folder, [run_row(PLAIN, seed=seed), steered])
    if timing is not None:
        (folder / "timing.json").write_text(json.dumps(timing))
    return folder


def block_of(*folders: Path, speed: MeasuredSpeed | None = None) -> Block:
    block = cost_block(compare_runs([read_run(folder) for folder in folders]), "toxic-leaning", speed)
    assert block is not None
    return block


def cells(block: Block) -> list[dict[str, str]]:
    return [dict(zip(block.headings, row, strict=True)) for section in block.sections for row in section.rows]


@pytest.mark.parametrize(
    ("timings", "seconds"),
    [
        ([{"fit": 3.04, "plain": 99.0}], "3.0"),
        ([{"fit": 1000.0}, {"fit": 2000.5}], "1,500.2"),
        ([{"fit": 1.0}, {"plain": 2.0}], "–"),
        ([None], "–"),
        ([["fit"]], "–"),
        ([{"fit": "soon"}], "–"),
        ([{"fit": -1}], "–"),
    ],
)
def test_the_seconds_of_a_fit_are_the_mean_of_the_seeds_where_all_are_known(
    timings: list[object], seconds: str, tmp_path: Path
) -> None:
    folders = [run_of(tmp_path / str(seed), timing, seed) for seed, timing in enumerate(timings)]
    (row,) = cells(block_of(*folders))
    assert row.pop("fit, s") == seconds
    values = {"KL": "0.250", "KL p95": "0.500", "passes": "2", "trained": "20", "held": "10"}
    assert row == {"method": "x, detox +1", **values, "texts read": "8", "tokens read": "90"}


def speed_file(path: Path, model: str = "smollm2", **changes: object) -> Path:
    entry = {"method": "x", "passes": 2, "inference_parameters": 10, "median": 2.06, "seconds": [1.0], **changes}
    other = {"method": "x", "passes": 1, "inference_parameters": 10, "median": 1.01}
    path.write_text(json.dumps({"model": {"name": model, "parameters": 5}, "methods": {"other": other, "x": entry}}))
    return path


def test_times_are_those_of_the_same_method_passes_and_parameters(tmp_path: Path) -> None:
    folder, file = run_of(tmp_path / "run", {"fit": 1.0}), tmp_path / "methods.json"
    ratios = {
        "same": speed_file(file),
        "other model": speed_file(tmp_path / "model.json", model="gpt2"),
        "other method": speed_file(tmp_path / "method.json", method="y"),
        "other parameters": speed_file(tmp_path / "held.json", inference_parameters=11),
    }
    found = {name: cells(block_of(folder, speed=read_speed(path)))[0] for name, path in ratios.items()}
    assert {name: row["time over plain"] for name, row in found.items()} == {
        "same": "2.06",
        **dict.fromkeys(("other model", "other method", "other parameters"), "–"),
    }
    assert "time over plain" not in block_of(folder).headings
    one_pass = run_of(tmp_path / "one", {"fit": 1.0}, passes=1)
    assert cells(block_of(one_pass, speed=read_speed(file)))[0]["time over plain"] == "1.01"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "speed=.*methods.json: the whole file: Invalid JSON"),
        ("{}", "speed=.*methods.json: model: Field required; a methods.json of experiments.speed.methods expected"),
        ('{"model": {"name": "m"}, "methods": {"x": {"median": 0}}}', r"methods\.x\.method: Field required"),
    ],
)
def test_another_file_is_refused_in_one_line(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "methods.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_speed(path)


@pytest.mark.parametrize("median", ["NaN", "Infinity", "-1", "0"])
def test_a_ratio_that_is_none_is_refused(median: str, tmp_path: Path) -> None:
    path = tmp_path / "methods.json"
    entry = f'{{"method": "x", "passes": 1, "inference_parameters": 0, "median": {median}}}'
    path.write_text(f'{{"model": {{"name": "m"}}, "methods": {{"x": {entry}}}}}')
    with pytest.raises(InputError, match=r"methods\.x\.median: Input should be"):
        read_speed(path)
