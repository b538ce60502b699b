"""Tables of a comparison as Markdown and LaTeX, and its numbers in full as CSV."""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from lmsteer.evaluation.metric_names import Metric
from lmsteer.evaluation.results import strength_label
from lmsteer.reporting.comparison import Comparison
from lmsteer.reporting.comparison_rows import Block
from lmsteer.reporting.text import escape_latex, escape_markdown, latex_table, markdown_table

COLUMNS = (
    *("prompts", "model", "method", "settings", "budget", "strength", "seeds", "metric", "scorer", "n"),
    *("value", "low", "high", "sd", "change", "change_low", "change_high", "p", "against", "protocol"),
)


def markdown(blocks: Sequence[Block]) -> str:
    """Write every table under its title, with its notes."""
    paragraphs = []
    for block in blocks:
        table = markdown_table(block.headings, block.rows)
        paragraphs += [f"### {escape_markdown(block.title)}", table, *map(escape_markdown, block.notes)]
    return "\n\n".join(paragraphs)


def latex(blocks: Sequence[Block]) -> str:
    """Write every table as a tabular, its title above and its notes below; no package is needed."""
    paragraphs = []
    for block in blocks:
        title = rf"\paragraph{{{escape_latex(block.title)}}}"
        paragraphs += [title, latex_table(block.headings, block.rows), *map(escape_latex, block.notes)]
    return "\n\n".join(paragraphs)


def long_csv(comparison: Comparison) -> str:
    """Write the numbers in full: a line for each row and metric; no text is a formula of a spreadsheet."""
    lines = [
        _csv_line(comparison, index, metric)
        for index, row in enumerate(comparison.rows)
        for metric in sorted(map(Metric, row.metrics), key=lambda metric: metric.rank)
    ]
    lines = [{name: _plain_cell(cell) for name, cell in line.items()} for line in lines]
    frame = pd.DataFrame(lines, columns=list(COLUMNS), dtype=object)
    return str(frame.to_csv(index=False, lineterminator="\n"))


def _plain_cell(cell: object) -> object:
    """Put an apostrophe before a text that a spreadsheet would take for a formula; numbers are none."""
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def _csv_line(comparison: Comparison, index: int, metric: Metric) -> dict[str, Any]:
    row, change = comparison.rows[index], comparison.changes.get((index, metric.name))
    measurement = row.metrics[metric.name]
    line = {
        "prompts": row.prompts,
        "model": row.model,
        "method": row.method,
        "settings": json.dumps(row.settings, sort_keys=True) if row.settings else "",
        "budget": row.budget,
        "strength": row.strength_label,
        "seeds": " ".join(str(seed) for seed in row.seeds if seed is not None),
        "metric": metric.name,
        "scorer": measurement.scorer,
        "n": measurement.interval.n,
        "value": measurement.interval.value,
        "low": measurement.interval.low,
        "high": measurement.interval.high,
        "sd": measurement.sd,
        "protocol": comparison.protocol.get("digest"),
    }
    if change is None:
        return line
    reference = comparison.rows[comparison.references[index]]
    against = " ".join([reference.method, strength_label(reference.strength)]).strip()
    limits = {"change_low": change.low, "change_high": change.high}
    return line | {"change": change.change, **limits, "p": change.p, "against": against}
