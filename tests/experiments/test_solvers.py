"""Promises of the comparison of solvers."""

from pathlib import Path

import numpy as np
import pytest
from tests.handmade_runs import made, write_run

from experiments.data_efficiency.report import trained_on
from experiments.one_pass.chosen import aim, control
from experiments.one_pass.chosen import markdown as choice
from experiments.one_pass.growth import curve
from experiments.one_pass.growth import figure as growth
from experiments.one_pass.solvers import Place, at, budgets, figure, main, markdown, places, solver
from lmsteer.data.corpus import Corpus
from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import read_run
from lmsteer.evaluation.metric_names import Metric
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Row
from lmsteer.reporting.comparison import Comparison, compare_runs
from lmsteer.runs.stages import settings_of
from lmsteer.training.fit import FitConfig, SteerConfig, fit

PAPER = {"solver": "paper", "steps": 200, "rank": 64, "train_rows": 900}
ONE_PASS = {"solver": "one_pass", "rank": "full", "damping": 1.0, "train_rows": 900}
BUDGETS = ("kl 0.3", "perplexity ×2", "kl 0.1")


def values(*shares: float) -> dict[str, list[float]]:
    return {"positivity": list(shares), "positivity@other": [0.5] * 4, "perplexity": [20.0] * 4, "dist_1": [0.8] * 4}


def folder(place: Path) -> Path:
    """Two seeds of the paper's recipe and one run of one pass, steered in both directions at three budgets."""
    plain = made(values(0.5, 0.5, 0.5, 0.5))
    for name, settings, seed, own in (
        ("paper-0", PAPER, 0, values(0.6, 0.7, 0.8, 0.5)),
        ("paper-1", PAPER, 1, values(0.8, 0.7, 0.6, 0.7)),
        ("one", ONE_PASS, 0, values(0.9, 0.8, 0.9, 0.8)),
    ):
        rows = [plain]
        for budget in BUDGETS:
            for strength in (5.0 + seed, -5.0):
                rows.append(made(own, {"tone": strength}, budget=budget, settings=settings, seed=seed))
        write_run(place / name, rows, metric="positivity")
    return place


def found(place: Path) -> Comparison:
    return compare_runs([read_run(run) for run in sorted(folder(place).iterdir())])


def test_budgets_rise_divergences_first_and_directions_are_apart(tmp_path: Path) -> None:
    own = found(tmp_path)
    assert budgets(own) == ["kl 0.1", "kl 0.3", "perplexity ×2"]
    assert sorted(map(str, places(own))) == ["toxic-leaning, +", "toxic-leaning, -"]


def test_the_change_from_the_papers_row_is_that_of_the_same_prompts(tmp_path: Path) -> None:
    own = found(tmp_path)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in markdown(own, places(own)[0]).splitlines()]
    assert [line[:3] for line in lines[2:5]] == [
        ["", "plain", ""],
        ["kl 0.1", "paper, 200 steps", "2"],
        ["kl 0.1", "one pass, full rank, damping 1", "1"],
    ]
    # By prompt the paper's seeds have .7, .7, .7 and .6 on average, one pass .2, .1, .2 and .2 more.
    assert lines[4][3].startswith(".85 [")
    assert "(+0.175 [" in lines[4][3]
    assert lines[4][3].endswith("p 0.125)"), "two of sixteen ways to exchange are as large"
    assert "(+0.000 [+0.000, +0.000] p 1.000)" in lines[4][4]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"solver": "paper", "steps": 1000}, "paper, 1000 steps"),
        ({"solver": "one_pass", "rank": 64, "damping": 1.0}, "one pass, rank by the null, damping 1"),
        (
            {"solver": "one_pass", "rank": "full", "form": "both", "damping": 0.3, "context_damping": 100.0},
            "one pass, full rank and constant, damping 0.3/100",
        ),
        ({"solver": "one_pass", "rank": 64, "form": "add", "damping": 3.0}, "one pass, constant alone, damping 3"),
    ],
)
def test_a_solver_is_named_by_its_settings(tmp_path: Path, settings: dict[str, object], name: str) -> None:
    row = made(values(0.5, 0.5, 0.5, 0.5), {"tone": 1.0}, settings={**settings, "train_rows": 900})
    run = write_run(tmp_path / "run", [row], metric="positivity")
    own = compare_runs([read_run(run)])
    assert solver(own, own.rows[0]) == name


def test_two_rows_of_one_solver_are_refused(tmp_path: Path) -> None:
    folder(tmp_path)
    rows = [made(values(0.9, 0.8, 0.9, 0.8), {"tone": 5.0}, budget="kl 0.3", settings={**ONE_PASS, "permutations": 39})]
    write_run(tmp_path / "again", rows, metric="positivity")
    own = compare_runs([read_run(run) for run in sorted(tmp_path.iterdir())])
    with pytest.raises(InputError, match=r"toxic-leaning, \+, kl 0\.3: two rows are of one pass, full rank, damping 1"):
        at(own, Place("toxic-leaning", 1), "kl 0.3")


def test_the_choice_is_by_the_mean_of_all_aims_the_best_first(tmp_path: Path) -> None:
    own = found(tmp_path)
    # Steered up shares count as they are, steered down what is left of them; the second judge says .5 to all.
    up, down = (0.85 + 0.5) / 2, (1 - 0.85 + 0.5) / 2
    assert np.mean(control(own)["one pass, full rank, damping 1"]) == pytest.approx((up + down) / 2)
    assert aim(Metric("expected_maximum_toxicity"), 0.2, 1) == pytest.approx(0.8), "steered up it is to be low"
    assert aim(Metric("positivity"), 0.2, 1) == aim(Metric("expected_maximum_toxicity"), 0.2, -1) == 0.2
    lines = choice(own).splitlines()
    assert len(lines) == 2 + 2
    means = [float(line.split("|")[2]) for line in lines[2:]]
    assert means == sorted(means, reverse=True)


def test_every_place_has_two_panels_a_judge_with_a_line_for_each_solver(tmp_path: Path) -> None:
    drawn = figure(found(tmp_path))
    assert len(drawn.axes) == 2 * 2 * 2
    assert all(len(axes.get_lines()) == 2 for axes in drawn.axes)
    kl, cost = drawn.axes[0].get_lines()[0], drawn.axes[1].get_lines()[0]
    assert list(kl.get_xdata()) == [0.1, 0.3]
    assert list(cost.get_xdata()) == [20.0, 20.0, 20.0]


def test_the_command_prints_tables_writes_the_picture_and_names_what_is_unfinished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder(tmp_path / "runs") / "open").mkdir()
    (tmp_path / "runs" / "open" / "config.yaml").write_text("seed: 0\n")
    main([tmp_path / "runs"], tmp_path / "picture.png")
    printed = capsys.readouterr()
    assert printed.out.count("| plain |") == 2
    assert "open" in printed.err
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def learned_from(place: Path, *amounts: int) -> Comparison:
    """Both recipes learned from so many texts each; one pass has the larger share, by a thousandth for each text."""
    for amount in amounts:
        for name, settings, share in (("paper", PAPER, 0.5), ("one", ONE_PASS, 0.5 + amount / 1000)):
            own = made(
                values(*[share] * 4), {"tone": 5.0}, budget="kl 0.3", settings={**settings, "train_rows": amount}
            )
            rows = [made(values(0.5, 0.5, 0.5, 0.5)), own]
            write_run(place / f"{name}-{amount}", rows, metric="positivity")
    return compare_runs([read_run(run) for run in sorted(place.iterdir())])


def test_solvers_compare_with_the_paper_from_as_many_texts(tmp_path: Path) -> None:
    own = learned_from(tmp_path, 200, 50)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in markdown(own, places(own)[0]).splitlines()]
    assert [line[1] for line in lines[3:]] == [
        "paper, 200 steps, 50 texts",
        "one pass, full rank, damping 1, 50 texts",
        "paper, 200 steps, 200 texts",
        "one pass, full rank, damping 1, 200 texts",
    ]
    assert ["(" in line[3] for line in lines[3:]] == [False, True, False, True]
    assert "(+0.050 [" in lines[4][3]
    assert "(+0.200 [" in lines[6][3]


def test_a_curve_over_the_number_of_texts_rises_from_fewest_to_most(tmp_path: Path) -> None:
    own = learned_from(tmp_path, 200, 50)
    points = curve(own, Place("toxic-leaning", 1), "one pass, full rank, damping 1", Metric("positivity"), "kl 0.3")
    assert [(x, round(y, 3)) for x, y, _, _ in points] == [(50, 0.55), (200, 0.7)]
    drawn = growth(own)
    assert len(drawn.axes) == 2, "a panel for each judge"
    assert [len(axes.get_lines()) for axes in drawn.axes] == [2, 2]


def test_texts_are_named_as_a_run_of_train_tells_them(tmp_path: Path, tiny_model: LanguageModel) -> None:
    rows = tuple(Row(f"{word} {n}", label) for n in range(20) for word, label in (("good", 1.0), ("bad", -1.0)))
    how = FitConfig(steps=1, batch_size=4, rows=10, dev_rows=2)
    for learned in (
        SteerConfig(name="tone", rank=2),
        SteerConfig(name="tone", rank=2, solver="one_pass", permutations=0),
    ):
        settings = settings_of(*fit(tiny_model, Corpus("tone", rows, dev=rows[:4]), learned, how))
        run = write_run(tmp_path / learned.solver, [made(values(0.5, 0.5, 0.5, 0.5), {"tone": 1.0}, settings=settings)])
        assert trained_on(compare_runs([read_run(run)]).rows[0]) == 10
