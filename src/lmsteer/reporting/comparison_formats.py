"""Tables of strings as Markdown, LaTeX and a page of HTML; the numbers behind them as CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence

from matplotlib.figure import Figure

from lmsteer.evaluation.metric_names import Metric
from lmsteer.evaluation.results import strength_label
from lmsteer.reporting.comparison import Comparison
from lmsteer.reporting.comparison_tables import Block
from lmsteer.reporting.run_report import inlined, rendered

LATEX = {
    **{sign: rf"\{sign}" for sign in "#$%&_{}"},
    **{"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "[": "{[}", "]": "{]}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}"},
    **{
        "×": r"$\times$",
        "±": r"$\pm$",
        "≤": r"$\leq$",
        "→": r"$\rightarrow$",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
    },
    **{"†": r"\dag{}", "–": "--", "…": r"\ldots{}"},
}
PICTURE = (
    "Attribute against perplexity with 95 % intervals over prompts. A line joins the strengths of one kind of row, by "
    "rising strength, with the plain model."
)
COLUMNS = (
    *("prompts", "model", "method", "settings", "budget", "strength", "seeds", "metric", "scorer", "n"),
    *("value", "low", "high", "sd", "change", "change_low", "change_high", "p", "against", "protocol"),
)


def markdown(blocks: Sequence[Block]) -> str:
    """Every table under its title, with its notes; columns are aligned, so that it reads as plain text too."""
    parts = []
    for block in blocks:
        body = []
        for section in block.sections:
            if section.heading:
                body.append([f"**{_plain(section.heading)}**", *[""] * (len(block.headings) - 1)])
            body += [[_plain(cell) for cell in row] for row in section.rows]
        heading = [_plain(cell) for cell in block.headings]
        widths = [max(3, *map(len, column)) for column in zip(heading, *body, strict=True)]
        rows = [heading, ["-" * width for width in widths], *body]
        lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
        parts += [f"### {_plain(block.title)}", "\n".join(lines), *map(_plain, block.notes)]
    return "\n\n".join(parts)


def latex(blocks: Sequence[Block]) -> str:
    """Every table as a tabular, its title above and its notes below; no package is needed."""
    parts = []
    for block in blocks:
        lines = [rf"\begin{{tabular}}{{{'l' * len(block.headings)}}}", r"\hline", _latex_row(block.headings), r"\hline"]
        for section in block.sections:
            if section.heading:
                title = rf"\multicolumn{{{len(block.headings)}}}{{l}}{{\textit{{{_latex(section.heading)}}}}} \\"
                lines += [title] if lines[-1] == r"\hline" else [r"\hline", title]
            lines += map(_latex_row, section.rows)
        lines += [r"\hline", r"\end{tabular}"]
        parts += [rf"\paragraph{{{_latex(block.title)}}}", "\n".join(lines), *map(_latex, block.notes)]
    return "\n\n".join(parts)


def html(blocks: Sequence[Block], *, title: str, picture: Figure | None) -> str:
    """One page that needs nothing from elsewhere."""
    source = inlined(picture) if picture else ""
    return rendered("tables.html", blocks=blocks, title=title, picture=source, words=PICTURE)


def long_csv(comparison: Comparison) -> str:
    """The numbers in full: a line for each row and metric."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for place, row in enumerate(comparison.rows):
        for name, measured in sorted(row.metrics.items(), key=lambda item: Metric(item[0]).rank):
            interval, change = measured.interval, comparison.changes.get((place, name))
            before = comparison.rows[comparison.references[place]] if change else None
            cells = {
                "prompts": row.prompts,
                "model": row.model,
                "method": row.method,
                "settings": json.dumps(row.settings, sort_keys=True) if row.settings else "",
                "budget": row.budget,
                "strength": row.strength_label,
                "seeds": " ".join(str(seed) for seed in row.seeds if seed is not None),
                "metric": name,
                "scorer": measured.scorer,
                "n": interval.n,
                "value": interval.value,
                "low": interval.low,
                "high": interval.high,
                "sd": measured.sd,
                "protocol": comparison.protocol.get("digest"),
            }
            if change and before:
                cells |= {"change": change.change, "change_low": change.low, "change_high": change.high, "p": change.p}
                cells["against"] = " ".join([before.method, strength_label(before.strength)]).strip()
            writer.writerow(cells)
    return file.getvalue()


def _plain(text: str) -> str:
    """A cell of Markdown: one line, and nothing that a reader of Markdown or HTML would take for its own."""
    return re.sub(r"[\\|`*<]|(?<=\])\(", r"\\\g<0>", " ".join(text.split()))


def _latex(text: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in " ".join(text.split()))


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(_latex, cells)) + r" \\"
