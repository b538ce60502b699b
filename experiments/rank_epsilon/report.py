"""Effect against rank, for each epsilon: python -m experiments.rank_epsilon.report RUN… [PICTURE.png]."""

import math
from dataclasses import asdict

import pandas as pd
from matplotlib.figure import Figure

from experiments.study import format_measurement, read_setting, tabulate
from lmsteer.evaluation.metric_names import Metric
from lmsteer.reporting.comparison import Comparison
from lmsteer.reporting.plots import Panel, metric_vs
from lmsteer.reporting.text import markdown_table

FULL = "full"


def settings_frame(comparison: Comparison) -> pd.DataFrame:
    """List the steered rows: rank, epsilon, budget (or the fixed strength), row.

    Rows at a budget come first; then by epsilon and rank, a full matrix after every rank.

    Raises:
        InputError: If a steer file does not record its rank and epsilon.
    """
    records = [
        {
            "budget": row.budget or row.strength_label,
            "epsilon": float(str(read_setting(row, "epsilon"))),
            "rank": str(read_setting(row, "rank")),
            "row": row,
        }
        for row in comparison.rows
        if not row.is_plain
    ]
    records.sort(key=lambda r: (not r["row"].budget, r["budget"], r["epsilon"], _rank_order(r["rank"])))  # type: ignore[attr-defined,arg-type]
    return pd.DataFrame(records)


def _rank_order(rank: str) -> float:
    return math.inf if rank == FULL else int(rank)


def _metrics(comparison: Comparison) -> list[Metric]:
    return [metric for metric in comparison.metrics if metric.is_attribute or metric.base == "perplexity"]


def rank_table(comparison: Comparison) -> str:
    """Write a row for the plain model and for each budget or strength, epsilon and rank."""
    labeled = [(["plain", "", "", ""], row) for row in comparison.rows if row.is_plain]
    for record in settings_frame(comparison).itertuples():
        strength = record.row.strength_label if record.row.budget else ""
        labeled.append(([record.budget, f"{record.epsilon:g}", record.rank, strength], record.row))
    metrics = _metrics(comparison)
    cells = [[*labels, *(format_measurement(m, row.metrics[m.name]) for m in metrics)] for labels, row in labeled]
    return markdown_table(["at", "ε", "rank", "strength", *(metric.heading for metric in metrics)], cells)


def rank_figure(comparison: Comparison) -> Figure:
    """Draw the first attribute and the perplexity over the ranks: a line for each epsilon, a column for each budget."""
    frame = settings_frame(comparison)
    budgets, ranks = list(frame["budget"].unique()), sorted(frame["rank"].unique(), key=_rank_order)
    metrics = [_metrics(comparison)[0], Metric("perplexity")]
    points = pd.DataFrame(
        {
            "panel": f"{metric.name}, {record.budget}",
            "group": f"ε = {record.epsilon:g}",
            "x": ranks.index(record.rank),
            **asdict(record.row.metrics[metric.name].interval),
        }
        for record in frame.sort_values("epsilon", kind="stable").itertuples()
        for metric in metrics
    )
    references = pd.DataFrame(
        {"panel": f"{metric.name}, {budget}", "value": row.metrics[metric.name].interval.value}
        for metric in metrics
        for budget in budgets
        for row in comparison.rows
        if row.is_plain
    )
    panels = {
        f"{metric.name}, {budget}": Panel(
            title=f"at {budget}",
            x_label="rank (dotted: plain model)",
            y_label=metric.words,
            x_ticks={float(index): rank for index, rank in enumerate(ranks)},
            y_limits=(0, 1.03) if metric.is_fraction else None,
        )
        for metric in metrics
        for budget in budgets
    }
    return metric_vs(points, panels, columns=len(budgets), references=references)


if __name__ == "__main__":
    tabulate("experiments.rank_epsilon.report", rank_table, rank_figure)
