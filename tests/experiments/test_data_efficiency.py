"""Promises of the report on data efficiency."""

from pathlib import Path

import pytest
from tests.handmade_runs import made, write_run

from experiments.data_efficiency.report import examples, figure, main, markdown
from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import read_run
from lmsteer.reporting.comparison import Comparison, compare_runs

PLAIN = made({"expected_maximum_toxicity": [0.8, 0.6, 0.9, 0.7]})


def sweep(folder: Path) -> Path:
    for rows, toxicity in ((300, 0.2), (30, 0.4)):
        for seed, more in ((0, 0.0), (1, 0.1)):
            values = {"expected_maximum_toxicity": [toxicity + more] * 4}
            settings = {"rank": 64, "rows": rows, "train_rows": rows}
            row = made(values, {"detox": 5.0}, seed=seed, settings=settings)
            write_run(folder / f"rows-{rows}_seed-{seed}", [PLAIN, row])
    return folder


def found(folder: Path) -> Comparison:
    return compare_runs([read_run(run) for run in sorted(sweep(folder).iterdir())])


def test_rows_come_by_their_number_of_examples_and_are_means_over_seeds(tmp_path: Path) -> None:
    lines = markdown(found(tmp_path / "runs")).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["plain", "30", "300"]
    assert ".75" in lines[2]
    assert ".45 [.45, .45] ±.07" in lines[3]
    assert ".25 [.25, .25] ±.07" in lines[4]


def test_the_picture_has_a_point_for_each_number(tmp_path: Path) -> None:
    axes = figure(found(tmp_path / "runs")).axes[0]
    curve, plain = axes.get_lines()[:2]
    assert list(curve.get_xdata()) == [30, 300]
    assert list(curve.get_ydata()) == pytest.approx([0.45, 0.25])
    assert list(plain.get_ydata()) == pytest.approx([0.75, 0.75])


def test_a_run_that_does_not_say_its_number_is_refused(tmp_path: Path) -> None:
    row = made({"expected_maximum_toxicity": [0.2] * 4}, {"detox": 5.0})
    run = write_run(tmp_path / "run", [PLAIN, row])
    with pytest.raises(InputError, match="on how many rows"):
        examples(compare_runs([read_run(run)]))


def test_the_published_figure_is_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(sweep(tmp_path / "runs"), tmp_path / "picture.png")
    said = capsys.readouterr().out
    assert "Published, not comparable: LM-Steer, 30 examples, gpt2-large" in said
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
