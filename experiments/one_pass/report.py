"""Tables and picture of the study of the one-pass estimator."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from experiments.study import Results
from lmsteer.reporting.plots import Panel, metric_vs
from lmsteer.reporting.text import interval, markdown_table


def one_pass_tables(results: Results) -> str:
    """Write the content of one_pass.json as Markdown."""
    rules = list(results["sizes"][-1]["rules"])
    held_out, chosen = results["held_out"], results["chosen"]
    contexts = "" if chosen["context_damping"] is None else f", of contexts {chosen['context_damping']:g}"
    pairs = [(rule, texts) for rule in rules for texts in ("choice", "figures")]
    by_damping = [
        [f"{row['damping']:g}", str(row["above"]), *(interval(row["rules"][rule][texts], 3) for rule, texts in pairs)]
        for row in results["dampings"]
    ]
    by_size = [
        [
            *(f"{row['rows']:,}", f"{row['tokens']:,}", str(row["above"])),
            *(interval(row["rules"][rule]["figures"], 3) for rule in rules),
            *(f"{row['seconds'][name]:.1f}" for name in ("hidden_states", "statistics")),
        ]
        for row in results["sizes"]
    ]
    sections = [
        f"{results['corpus']}: damping, rank and form chosen on {held_out['choice']:,} held-out texts (damping "
        f"{chosen['damping']:g}{contexts}, {rule_label(chosen['rule'])}), figures on {held_out['figures']:,} "
        "others. AUC of the evidence for a positive label, with 95 % bootstrap intervals over texts.",
        "### AUC by damping, rank and form, all rows",
        markdown_table(["damping", "above the null", *(f"{rule_label(r)}, {t}" for r, t in pairs)], by_damping),
        "### AUC, rank and time by the number of rows, at that damping",
        markdown_table(
            ["rows", "tokens", "above the null", *map(rule_label, rules), "hidden states, s", "statistics, s"], by_size
        ),
    ]
    if results["steers"]:
        rows = [[name, interval(measured, 3)] for name, measured in results["steers"].items()]
        sections += ["### Other steers, the same texts", markdown_table(["steer", "AUC"], rows)]
    return "\n\n".join(sections)


def rule_label(rule: str) -> str:
    """Name a rule of rank and form in words."""
    if rule == "add":
        return "constant alone"
    rank, _, add = rule.partition(" + ")
    words = {"null": "rank by the null", "full": "full rank"}.get(rank, rank)
    return f"{words} and constant" if add else words


def one_pass_figure(results: Results) -> Figure:
    """Draw the content of one_pass.json: the spectrum with its null, and the AUC by the number of rows."""
    damping = results["chosen"]["damping"]
    sizes = [size["rows"] for size in results["sizes"]]
    # Neighbors within a tenth would write their numbers over each other.
    ticks = [size for size, larger in zip(sizes, [*sizes[1:], float("inf")], strict=True) if larger > 1.1 * size]
    panels = {
        "spectrum": Panel(x_label=f"direction (damping {damping:g})", y_label="whitened singular value"),
        "growth": Panel(
            x_label="training rows",
            y_label="AUC on held-out texts",
            x_ticks={float(size): f"{size:,}" for size in ticks},
            y_limits=(0.4, 1.02),
            log_x=True,
        ),
    }
    chance = pd.DataFrame([{"panel": "growth", "value": 0.5}])
    return metric_vs(pd.DataFrame(_points(results)), panels, references=chance, size=(4.8, 3.6))


def _points(results: Results) -> Iterator[dict[str, Any]]:
    largest, sizes = results["sizes"][-1], results["sizes"]
    spectrum, null = largest["spectrum"], largest["null"]
    for index, value in enumerate(spectrum, 1):
        yield {"panel": "spectrum", "group": f"estimate, {largest['above']} above", "x": index, "value": value}
    for x in (1, len(spectrum)):
        limits = {"low": null[0], "high": null[-1]}
        yield {"panel": "spectrum", "group": "threshold", "x": x, "value": largest["threshold"]}
        group = f"largest of {len(null)} permutations, median and range"
        yield {"panel": "spectrum", "group": group, "x": x, "value": null[len(null) // 2], **limits}
    for rule in ("null", "full", "add"):
        for size in sizes:
            yield {"panel": "growth", "group": rule_label(rule), "x": size["rows"], **size["rules"][rule]["figures"]}
    for name, measured in results["steers"].items():
        for size in (sizes[0], largest):
            yield {"panel": "growth", "group": name, "x": size["rows"], **measured}
