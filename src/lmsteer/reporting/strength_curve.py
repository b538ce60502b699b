"""Metrics over the strength of a steer: the lines, their picture and their description in words."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lmsteer.evaluation.metric_names import Metric
from lmsteer.evaluation.results import Result, ResultRow, Value, strength_label
from lmsteer.reporting.effects import is_effect_metric, plain_row
from lmsteer.reporting.plots import Panel, metric_vs, needs_log, short
from lmsteer.reporting.text import metric_number
from lmsteer.steering.dimensions import DUMMY


@dataclass(frozen=True)
class Line:
    """One metric over the strength of one dimension, all else being equal.

    Attributes:
        label: Metric, scorer and the fields that differ between lines; empty for a single line of perplexity.
        values: By strength, rising.
    """

    metric: Metric
    label: str
    values: dict[float, Value]


def strength_curve(result: Result) -> Figure | None:
    """Draw attributes (left) and perplexity (right) over the strength; the plain model is at strength 0.

    Each prompt set has a row of panels. None where there is nothing to draw: no two strengths, or neither attribute
    nor perplexity.
    """
    prompt_sets = dict.fromkeys(row.prompts for row in result.rows)
    subsets = [
        result.model_copy(update={"rows": [r for r in result.rows if r.prompts == name]}) for name in prompt_sets
    ]
    lines_of_subsets = [(subset, lines) for subset in subsets if (lines := strength_lines(subset))]
    kinds = sorted({line.metric.is_attribute for _, lines in lines_of_subsets for line in lines}, reverse=True)
    if not kinds:
        return None
    panels, points = {}, []
    for subset, lines in lines_of_subsets:
        for kind in kinds:
            name = f"{kind} {subset.rows[0].prompts}"
            in_panel = [line for line in lines if line.metric.is_attribute is kind]
            title = short(subset.rows[0].prompts, 40) if len(lines_of_subsets) > 1 and kind is kinds[0] else ""
            panels[name] = _panel(subset, in_panel, title)
            points += [
                {"panel": name, "group": line.label, "x": x, "value": v.value, "low": v.low, "high": v.high}
                for line in in_panel
                for x, v in line.values.items()
            ]
    frame = pd.DataFrame(points).astype({"low": float, "high": float})
    return metric_vs(frame, panels, columns=len(kinds), size=(4.0 if len(kinds) > 1 else 4.8, 3.3))


def describe_strength_curve(result: Result) -> str:
    """Write the values of the picture in words."""
    sentences = []
    for line in strength_lines(result):
        values = (
            f"{metric_number(line.metric, value.value)} at {f'{x:+g}' if x else '0'}"
            for x, value in line.values.items()
        )
        sentences.append(f"{line.label or line.metric.words}: {', '.join(values)}.")
    return " ".join(["Curves by strength, the plain model at 0.", *sentences])


def swept_dimension(result: Result) -> str | None:
    """Find the dimension with the most values, the first by name if several have; None where no strength differs."""
    names = sorted({name for row in result.rows for name in row.strength}, key=lambda name: (name == DUMMY, name))
    values = {name: {row.strength.get(name, 0.0) for row in result.rows} for name in names}
    best = max(names, key=lambda name: len(values[name]), default="")
    return best if len(values.get(best, ())) > 1 else None


def strength_lines(result: Result) -> list[Line]:
    """List attributes and perplexity over the swept dimension; rows that differ in anything else are other lines.

    The plain model is at 0 of each line in which no other dimension but the dummy is on.
    """
    dimension = swept_dimension(result)
    if dimension is None:
        return []
    groups: dict[tuple[object, ...], list[ResultRow]] = {}
    for row in result.rows:
        if row.strength:
            others = tuple(sorted((name, value) for name, value in row.strength.items() if name != dimension))
            groups.setdefault((row.model, row.prompts, row.seed, others), []).append(row)
    return [
        Line(metric, _label(result, rows[0], metric, dimension, has_others=len(groups) > 1), values)
        for metric in result.metrics
        if is_effect_metric(metric)
        for rows in groups.values()
        if (values := _values(result, rows, metric, dimension))
    ]


def _values(result: Result, rows: Sequence[ResultRow], metric: Metric, dimension: str) -> dict[float, Value]:
    values = {row.strength.get(dimension, 0.0): row.metrics[metric.name] for row in rows if metric.name in row.metrics}
    plain = plain_row(result, rows[0])
    is_alone = not set(rows[0].strength) - {dimension, DUMMY}
    if values and is_alone and plain is not None and metric.name in plain.metrics:
        values.setdefault(0.0, plain.metrics[metric.name])
    return dict(sorted(values.items()))


def _label(result: Result, row: ResultRow, metric: Metric, dimension: str, *, has_others: bool) -> str:
    """Join metric, scorer and the fields that differ between groups of rows."""
    scorer = row.metrics[metric.name].scorer if metric.name in row.metrics else None
    names = [metric.words, scorer or metric.scorer] if metric.is_attribute else []
    if has_others:
        columns = zip(*(_fields(other, dimension) for other in result.rows if other.strength), strict=True)
        names += [name for name, column in zip(_fields(row, dimension), columns, strict=True) if len(set(column)) > 1]
    return ", ".join(name for name in names if name)


def _fields(row: ResultRow, dimension: str) -> tuple[str, ...]:
    """List the fields by which a line may differ from another one."""
    others = {name: value for name, value in row.strength.items() if name != dimension}
    return (row.model, row.prompts, f"seed {row.seed}", strength_label(others))


def _panel(result: Result, lines: Sequence[Line], title: str) -> Panel:
    """Set the axes of lines of one kind: attributes from 0 to 1, or perplexity."""
    ticks = sorted({x for line in lines for x in line.values})
    gaps = [b - a for a, b in itertools.pairwise(ticks)]
    has_room = gaps and min(gaps) >= (ticks[-1] - ticks[0]) / 12
    x_axis: dict[str, Any] = {
        "title": title,
        "x_label": f"strength of {short(swept_dimension(result) or '', 30)}",
        "x_ticks": {tick: f"{tick:+.4g}" if tick else "plain" for tick in ticks} if has_room else None,
    }
    if lines and not lines[0].metric.is_attribute:
        model = result.protocol.get("perplexity_model")
        label = f"perplexity under {short(str(model), 30)}" if model else "perplexity"
        values = [value.value for line in lines for value in line.values.values()]
        return Panel(**x_axis, y_label=label, log_y=needs_log(values))
    words = {line.metric.words for line in lines}
    label = f"{short(words.pop(), 30)} (0 to 1)" if len(words) == 1 else "score or share (0 to 1)"
    return Panel(**x_axis, y_label=label, y_limits=(0, 1))
