import io
import struct

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from tests.handmade import PROTOCOL, row, value

from lmsteer.evaluation.results import Result, ResultRow
from lmsteer.reporting.plots import loss_curve, to_png
from lmsteer.reporting.strength_curve import strength_curve, swept_dimension


def curve(rows: list[ResultRow], **protocol: object) -> Figure:
    figure = strength_curve(Result(protocol=PROTOCOL | protocol, rows=rows))
    assert figure is not None
    return figure


def drawn_lines(axes: Axes) -> list[list[list[float]]]:
    return [np.asarray(line.get_xydata()).tolist() for line in axes.lines]


def drawn_intervals(axes: Axes) -> list[list[list[list[float]]]]:
    bars = [part for part in axes.collections if isinstance(part, LineCollection)]
    return [[np.asarray(segment).tolist() for segment in part.get_segments()] for part in bars]


def test_the_strength_curve_draws_the_numbers_with_the_plain_model_at_zero(result: Result) -> None:
    figure = curve(result.rows)
    attribute, perplexity = figure.axes
    assert drawn_lines(attribute) == [[[-5.0, 0.44], [0.0, 0.47], [5.0, 0.74]]]
    assert drawn_intervals(attribute) == [
        [[[-5.0, 0.40], [-5.0, 0.48]], [[0.0, 0.43], [0.0, 0.51]], [[5.0, 0.70], [5.0, 0.78]]]
    ]
    assert drawn_lines(perplexity) == [[[-5.0, 123.4], [0.0, 16.4], [5.0, 32.8]]]
    assert (attribute.get_ylabel(), attribute.get_xlabel()) == ("positivity (0 to 1)", "strength of sentiment")
    assert perplexity.get_ylabel() == "perplexity under smollm2"


@pytest.mark.parametrize(("highest", "scale"), [(82.0, "linear"), (82.5, "log")])
def test_perplexity_is_logarithmic_beyond_a_factor_of_five(highest: float, scale: str) -> None:
    rows = [
        row({}, {"perplexity": value(16.4, 16.0, 17.0)}),
        row({"s": 1.0}, {"perplexity": value(highest, 9.0, 99.0)}),
    ]
    figure = curve(rows)
    assert [axes.get_yscale() for axes in figure.axes] == [scale]
    to_png(figure)


def test_each_prompt_set_has_panels_of_its_own() -> None:
    def at(number: float, prompts: str, **strength: float) -> ResultRow:
        metrics = {"positivity": value(number, None, None), "perplexity": value(10 + number, None, None)}
        return row(strength, metrics, prompts=prompts)

    rows = [at(0.5, "neutral"), at(0.1, "negative"), at(0.7, "neutral", s=5.0), at(0.3, "negative", s=5.0)]
    figure = curve([*rows, at(0.9, "only plain")])
    assert [drawn_lines(axes)[0] for axes in figure.axes] == [
        [[0.0, 0.5], [5.0, 0.7]],
        [[0.0, 10.5], [5.0, 10.7]],
        [[0.0, 0.1], [5.0, 0.3]],
        [[0.0, 10.1], [5.0, 10.3]],
    ]
    assert [axes.get_title("left") for axes in figure.axes[::2]] == ["neutral", "negative"]


def test_calibrated_strengths_stand_on_the_line_of_the_given_ones() -> None:
    metrics = {"positivity": value(0.5, None, None)}
    steered = {"s": 5.0, "dummy": 1.0}, {"s": 3.25, "dummy": 1.0}
    rows = [row({}, metrics), row(steered[0], metrics), row(steered[1], metrics, budget="kl 0.3")]
    figure = curve(rows)
    assert drawn_lines(figure.axes[0]) == [[[0.0, 0.5], [3.25, 0.5], [5.0, 0.5]]]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["plain", "+3.25", "+5"]


def test_each_scorer_has_a_line_and_a_name(result: Result) -> None:
    rows = [
        r.model_copy(update={"metrics": {**r.metrics, "positivity@x": value(0.5, 0.4, 0.6, "x")}}) for r in result.rows
    ]
    figure = curve(rows)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["positivity, tfidf", "positivity, x"]
    assert drawn_lines(figure.axes[0])[1] == [[-5.0, 0.5], [0.0, 0.5], [5.0, 0.5]]


def test_rows_that_differ_in_another_strength_are_not_joined() -> None:
    def at(number: float, **strength: float) -> ResultRow:
        return row(strength, {"positivity": value(number, None, None)})

    rows = [at(0.5), at(0.6, a=1.0), at(0.7, a=2.0), at(0.3, b=5.0), at(0.4, a=2.0, b=5.0)]
    figure = curve(rows)
    assert swept_dimension(Result(protocol=PROTOCOL, rows=rows)) == "a"
    assert drawn_lines(figure.axes[0]) == [[[0.0, 0.5], [1.0, 0.6], [2.0, 0.7]], [[0.0, 0.3], [2.0, 0.4]]]
    assert drawn_intervals(figure.axes[0]) == []


def test_there_is_no_strength_curve_without_two_strengths_or_without_metrics(plain: ResultRow) -> None:
    bare = {"dist_1": value(0.5, 0.4, 0.6)}
    assert strength_curve(Result(protocol=PROTOCOL, rows=[plain])) is None
    assert strength_curve(Result(protocol=PROTOCOL, rows=[row({"s": 1.0}, plain.metrics)])) is None
    assert strength_curve(Result(protocol=PROTOCOL, rows=[row({}, bare), row({"s": 1.0}, bare)])) is None


def test_the_loss_curve_draws_the_numbers() -> None:
    train, dev = [[1, 5.5], [2, 5.25], [3, 5.0]], [[0, 5.5], [3, 5.125]]
    figure = loss_curve({"train": train, "dev": dev})
    assert drawn_lines(figure.axes[0]) == [train, dev]
    assert figure.axes[0].get_ylabel() == "loss (nats per token)"
    only_train = loss_curve({"train": train, "dev": []})
    assert drawn_lines(only_train.axes[0]) == [train]
    assert loss_curve({"train": [], "dev": []}) is None


def test_a_long_fit_has_a_running_mean_of_a_twentieth_of_its_steps() -> None:
    figure = loss_curve({"train": [[step, float(step % 2)] for step in range(1, 41)]})
    assert drawn_lines(figure.axes[0])[1] == [[step, 0.5] for step in range(2, 41)]


def test_the_same_figure_gives_the_same_png_without_notes_on_its_maker(result: Result) -> None:
    first, second = (to_png(figure) for figure in (curve(result.rows), curve(result.rows)))
    assert first == second
    kinds, file = [], io.BytesIO(first[8:])
    while head := file.read(8):
        length, kind = struct.unpack(">I4s", head)
        kinds.append(kind)
        file.seek(length + 4, io.SEEK_CUR)
    assert {b"IHDR", b"IDAT", b"IEND"} <= set(kinds)
    assert not {b"tEXt", b"iTXt", b"zTXt", b"tIME"} & set(kinds)


def test_names_with_mathematical_signs_are_drawn_as_they_are(plain: ResultRow) -> None:
    rows = [row({}, plain.metrics, model="$x"), row({"$\\bad{$": 1.0}, plain.metrics, model="$x")]
    figure = curve(rows, perplexity_model="$\\frac$")
    assert to_png(figure).startswith(b"\x89PNG")


def test_a_long_name_leaves_the_picture_its_room(plain: ResultRow) -> None:
    rows = [row({}, plain.metrics), row({"s" * 300: 1.0}, plain.metrics)]
    figure = curve(rows, perplexity_model="/folder" * 50 + "/name")
    to_png(figure)
    assert figure.axes[1].get_ylabel().endswith("/folder/name")
    assert all(axes.get_position().width > 0.3 and axes.get_position().height > 0.6 for axes in figure.axes)
