from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from tests.handmade_runs import RunRow, run_row, stored_run

from lmsteer.reporting.comparison import Comparison, compare_runs
from lmsteer.reporting.pareto import pareto
from lmsteer.reporting.plots import to_png

TOXICITY = "expected_maximum_toxicity"


def at(level: float, cost: float, strength: dict[str, float] | None = None, **changes: object) -> RunRow:
    spread = np.array([-0.1, 0.0, 0.0, 0.1])
    values = {TOXICITY: level + spread, f"{TOXICITY}@list": [0.0] * 4, "perplexity": cost * (1 + spread)}
    return run_row(values, strength, **changes)  # type: ignore[arg-type]


def comparison_of(tmp_path: Path, rows: list[RunRow], **protocol: object) -> Comparison:
    return compare_runs([stored_run(tmp_path / "run", rows, **protocol)])


def picture(comparison: Comparison) -> Figure:
    figure = pareto(comparison)
    assert figure is not None
    return figure


def drawn(figure: Figure, panel: int = 0) -> list[list[list[float]]]:
    return [np.asarray(line.get_xydata()).round(6).tolist() for line in figure.axes[panel].lines]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_curve_joins_strengths_in_order_with_the_plain_model_between(tmp_path: Path) -> None:
    rows = [
        at(0.2, 30.0, {"detox": 5.0}),
        at(0.5, 16.0),
        at(0.8, 25.0, {"detox": -5.0}),
        at(0.3, 20.0, {"detox": 2.0}),
    ]
    figure = picture(comparison_of(tmp_path, rows))
    path = [[25.0, 0.8], [16.0, 0.5], [20.0, 0.3], [30.0, 0.2]]
    assert drawn(figure) == [[path[1]], path, [path[0], *path[2:]]]
    assert legend(figure) == ["plain model", "lm-steer"]
    assert figure.axes[0].get_ylabel() == "expected max toxicity by words"
    assert figure.axes[0].get_xlabel() == "perplexity under smollm2"
    assert [text.get_text() for text in figure.axes[0].texts] == ["-5", "+2", "+5"]


def test_intervals_are_drawn_both_ways(tmp_path: Path) -> None:
    comparison = comparison_of(tmp_path, [at(0.5, 16.0)])
    figure = picture(comparison)
    across, up = (np.asarray(part.get_segments()[0]) for part in figure.axes[0].collections)  # type: ignore[attr-defined]
    attribute, cost = (comparison.rows[0].metrics[name].interval for name in (TOXICITY, "perplexity"))
    assert across[:, 0].tolist() == pytest.approx([cost.low, cost.high])
    assert up[:, 1].tolist() == pytest.approx([attribute.low, attribute.high])


def test_calibrated_rows_are_ringed(tmp_path: Path) -> None:
    rows = [at(0.3, 20.0, {"detox": 3.0}, budget="kl 0.3"), at(0.2, 32.0, {"detox": 6.0}, budget="perplexity ×2")]
    figure = picture(comparison_of(tmp_path, rows))
    assert drawn(figure)[2:] == [[[20.0, 0.3]], [[32.0, 0.2]]]
    assert legend(figure) == ["lm-steer", "equal KL", "equal perplexity"]


def test_each_kind_has_a_curve_and_each_prompt_set_a_panel(tmp_path: Path) -> None:
    sets = {name: {"n": 4, "digest": name} for name in ("a", "b", "c", "d")}
    runs = [
        [
            at(level, 20.0 + rank, {"detox": 5.0}, prompts=name, settings={"rank": rank})
            for level, name in zip((0.2, 0.3, 0.4, 0.5), sets, strict=True)
        ]
        for rank in (16, 64, 128)
    ]
    runs.append([at(0.6, 40.0, method="other", prompts="b")])
    finished = [stored_run(tmp_path / str(number), rows, prompts=sets) for number, rows in enumerate(runs)]
    figure = picture(compare_runs(finished))
    assert [axes.get_title("left") for axes in figure.axes] == list(sets)
    assert drawn(figure, 2) == [[[x, 0.4]] for x in (36.0, 36.0, 84.0, 84.0, 148.0, 148.0)]
    assert drawn(figure, 1)[0] == [[40.0, 0.6]]
    kinds = ["lm-steer, rank 16", "lm-steer, rank 64", "lm-steer, rank 128"]
    assert legend(figure) == [*kinds, "other"]
    assert len({line.get_color() for line in figure.axes[1].lines}) == 4


def test_perplexities_far_apart_are_logarithmic(tmp_path: Path) -> None:
    for cost, scale in ((79.0, "linear"), (81.0, "log")):
        figure = picture(comparison_of(tmp_path / scale, [at(0.5, 16.0), at(0.2, cost, {"detox": 5.0})]))
        assert figure.axes[0].get_xscale() == scale


def test_without_attribute_or_perplexity_there_is_no_picture(tmp_path: Path) -> None:
    assert pareto(comparison_of(tmp_path / "a", [run_row({"perplexity": [10.0] * 4})])) is None
    assert pareto(comparison_of(tmp_path / "b", [run_row({TOXICITY: [0.5] * 4})])) is None


def test_the_same_study_gives_the_same_picture_and_long_names_leave_it_room(tmp_path: Path) -> None:
    name = "$\\bad{$" * 40
    rows = [at(0.5, 16.0, prompts=name), at(0.2, 30.0, {"s": 5.0}, method=name, prompts=name)]
    comparison = comparison_of(tmp_path, rows, prompts={name: {"n": 4}})
    first, second = (picture(comparison) for _ in range(2))
    assert to_png(first) == to_png(second)
    assert first.axes[0].get_position().width > 0.6
    assert first.axes[0].get_position().height > 0.5
