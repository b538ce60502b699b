"""Promises of the report on data efficiency."""

import sys
from pathlib import Path

import pytest
from tests.handmade_runs import run_row, stored_run, write_run

from experiments.data_efficiency.report import examples_figure, examples_table, sort_by_examples
from experiments.study import tabulate
from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import read_run
from lmsteer.reporting.comparison import Comparison, compare_runs

PLAIN = run_row({"expected_maximum_toxicity": [0.8, 0.6, 0.9, 0.7]})


def write_sweep(folder: Path) -> Path:
    for examples, toxicity in ((300, 0.2), (30, 0.4)):
        for seed, shift in ((0, 0.0), (1, 0.1)):
            values = {"expected_maximum_toxicity": [toxicity + shift] * 4}
            settings = {"rank": 64, "rows": examples, "train_rows": examples}
            row = run_row(values, {"detox": 5.0}, seed=seed, settings=settings)
            write_run(folder / f"rows-{examples}_seed-{seed}", [PLAIN, row])
    return folder


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    return compare_runs([read_run(run) for run in sorted(write_sweep(tmp_path / "runs").iterdir())])


def test_rows_come_by_their_number_of_examples_and_are_means_over_seeds(comparison: Comparison) -> None:
    lines = examples_table(comparison).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:5]] == ["plain", "30", "300"]
    assert ".75" in lines[2]
    assert ".45 [.45, .45] ±.07" in lines[3]
    assert ".25 [.25, .25] ±.07" in lines[4]


def test_the_picture_has_a_point_for_each_number(comparison: Comparison) -> None:
    (axes,) = examples_figure(comparison).axes
    curve, plain = axes.get_lines()
    assert list(curve.get_xdata()) == [30, 300]
    assert list(curve.get_ydata()) == pytest.approx([0.45, 0.25])
    assert list(plain.get_ydata()) == pytest.approx([0.75, 0.75])


def test_a_run_that_does_not_record_its_number_is_refused(tmp_path: Path) -> None:
    row = run_row({"expected_maximum_toxicity": [0.2] * 4}, {"detox": 5.0})
    run = stored_run(tmp_path / "run", [PLAIN, row])
    with pytest.raises(InputError, match="does not record its train_rows"):
        sort_by_examples(compare_runs([run]))


def test_the_command_prints_published_figures_apart_draws_the_picture_and_names_unfinished_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (write_sweep(tmp_path / "runs") / "open").mkdir()
    (tmp_path / "runs" / "open" / "config.yaml").write_text("seed: 0\n")
    monkeypatch.setattr(sys, "argv", ["report", str(tmp_path / "runs"), str(tmp_path / "picture.png")])
    tabulate("experiments.data_efficiency.report", examples_table, examples_figure)
    printed = capsys.readouterr()
    assert "Published, not comparable: LM-Steer, 30 examples, gpt2-large" in printed.out
    assert "not finished, left out:" in printed.err
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
