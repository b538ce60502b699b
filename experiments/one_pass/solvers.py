"""Compare solvers at equal cost: python -m experiments.one_pass.solvers RUN… [PICTURE.png].

The command prints a table for each task (a prompt set, steered in one direction) and a ranking of the solvers.
"""

from collections.abc import Mapping
from dataclasses import asdict

import pandas as pd
from matplotlib.figure import Figure
from pydantic import JsonValue

from experiments.study import format_measurement, read_setting, tabulate
from lmsteer.errors import InputError
from lmsteer.evaluation.metric_names import Metric
from lmsteer.metrics.paired_test import paired_change
from lmsteer.reporting.comparison import Comparison, ComparisonRow
from lmsteer.reporting.plots import Panel, metric_vs
from lmsteer.reporting.text import interval, markdown_table, number

PERPLEXITY = Metric("perplexity")


def recipe(settings: Mapping[str, JsonValue]) -> str:
    """Name the recipe of a steer by its solver and options, regardless of the number of texts."""
    if settings.get("solver") != "one_pass":
        return f"paper, {settings.get('steps')} steps"
    form, context_damping = settings.get("form", "matrix"), settings.get("context_damping")
    rank = "full rank" if settings.get("rank") == "full" else "rank by the null"
    matrix = {"matrix": rank, "add": "constant alone", "both": f"{rank} and constant"}[str(form)]
    of_contexts = "" if form == "add" or context_damping is None else f"/{context_damping:g}"
    return f"one pass, {matrix}, damping {settings.get('damping'):g}{of_contexts}"


def calibrated_rows(comparison: Comparison) -> pd.DataFrame:
    """List the rows at a budget, with the columns task, direction, budget, texts, recipe, solver and row.

    ``solver`` is the recipe, with its number of texts where that differs between rows. The rows are sorted by task,
    budget (divergences first, both rising) and number of texts; of as many texts, the paper's solver is first.

    Raises:
        InputError: If two rows of a task and budget have one solver, or a steer file does not record its
            number of texts.
    """
    records = [
        {
            "task": f"{row.prompts}, {'+' if _direction(row) > 0 else '-'}",
            "direction": _direction(row),
            "budget": row.budget,
            "texts": int(str(read_setting(row, "train_rows"))),
            "recipe": recipe(row.settings),
            "row": row,
        }
        for row in comparison.rows
        if row.budget
    ]
    if not records:
        raise InputError("no row at a budget; runs with protocol.kl or protocol.perplexity expected")
    frame = pd.DataFrame(records)
    several = frame["texts"].nunique() > 1
    frame["solver"] = [f"{r.recipe}, {r.texts} texts" if several else r.recipe for r in frame.itertuples()]
    repeated = frame[frame.duplicated(["task", "budget", "solver"])]
    for record in repeated.itertuples():
        raise InputError(f"{record.task}, {record.budget}: two rows are of {record.solver}; one expected")
    tasks = list(frame["task"].unique())
    frame["order"] = [
        (tasks.index(r.task), r.budget[0], _amount(r.budget), r.texts, r.recipe[0] != "p", len(r.solver), r.solver)
        for r in frame.itertuples()
    ]
    return frame.sort_values("order").drop(columns="order")


def _direction(row: ComparisonRow) -> int:
    return 1 if next(iter(row.strength.values())) > 0 else -1


def _amount(budget: str) -> float:
    return float(budget.split()[-1].lstrip("×"))


def first_attribute(comparison: Comparison) -> list[Metric]:
    """List the first attribute by every scorer."""
    attributes = [metric for metric in comparison.metrics if metric.is_attribute]
    return [metric for metric in attributes if metric.base == attributes[0].base]


def _scored_by(metric: Metric) -> str:
    return f" ({metric.scorer})" if metric.scorer else ""


def task_table(comparison: Comparison, rows: pd.DataFrame) -> str:
    """Write the rows of one task: attribute by every scorer, with its change from the first solver, and costs.

    Changes are paired by prompt, from the first row at the same budget from as many texts.
    """
    attributes = first_attribute(comparison)
    metrics = [*attributes, PERPLEXITY, Metric("dist_1")]
    prompts = rows.iloc[0]["row"].prompts
    plain = next(row for row in comparison.rows if row.is_plain and row.prompts == prompts)
    lines = [["", "plain", "", *(format_measurement(metric, plain.metrics[metric.name]) for metric in metrics)]]
    for _, group in rows.groupby(["budget", "texts"], sort=False):
        first: ComparisonRow = group.iloc[0]["row"]
        for record in group.itertuples():
            cells = [format_measurement(metric, record.row.metrics[metric.name]) for metric in metrics]
            if record.row is not first:
                changes = [_format_change(first, record.row, metric) for metric in attributes]
                cells[: len(attributes)] = [" ".join(pair) for pair in zip(cells, changes, strict=False)]
            lines.append([record.budget, record.solver, str(len(record.row.seeds)), *cells])
    return markdown_table(["at", "solver", "seeds", *(metric.heading for metric in metrics)], lines)


def _format_change(before: ComparisonRow, after: ComparisonRow, metric: Metric) -> str:
    change = paired_change(before.metrics[metric.name].sample, after.metrics[metric.name].sample, metric.statistic)
    limits = {"value": change.change, "low": change.low, "high": change.high}
    return f"({interval(limits, 3, signed=True)} p {number(change.p, 3)})"


def aimed_share(metric: Metric, value: float, direction: int) -> float:
    """Convert a share to the share that comes out as aimed at: 1 is best in either direction."""
    return 1 - value if (direction < 0) is (metric.facts.higher_is_better is not False) else value


def rank_solvers(comparison: Comparison) -> pd.DataFrame:
    """Rank the solvers by the mean of their aimed shares, the best first.

    Returns:
        A line for each solver: ``mean``, then its share at each budget and task by each scorer.

    Raises:
        InputError: If a solver was not measured where another one was.
    """
    records = [
        {
            "solver": record.solver,
            "column": f"{record.budget}, {record.task}{_scored_by(metric)}",
            "share": aimed_share(metric, record.row.metrics[metric.name].interval.value, record.direction),
        }
        for record in calibrated_rows(comparison).itertuples()
        for metric in first_attribute(comparison)
    ]
    columns = dict.fromkeys(record["column"] for record in records)
    shares = pd.DataFrame(records).pivot(index="solver", columns="column", values="share")[list(columns)]
    for column, missing in shares.isna().items():
        for solver in shares.index[missing]:
            raise InputError(f"{column}: {solver} was not measured there")
    shares.insert(0, "mean", shares.mean(axis=1))
    return shares.sort_values("mean", ascending=False)


def solver_tables(comparison: Comparison) -> str:
    """Write a table for each task, and the ranking of the solvers where all were measured everywhere."""
    sections = [
        f"`{task}`:\n\n{task_table(comparison, rows)}"
        for task, rows in calibrated_rows(comparison).groupby("task", sort=False)
    ]
    try:
        ranking = rank_solvers(comparison)
        lines = [[str(solver), *(number(share, 3) for share in shares)] for solver, shares in ranking.iterrows()]
        sections.append("Share that comes out as aimed at:\n\n" + markdown_table(["solver", *ranking.columns], lines))
    except InputError as error:
        sections.append(f"No ranking of the solvers: {error}")
    return "\n\n".join(sections)


def solver_figure(comparison: Comparison) -> Figure:
    """Draw the attribute by every scorer, a line of panels for each task.

    The x axis is the number of texts where it differs between rows, otherwise divergence and perplexity.
    """
    frame, metrics = calibrated_rows(comparison), first_attribute(comparison)
    by_texts = frame["texts"].nunique() > 1
    points = pd.DataFrame(
        {
            "title": f"{record.task}{f', {record.budget}' if by_texts else ''}{_scored_by(metric)}",
            "label": label,
            "group": record.recipe if by_texts else record.solver,
            "x": x,
            **asdict(record.row.metrics[metric.name].interval),
        }
        for record in frame.itertuples()
        for metric in metrics
        for label, x in ([("texts", record.texts)] if by_texts else _costs(record.row))
    )
    points["panel"] = points["title"] + ": " + points["label"]
    labels = points["label"].unique()
    ticks = {float(count): f"{count:,}" for count in sorted(frame["texts"].unique())} if by_texts else None
    panels = {
        f"{title}: {label}": Panel(title=title, x_label=label, y_label=metrics[0].words, log_x=by_texts, x_ticks=ticks)
        for title in points["title"].unique()
        for label in labels
    }
    return metric_vs(points, panels, columns=len(metrics) * len(labels), size=(4.3 if by_texts else 3.4, 2.6))


def _costs(row: ComparisonRow) -> list[tuple[str, float]]:
    """List the costs of a row by their names: its divergence where it was calibrated to one, and its perplexity."""
    divergence = [("nats per token from the plain model", _amount(row.budget))] if row.budget.startswith("kl") else []
    return [*divergence, ("perplexity", row.metrics[PERPLEXITY.name].interval.value)]


if __name__ == "__main__":
    tabulate("experiments.one_pass.solvers", solver_tables, solver_figure)
