"""The result as a table: rows of strings, terminal text, Markdown."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping

from pydantic import JsonValue

from lmsteer.evaluation.metric_names import Metric
from lmsteer.evaluation.results import Result, ResultRow
from lmsteer.reporting.effect import effect_of

# Whose intervals give way first when a table is too wide for a terminal; the file and the report keep them all.
NARROWING = ("dist_3", "dist_2", "dist_1", "perplexity_corpus", "perplexity")
READING = (
    "Each value with its 95 % bootstrap interval over prompts, then its change from the plain model, "
    "in parentheses where the two intervals overlap or are missing."
)


def table(result: Result, *, without_interval: tuple[str, ...] = ()) -> list[list[str]]:
    """The headings, then one row per strength; the plain model first, the others in the order of the result.

    A cell is ``value [low, high]``, for attributes and perplexity followed by the change from the plain model: a
    difference or a ratio, in parentheses where the intervals overlap or are missing. Model, prompts and seed have a
    column only where they differ. Metrics named in ``without_interval`` show their value alone.
    """
    identity, metrics = _identity(result), result.metrics
    rows = [[*identity, "strength", *(metric.heading for metric in metrics)]]
    for row in _plain_first(result):
        cells = [_cell(result, row, metric, metric.base not in without_interval) for metric in metrics]
        rows.append([*(read(row) for read in identity.values()), row.label, *cells])
    return rows


def text_table(result: Result, *, width: int = 120) -> str:
    """Aligned plain text, within ``width`` columns if leaving out the lesser intervals makes that possible."""
    for count in range(len(NARROWING) + 1):
        lines = _align(table(result, without_interval=NARROWING[:count]))
        if max(map(len, lines)) <= width:
            break
    return "\n".join([*lines, *textwrap.wrap(legend(result), width)])


def markdown_table(result: Result) -> str:
    """A Markdown table with its legend below."""
    rows = [[" ".join(cell.split()).replace("|", r"\|") for cell in row] for row in table(result)]
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join([*("| " + " | ".join(row) + " |" for row in rows), "", legend(result)])


def legend(result: Result) -> str:
    """How much was measured by whom, as far as the protocol says, and how to read the cells."""
    parts = provenance(result.protocol)
    sentences = [f"{'; '.join(parts)}.", READING] if parts else [READING]
    return " ".join(" ".join(sentences).split())


def provenance(protocol: Mapping[str, JsonValue]) -> list[str]:
    """How much was measured by whom, in parts of a sentence."""
    parts = []
    if "n_prompts" in protocol and "samples" in protocol:
        parts.append(f"{protocol['n_prompts']} prompts × {protocol['samples']} samples")
    if isinstance(scorers := protocol.get("scorers"), dict) and scorers:
        parts.append(f"scored by {', '.join(scorers)}")
    if perplexity_model := protocol.get("perplexity_model"):
        itself = ", the unsteered model itself" if protocol.get("perplexity_model_is_unsteered") is True else ""
        parts.append(f"perplexity under {perplexity_model}{itself}")
    return parts


def _identity(result: Result) -> dict[str, Callable[[ResultRow], str]]:
    columns: dict[str, Callable[[ResultRow], str]] = {
        "model": lambda row: row.model,
        "prompts": lambda row: row.prompts,
        "seed": lambda row: "" if row.seed is None else str(row.seed),
    }
    return {name: read for name, read in columns.items() if len({read(row) for row in result.rows}) > 1}


def _plain_first(result: Result) -> list[ResultRow]:
    groups: dict[tuple[str, str, int | None], list[ResultRow]] = {}
    for row in result.rows:
        groups.setdefault((row.model, row.prompts, row.seed), []).append(row)
    return [row for group in groups.values() for row in sorted(group, key=lambda row: not row.is_plain)]


def _cell(result: Result, row: ResultRow, metric: Metric, with_interval: bool) -> str:
    measured = row.metrics.get(metric.name)
    if measured is None:
        return "–"
    cell = metric.format(measured.value)
    if with_interval and measured.low is not None and measured.high is not None:
        cell += f" [{metric.format(measured.low)}, {metric.format(measured.high)}]"
    effect = effect_of(result, row, metric)
    if effect is None or not (metric.is_attribute or metric.base == "perplexity"):
        return cell
    return f"{cell} {effect.change}" if effect.is_apart else f"{cell} ({effect.change})"


def _align(rows: list[list[str]]) -> list[str]:
    """Pad columns to the widest cell of the body; headings are broken between words."""
    heading, *body = rows
    heading = [re.sub(r" (?=[↑↓])", "\N{NO-BREAK SPACE}", title) for title in heading]
    columns = list(zip(*body, strict=True))
    widths = [max(map(len, (*column, *title.split(" ")))) for title, column in zip(heading, columns, strict=True)]
    titles = [textwrap.wrap(title, width) for title, width in zip(heading, widths, strict=True)]
    lines = [[title[i] if i < len(title) else "" for title in titles] for i in range(max(map(len, titles)))]
    lines += [["-" * width for width in widths], *body]
    return ["  ".join(map(str.ljust, line, widths)).rstrip().replace("\N{NO-BREAK SPACE}", " ") for line in lines]
