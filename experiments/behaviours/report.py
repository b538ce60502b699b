"""Tables and picture of the study of behaviours."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from experiments.behaviours.rules import RULES
from experiments.study import Results
from lmsteer.reporting.plots import Panel, metric_vs
from lmsteer.reporting.text import MISSING, interval, markdown_table, number, percent

PUBLISHED = {"pairs": (0.181, 0.134), "triples": (0.022, 0.021)}
"""LM-Steer's accuracy on seen and unseen combinations in arXiv 2601.05062: Qwen3-8B, factors added, one strength."""
BEYOND, LEFT_OUT = "†", "‡"
SINGLES_NOTE = (
    "Share of answers to test questions that have the behaviour; their intervals are in behaviours.json. In bold: the "
    "strength with the best accuracy on dev questions. `*`: held out in the paper. "
    f"`{BEYOND}`: the model does not do it when asked, as fewer than 20 % of the instructed answers have it. "
    f"`{LEFT_OUT}`: left out, as fewer than 20 % of its answers could be kept to learn from."
)
RULES_NOTE = (
    "Share of answers that have all behaviours, with 95 % intervals over questions. Rules with an instruction: mean "
    "over the orders of the sentences, the best order of each combination, and the largest difference between its "
    "orders (mean and maximum over combinations); blank where there is no order."
)
DIFFERENCE_NOTE = (
    "Accuracy of the rule less that of Σ v W, on the same combinations and questions, with 95 % intervals over "
    "questions and the p-value of a permutation test over questions, not corrected for their number."
)
QUALITY_NOTE = (
    "Accurate answers only: nats per token under the plain model given question and instructions, and the share of "
    "4-grams of words that repeat an earlier one."
)
PUBLISHED_NOTE = (
    "Not to be compared as numbers: Qwen3-8B, 1,000 questions, at most 256 tokens, verifiers that are not published, "
    "and one strength, which was not chosen on single behaviours."
)


def behaviour_tables(results: Results) -> str:
    """Write all tables as Markdown."""
    sections = ["## Single behaviours"]
    for category in dict.fromkeys(row["category"] for row in results["singles"]):
        rows = [row for row in results["singles"] if row["category"] == category]
        sections += [f"### {category}", singles_table(rows, results["grid"])]
    sections += [SINGLES_NOTE, "## Combinations", rules_table(results), RULES_NOTE]
    sections += ["## Against the sum", differences_table(results["differences"]), DIFFERENCE_NOTE]
    for size in results["combinations"]:
        sections += [f"## {size.capitalize()} by category", category_table(results, size)]
    sections += ["## Quality", quality_table(results["quality"]), QUALITY_NOTE]
    sections += ["## Published", published_table(), PUBLISHED_NOTE]
    return "\n\n".join(sections)


def singles_table(rows: Sequence[Mapping[str, Any]], grid: Sequence[float]) -> str:
    """Write a row for each behaviour of a category: plain, instructed, steered at each strength, by the other rules."""
    strengths = [f"{value:g}" for value in sorted(grid)]
    others = [rule for rule in RULES if any(rule in row.get("others", {}) for row in rows)]
    headings = ["behaviour", "kept", "plain", "instructed", *(f"v = {value}" for value in strengths)]
    lines = []
    for row in rows:
        marks = "*" * row["is_held_out"] + BEYOND * row["is_beyond_model"] + LEFT_OUT * row["is_left_out"]
        steered, chosen = row.get("steered", {}), row.get("strengths", {})
        cells = [_share(steered.get(value)) for value in strengths]
        if chosen:
            index = strengths.index(f"{chosen['sum']:g}")
            cells[index] = f"**{cells[index]}**"
        keep_rate = MISSING if row["keep_rate"] is None else percent(row["keep_rate"])
        lines.append(
            [
                f"{row['behaviour']} {marks}".strip().replace("*", r"\*"),
                *(keep_rate, _share(row["plain"]), _share(row["instruction"]), *cells),
                *(_share(row.get("others", {}).get(rule)) for rule in others),
            ]
        )
    return markdown_table([*headings, *(RULES[rule].heading for rule in others)], lines, escaped=False)


def rules_table(results: Results) -> str:
    """Write a row for each rule, under a heading for pairs and triples, seen and unseen."""
    lines: list[list[str]] = []
    for row in results["rules"]:
        heading = f"{row['size']}, {row['kind']}: {row['combinations']}"
        if [heading] not in lines:
            lines.append([heading])
        spread = (
            number(row[name]) if row[name] is not None else "" for name in ("order_spread", "largest_order_spread")
        )
        best = "" if row["best"] is None else interval(row["best"])
        lines.append([RULES[row["rule"]].heading, interval(row["mean"]), best, *spread])
    return markdown_table(["rule", "accuracy", "best order", "order spread", "largest"], lines)


def differences_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write a row for each rule, and its differences from the sum on pairs and triples."""
    columns = list(dict.fromkeys((row["size"], row["kind"]) for row in rows))
    cells = {(row["rule"], row["size"], row["kind"]): row for row in rows}
    lines = [
        [RULES[rule].heading, *(_difference(cells.get((rule, *column))) for column in columns)]
        for rule in dict.fromkeys(row["rule"] for row in rows)
    ]
    return markdown_table(["rule", *(f"{size}, {kind}" for size, kind in columns)], lines)


def category_table(results: Results, size: str) -> str:
    """Write a row for each rule, a column for each combination of categories."""
    rows = [row for row in results["by_category"] if row["size"] == size]
    columns = {row["categories"]: row["combinations"] for row in rows}
    cells = {(row["rule"], row["categories"]): row for row in rows}
    lines = [
        [RULES[rule].heading, *(interval(cells[rule, column]) for column in columns)]
        for rule in dict.fromkeys(row["rule"] for row in rows)
    ]
    return markdown_table(["rule", *(f"{name} ({n})" for name, n in columns.items())], lines)


def quality_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write a row for each rule, under a heading for pairs and triples; the column of a judge where there is one."""
    is_rated = any("rated" in row for row in rows)
    lines: list[list[str]] = []
    for row in rows:
        if [row["size"]] not in lines:
            lines.append([row["size"]])
        values = (MISSING if row.get(name) is None else interval(row[name]) for name in ("nats", "repetition"))
        rating = MISSING if row.get("rating") is None else f"{interval(row['rating'], 1)} ({row['rated']} rated)"
        lines.append([RULES[row["rule"]].heading, str(row["accurate"]), *values, *([rating] if is_rated else [])])
    return markdown_table(["rule", "accurate", "nats per token", "repeated 4-grams", *["judge"] * is_rated], lines)


def published_table() -> str:
    """Write the published figures of LM-Steer, which are not measured here."""
    rows = [[size, *(f"{100 * value:.1f} %" for value in values)] for size, values in PUBLISHED.items()]
    return markdown_table(["LM-Steer in arXiv 2601.05062", "seen", "unseen"], rows)


def behaviour_figure(results: Results) -> Figure:
    """Draw the accuracy of every rule on seen and unseen combinations: a panel for pairs, one for triples."""
    rules = list(dict.fromkeys(row["rule"] for row in results["rules"]))
    points = [
        {"panel": row["size"], "group": row["kind"], "x": float(rules.index(row["rule"])), **_limits(row["mean"])}
        for row in results["rules"]
        if row["kind"] != "all"
    ]
    ticks = {float(index): textwrap.fill(RULES[rule].heading, 11) for index, rule in enumerate(rules)}
    panels = {
        size: Panel(title=size, y_label="share with all behaviours", x_ticks=ticks, is_joined=False)
        for size in dict.fromkeys(row["size"] for row in results["rules"])
    }
    return metric_vs(pd.DataFrame(points), panels, columns=1, size=(9.5, 2.8))


def _limits(measured: Mapping[str, Any]) -> dict[str, Any]:
    return {name: measured[name] for name in ("value", "low", "high")}


def _share(measured: Mapping[str, Any] | None) -> str:
    return MISSING if measured is None else number(measured["value"])


def _difference(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return MISSING
    return f"{interval({'value': row['change'], **_bounds(row)}, signed=True)}, p {number(row['p'], 3)}"


def _bounds(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("low", "high")}
