"""Promises of the comparison of solvers."""

from pathlib import Path

import pytest
from tests.fitting import GradientFit
from tests.handmade_runs import run_row, stored_run, write_run

from experiments.one_pass.solvers import (
    aimed_share,
    calibrated_rows,
    rank_solvers,
    recipe,
    solver_figure,
    solver_tables,
)
from experiments.study import read_setting
from lmsteer.data.corpus import Corpus
from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import read_run
from lmsteer.evaluation.metric_names import Metric
from lmsteer.models.language_model import LanguageModel
from lmsteer.one_pass.one_pass_solver import OnePassSolver
from lmsteer.records import Row
from lmsteer.reporting.comparison import Comparison, compare_runs
from lmsteer.runs.stages import settings_of
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.training.fit import Solver, fit

PAPER = {"solver": "gradient", "steps": 200, "rank": 64, "train_rows": 900}
ONE_PASS = {"solver": "one_pass", "rank": "full", "damping": 1.0, "train_rows": 900}
BUDGETS = ("kl 0.3", "perplexity ×2", "kl 0.1")


def values(*shares: float) -> dict[str, list[float]]:
    return {"positivity": list(shares), "positivity@other": [0.5] * 4, "perplexity": [20.0] * 4, "dist_1": [0.8] * 4}


PLAIN = run_row(values(0.5, 0.5, 0.5, 0.5))


def write_runs(folder: Path) -> Path:
    """Write two seeds of the paper's recipe and one run of one pass, in both directions at three budgets."""
    for name, settings, seed, shares in (
        ("paper-0", PAPER, 0, values(0.6, 0.7, 0.8, 0.5)),
        ("paper-1", PAPER, 1, values(0.8, 0.7, 0.6, 0.7)),
        ("one", ONE_PASS, 0, values(0.9, 0.8, 0.9, 0.8)),
    ):
        rows = [
            run_row(shares, {"tone": strength}, budget=budget, settings=settings, seed=seed)
            for budget in BUDGETS
            for strength in (5.0 + seed, -5.0)
        ]
        write_run(folder / name, [PLAIN, *rows], metric="positivity")
    return folder


def compare(folder: Path) -> Comparison:
    return compare_runs([read_run(run) for run in sorted(folder.iterdir())])


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    return compare(write_runs(tmp_path / "runs"))


@pytest.fixture
def by_texts(tmp_path: Path) -> Comparison:
    """Both recipes from 200 and 50 texts; the share of one pass is larger by a thousandth for each text."""
    for texts in (200, 50):
        for name, settings, share in (("paper", PAPER, 0.5), ("one", ONE_PASS, 0.5 + texts / 1000)):
            settings = {**settings, "train_rows": texts}
            row = run_row(values(*[share] * 4), {"tone": 5.0}, budget="kl 0.3", settings=settings)
            write_run(tmp_path / f"{name}-{texts}", [PLAIN, row], metric="positivity")
    return compare(tmp_path)


def cells(comparison: Comparison) -> list[list[str]]:
    """Split the table of the first task into cells."""
    table = solver_tables(comparison).split("\n\n")[1]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def test_budgets_rise_divergences_first_and_directions_are_tasks_of_their_own(comparison: Comparison) -> None:
    rows = calibrated_rows(comparison)
    assert list(rows["task"].unique()) == ["toxic-leaning, +", "toxic-leaning, -"]
    for _, task in rows.groupby("task"):
        assert list(task["budget"].unique()) == ["kl 0.1", "kl 0.3", "perplexity ×2"]


def test_the_change_from_the_papers_row_is_that_of_the_same_prompts(comparison: Comparison) -> None:
    lines = cells(comparison)
    assert [line[:3] for line in lines[:3]] == [
        ["", "plain", ""],
        ["kl 0.1", "paper, 200 steps", "2"],
        ["kl 0.1", "one pass, full rank, damping 1", "1"],
    ]
    # By prompt the paper's seeds have .7, .7, .7 and .6 on average, one pass .2, .1, .2 and .2 more.
    assert lines[2][3].startswith(".85 [")
    assert "(+.175 [" in lines[2][3]
    assert lines[2][3].endswith("p .125)"), "two of sixteen ways to exchange are as large"
    assert "(+.000 [+.000, +.000] p 1.000)" in lines[2][4]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"solver": "gradient", "steps": 1000}, "paper, 1000 steps"),
        ({"solver": "one_pass", "rank": 64, "damping": 1.0}, "one pass, rank by the null, damping 1"),
        (
            {"solver": "one_pass", "rank": "full", "form": "both", "damping": 0.3, "context_damping": 100.0},
            "one pass, full rank and constant, damping 0.3/100",
        ),
        ({"solver": "one_pass", "rank": 64, "form": "add", "damping": 3.0}, "one pass, constant alone, damping 3"),
    ],
)
def test_a_recipe_is_named_by_its_settings(settings: dict[str, str | float], name: str) -> None:
    assert recipe(settings) == name


def test_two_rows_of_one_solver_are_refused(tmp_path: Path) -> None:
    write_runs(tmp_path)
    settings = {**ONE_PASS, "permutations": 39}
    row = run_row(values(0.9, 0.8, 0.9, 0.8), {"tone": 5.0}, budget="kl 0.3", settings=settings)
    write_run(tmp_path / "again", [row], metric="positivity")
    with pytest.raises(InputError, match=r"toxic-leaning, \+, kl 0\.3: two rows are of one pass, full rank, damping 1"):
        calibrated_rows(compare(tmp_path))


def test_the_ranking_is_by_the_mean_of_all_aimed_shares_the_best_first(comparison: Comparison) -> None:
    # Steered up, shares count as they are, steered down, their complements; the second scorer says .5 to all.
    up, down = (0.85 + 0.5) / 2, (1 - 0.85 + 0.5) / 2
    ranking = rank_solvers(comparison)
    assert ranking["mean"]["one pass, full rank, damping 1"] == pytest.approx((up + down) / 2)
    assert list(ranking["mean"]) == sorted(ranking["mean"], reverse=True)
    assert ranking.shape == (2, 1 + 3 * 2 * 2)
    assert aimed_share(Metric("expected_maximum_toxicity"), 0.2, 1) == pytest.approx(0.8), "up means less toxic"
    assert aimed_share(Metric("positivity"), 0.2, 1) == 0.2
    assert aimed_share(Metric("expected_maximum_toxicity"), 0.2, -1) == 0.2


def test_solvers_that_were_not_measured_everywhere_are_not_ranked(tmp_path: Path) -> None:
    write_runs(tmp_path)
    row = run_row(values(0.5, 0.5, 0.5, 0.5), {"tone": 5.0}, budget="kl 0.3", settings={**PAPER, "steps": 1000})
    write_run(tmp_path / "1000", [row], metric="positivity")
    with pytest.raises(InputError, match=r"kl 0\.1, toxic-leaning, \+: paper, 1000 steps was not measured there"):
        rank_solvers(compare(tmp_path))
    assert "No ranking of the solvers: kl 0.1, toxic-leaning, +" in solver_tables(compare(tmp_path))


def test_every_task_has_two_panels_a_scorer_with_a_line_for_each_solver(comparison: Comparison) -> None:
    figure = solver_figure(comparison)
    assert len(figure.axes) == 2 * 2 * 2
    assert all(len(axes.get_lines()) == 2 for axes in figure.axes)
    divergence, perplexity = (axes.get_lines()[0] for axes in figure.axes[:2])
    assert list(divergence.get_xdata()) == [0.1, 0.3]
    assert list(perplexity.get_xdata()) == [20.0, 20.0, 20.0]


def test_solvers_are_compared_with_the_papers_from_as_many_texts(by_texts: Comparison) -> None:
    lines = cells(by_texts)
    assert [line[1] for line in lines[1:]] == [
        "paper, 200 steps, 50 texts",
        "one pass, full rank, damping 1, 50 texts",
        "paper, 200 steps, 200 texts",
        "one pass, full rank, damping 1, 200 texts",
    ]
    assert ["(" in line[3] for line in lines[1:]] == [False, True, False, True]
    assert "(+.050 [" in lines[2][3]
    assert "(+.200 [" in lines[4][3]


def test_curves_over_the_number_of_texts_rise_from_fewest_to_most(by_texts: Comparison) -> None:
    figure = solver_figure(by_texts)
    assert len(figure.axes) == 2, "a panel for each scorer"
    _, one_pass = figure.axes[0].get_lines()
    assert list(one_pass.get_xdata()) == [50, 200]
    assert list(one_pass.get_ydata()) == pytest.approx([0.55, 0.7])


def test_a_run_of_train_records_its_number_of_texts(tmp_path: Path, tiny_model: LanguageModel) -> None:
    rows = tuple(Row(f"{word} {n}", label) for n in range(20) for word, label in (("good", 1.0), ("bad", -1.0)))
    corpus, steer_config = Corpus("tone", rows, dev=rows[:4]), SteerConfig(name="tone", rank=2)
    small = GradientFit(steps=1, batch_size=4, rows=10, dev_rows=2)
    solvers: dict[str, Solver] = {"gradient": small.solver, "one_pass": OnePassSolver(permutations=0)}
    for name, solver in solvers.items():
        settings = settings_of(*fit(tiny_model, corpus, steer_config, solver, data=small.data))
        row = run_row(values(0.5, 0.5, 0.5, 0.5), {"tone": 1.0}, settings=settings)
        run = stored_run(tmp_path / name, [row])
        assert settings["solver"] == name
        assert read_setting(compare_runs([run]).rows[0], "train_rows") == 10
