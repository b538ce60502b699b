"""Promises of the report on rank and epsilon."""

from pathlib import Path

import pytest
from matplotlib.axes import Axes
from tests.handmade_runs import made, write_run

from experiments.rank_epsilon.report import figure, main, markdown, points
from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import read_run
from lmsteer.reporting.comparison import Comparison, compare_runs

RANKS, EPSILONS = (16, "full", 4), (1e-2, 1e-3)
PLAIN = made({"positivity": [0.4, 0.5, 0.4, 0.5], "perplexity": [10.0] * 4})


def positivity(rank: object, epsilon: float) -> float:
    """A value of its own for each setting."""
    return 0.5 + 0.1 * sorted(map(str, RANKS)).index(str(rank)) + 0.05 * EPSILONS.index(epsilon)


def sweep(folder: Path) -> Path:
    for rank in RANKS:
        for epsilon in EPSILONS:
            value, settings = positivity(rank, epsilon), {"rank": rank, "epsilon": epsilon}
            rows = [PLAIN]
            for strength, budget, more in ((5.0, "", 0.0), (7.5, "kl 0.3", 0.1)):
                values = {"positivity": [value + more] * 4, "perplexity": [20.0] * 4}
                rows.append(made(values, {"sentiment": strength}, settings=settings, budget=budget))
            write_run(folder / f"rank-{rank}_epsilon-{epsilon}", rows)
    return folder


def found(folder: Path) -> Comparison:
    return compare_runs([read_run(run) for run in sorted(sweep(folder).iterdir())])


def test_rows_come_by_budget_then_epsilon_then_rank_with_a_full_matrix_last(tmp_path: Path) -> None:
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in markdown(found(tmp_path)).splitlines()]
    order = [(epsilon, rank) for epsilon in ("0.001", "0.01") for rank in ("4", "16", "full")]
    assert [tuple(line[1:3]) for line in lines[2:]] == [("", ""), *order, *order]
    assert [line[0] for line in lines[2:]] == ["plain", *["kl 0.3"] * 6, *["sentiment +5"] * 6]
    assert lines[3][3] == "sentiment +7.5"
    assert lines[3][4].startswith(f"{positivity(4, 1e-3) + 0.1:.3f}"[1:3])


def test_the_picture_has_a_line_of_the_ranks_for_each_epsilon(tmp_path: Path) -> None:
    drawn = figure(found(tmp_path))
    calibrated, given, *perplexities = drawn.axes
    assert [calibrated.get_title(), given.get_title()] == ["at kl 0.3", "at sentiment +5"]
    for axes, more in ((calibrated, 0.1), (given, 0.0)):
        for line, epsilon in zip(axes.get_lines(), sorted(EPSILONS), strict=False):
            wanted = [positivity(rank, epsilon) + more for rank in (4, 16, "full")]
            assert list(line.get_ydata()) == pytest.approx(wanted)
            assert line.get_label() == f"ε = {epsilon:g}"
        assert plain_of(axes) == pytest.approx(0.45)
    assert [plain_of(axes) for axes in perplexities] == [10.0, 10.0]
    assert [tick.get_text() for tick in given.get_xticklabels()] == ["4", "16", "full"]


def plain_of(axes: Axes) -> float:
    return float(axes.get_lines()[-1].get_ydata()[0])


def test_a_run_that_does_not_say_its_rank_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [PLAIN, made({"positivity": [0.2] * 4}, {"sentiment": 5.0}, settings={})])
    with pytest.raises(InputError, match="its rank and epsilon"):
        points(compare_runs([read_run(run)]))


def test_the_command_prints_the_table_and_writes_the_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(sweep(tmp_path / "runs"), tmp_path / "picture.png")
    assert capsys.readouterr().out.startswith("| at | ε | rank |")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
