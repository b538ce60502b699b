"""Effect against the number of training examples: python -m experiments.data_efficiency.report RUN… [PICTURE.png]."""

from dataclasses import asdict

import pandas as pd
from matplotlib.figure import Figure

from experiments.study import format_measurement, read_setting, tabulate
from lmsteer.evaluation.metric_names import Metric
from lmsteer.reporting.comparison import Comparison, ComparisonRow
from lmsteer.reporting.plots import Panel, metric_vs
from lmsteer.reporting.published import published
from lmsteer.reporting.text import markdown_table


def sort_by_examples(comparison: Comparison) -> list[tuple[int, ComparisonRow]]:
    """Pair each steered row with its number of training examples, the fewest first.

    Raises:
        InputError: If a steer file does not record the number.
    """
    rows = [(int(str(read_setting(row, "train_rows"))), row) for row in comparison.rows if not row.is_plain]
    return sorted(rows, key=lambda pair: pair[0])


def examples_table(comparison: Comparison) -> str:
    """Write a row for the plain model and for each number of examples; published figures follow apart."""
    metrics = [metric for metric in comparison.metrics if metric.is_attribute or metric.base == "perplexity"]
    rows = [("plain", row) for row in comparison.rows if row.is_plain]
    rows += [(f"{count:,}", row) for count, row in sort_by_examples(comparison)]
    cells = [[name, *(format_measurement(m, row.metrics[m.name]) for m in metrics)] for name, row in rows]
    paragraphs = [markdown_table(["examples", *(metric.heading for metric in metrics)], cells)]
    for entry in published().entries:
        if entry.table == "data-efficiency":
            figures = ", ".join(f"{Metric(name).words} {m.value} ({m.scorer})" for name, m in entry.metrics.items())
            paragraphs.append(f"Published, not comparable: {entry.method}, {entry.model}: {figures}")
    return "\n\n".join(paragraphs)


def examples_figure(comparison: Comparison) -> Figure:
    """Draw each attribute against the number of examples, with intervals; the plain model is a dotted line."""
    metrics = [metric for metric in comparison.metrics if metric.is_attribute]
    pairs = sort_by_examples(comparison)
    points = pd.DataFrame(
        {"panel": metric.name, "group": "steered", "x": count, **asdict(row.metrics[metric.name].interval)}
        for metric in metrics
        for count, row in pairs
    )
    references = pd.DataFrame(
        {"panel": metric.name, "value": row.metrics[metric.name].interval.value}
        for metric in metrics
        for row in comparison.rows
        if row.is_plain
    )
    ticks = {float(count): f"{count:,}" for count, _ in pairs}
    label = "training examples (dotted: plain model)"
    panels = {
        m.name: Panel(title=m.heading, x_label=label, x_ticks=ticks, y_limits=(0, 1), log_x=True) for m in metrics
    }
    return metric_vs(points, panels, references=references)


if __name__ == "__main__":
    tabulate("experiments.data_efficiency.report", examples_table, examples_figure)
