"""Promises of the report on rank and epsilon."""

from pathlib import Path

import pytest
from tests.handmade_runs import run_row, stored_run

from experiments.rank_epsilon.report import rank_figure, rank_table
from lmsteer.reporting.comparison import Comparison, compare_runs

RANKS, EPSILONS = (16, "full", 4), (1e-2, 1e-3)
PLAIN = run_row({"positivity": [0.4, 0.5, 0.4, 0.5], "perplexity": [10.0] * 4})


def positivity(rank: object, epsilon: float) -> float:
    """Return a different value for each setting."""
    return 0.5 + 0.1 * sorted(map(str, RANKS)).index(str(rank)) + 0.05 * EPSILONS.index(epsilon)


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    runs = []
    for rank in RANKS:
        for epsilon in EPSILONS:
            value, settings = positivity(rank, epsilon), {"rank": rank, "epsilon": epsilon}
            rows = [PLAIN]
            for strength, budget, shift in ((5.0, "", 0.0), (7.5, "kl 0.3", 0.1)):
                values = {"positivity": [value + shift] * 4, "perplexity": [20.0] * 4}
                rows.append(run_row(values, {"sentiment": strength}, settings=settings, budget=budget))
            runs.append(stored_run(tmp_path / f"rank-{rank}_epsilon-{epsilon}", rows))
    return compare_runs(runs)


def test_rows_come_by_budget_then_epsilon_then_rank_with_a_full_matrix_last(comparison: Comparison) -> None:
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in rank_table(comparison).splitlines()]
    order = [(epsilon, rank) for epsilon in ("0.001", "0.01") for rank in ("4", "16", "full")]
    assert [tuple(line[1:3]) for line in lines[2:]] == [("", ""), *order, *order]
    assert [line[0] for line in lines[2:]] == ["plain", *["kl 0.3"] * 6, *["sentiment +5"] * 6]
    assert lines[3][3] == "sentiment +7.5"
    assert lines[3][4].startswith(f"{positivity(4, 1e-3) + 0.1:.3f}"[1:3])


def test_the_picture_has_a_line_of_the_ranks_for_each_epsilon(comparison: Comparison) -> None:
    figure = rank_figure(comparison)
    calibrated, fixed, *perplexities = figure.axes
    assert [axes.get_title("left") for axes in (calibrated, fixed)] == ["at kl 0.3", "at sentiment +5"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ε = 0.001", "ε = 0.01"]
    for axes, shift in ((calibrated, 0.1), (fixed, 0.0)):
        *curves, plain = axes.get_lines()
        for curve, epsilon in zip(curves, sorted(EPSILONS), strict=True):
            assert axes.get_xlim()[0] < min(curve.get_xdata()) < max(curve.get_xdata()) < axes.get_xlim()[1]
            assert list(curve.get_ydata()) == pytest.approx(
                [positivity(rank, epsilon) + shift for rank in (4, 16, "full")]
            )
        assert list(plain.get_ydata()) == pytest.approx([0.45, 0.45])
    assert [list(axes.get_lines()[-1].get_ydata()) for axes in perplexities] == [[10.0, 10.0]] * 2
    assert [tick.get_text() for tick in fixed.get_xticklabels()] == ["4", "16", "full"]
