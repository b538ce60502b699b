"""The table of one result: a row for each strength, with changes from the plain model."""

import textwrap
from collections.abc import Mapping

from pydantic import JsonValue

from lmsteer.evaluation.metric_names import METRICS, Metric
from lmsteer.evaluation.results import Result, ResultRow
from lmsteer.reporting.effects import effect_of, is_effect_metric
from lmsteer.reporting.text import MISSING, metric_interval, metric_number, terminal_table

INTERVALS_DROPPED_FIRST = tuple(name for name in reversed(METRICS) if not Metric(name).is_attribute)
"""Metrics whose intervals are left out of a table that is too wide for a terminal, in this order."""
LEGEND = (
    "Each value with its 95 % bootstrap interval over prompts, then its change from the plain model, "
    "in parentheses where the two intervals overlap or are missing."
)


def result_table(result: Result, *, without_interval: tuple[str, ...] = ()) -> list[list[str]]:
    """Lay out the headings, then a row for each strength: the plain model first, then the order of the result.

    A cell is ``value [low, high]``, for attributes and perplexity followed by the change from the plain model: a
    difference or a ratio, in parentheses where the intervals overlap or are missing. Model, prompts and seed have a
    column only where they differ. Metrics named in ``without_interval`` have their value alone.
    """
    identity = [name for name in ("model", "prompts", "seed") if len({getattr(row, name) for row in result.rows}) > 1]
    rows = [[*identity, "strength", *(metric.heading for metric in result.metrics)]]
    for row in _plain_first(result):
        names = ["" if (value := getattr(row, name)) is None else str(value) for name in identity]
        cells = [_cell(result, row, metric, metric.base not in without_interval) for metric in result.metrics]
        rows.append([*names, row.label, *cells])
    return rows


def result_text(result: Result, *, width: int = 120) -> str:
    """Write the table for a terminal, within ``width`` columns if leaving out the lesser intervals allows it."""
    for count in range(len(INTERVALS_DROPPED_FIRST) + 1):
        headings, *rows = result_table(result, without_interval=INTERVALS_DROPPED_FIRST[:count])
        table = terminal_table(headings, rows)
        if max(map(len, table.split("\n"))) <= width:
            break
    return "\n".join([table, *textwrap.wrap(table_legend(result), width)])


def table_legend(result: Result) -> str:
    """Report the size of the measurement and its scorers, as far as the protocol records them; explain the cells."""
    clauses = provenance_clauses(result.protocol)
    sentences = [f"{'; '.join(clauses)}.", LEGEND] if clauses else [LEGEND]
    return " ".join(" ".join(sentences).split())


def provenance_clauses(protocol: Mapping[str, JsonValue]) -> list[str]:
    """Report the size of the measurement and its scorers in clauses of a sentence."""
    clauses = []
    if "n_prompts" in protocol and "samples" in protocol:
        clauses.append(f"{protocol['n_prompts']} prompts × {protocol['samples']} samples")
    if isinstance(scorers := protocol.get("scorers"), dict) and scorers:
        clauses.append(f"scored by {', '.join(scorers)}")
    if perplexity_model := protocol.get("perplexity_model"):
        itself = ", the unsteered model itself" if protocol.get("perplexity_model_is_unsteered") is True else ""
        clauses.append(f"perplexity under {perplexity_model}{itself}")
    return clauses


def _plain_first(result: Result) -> list[ResultRow]:
    groups: dict[tuple[str, str, int | None], list[ResultRow]] = {}
    for row in result.rows:
        groups.setdefault((row.model, row.prompts, row.seed), []).append(row)
    return [row for group in groups.values() for row in sorted(group, key=lambda row: not row.is_plain)]


def _cell(result: Result, row: ResultRow, metric: Metric, with_interval: bool) -> str:
    measured = row.metrics.get(metric.name)
    if measured is None:
        return MISSING
    cell = metric_interval(metric, measured) if with_interval else metric_number(metric, measured.value)
    effect = effect_of(result, row, metric)
    if effect is None or not is_effect_metric(metric):
        return cell
    return f"{cell} {effect.change}" if effect.is_disjoint else f"{cell} ({effect.change})"
