"""Tables and picture of the comparison of scorers."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from experiments.study import Results
from lmsteer.reporting.plots import Panel, metric_vs
from lmsteer.reporting.text import MISSING, interval, markdown_table, number

GROUPS = {"identity": "mention an identity", "other": "others"}


def agreement_tables(results: Results) -> str:
    """Write the content of scorers.json as Markdown; texts, which may offend, are quoted at the end."""
    scorers = results["scorers"]
    sections = [
        f"{results['texts']:,} texts, {results['toxic']:,} of them with a stored toxicity of .5 or more, "
        f"{results['identity']:,} that mention an identity.",
        markdown_table(
            ["scorer", "AUC", "Spearman", "Brier score", "calibration error"],
            [
                [
                    name,
                    interval(row["auc"], 3),
                    *(number(row[k], 3) for k in ("spearman", "brier", "calibration_error")),
                ]
                for name, row in scorers.items()
            ],
        ),
        markdown_table(
            ["at .5", "both toxic", "scorer alone", "stored alone", "neither"],
            [[name, *(f"{count:,}" for count in row["confusion"].values())] for name, row in scorers.items()],
        ),
        markdown_table(
            ["texts", "scorer", "n", "toxic", "disagreement", "false alarms", "misses"],
            [
                [title, name, *_rate_cells(row[group])]
                for group, title in GROUPS.items()
                for name, row in scorers.items()
            ],
        ),
    ]
    for name, row in scorers.items():
        for side in ("higher", "lower"):
            quotes = [[number(quote["stored"]), number(quote["score"]), quote["text"]] for quote in row[side]]
            sections += [
                f"### {name}: furthest {side} than stored",
                markdown_table(["stored", "score", "text"], quotes),
            ]
    return "\n\n".join(sections)


def _rate_cells(rates: dict[str, Any]) -> list[str]:
    disagreement = rates["disagreement"]
    return [
        f"{disagreement['n']:,}" if disagreement else "0",
        number(rates["toxic"]),
        interval(disagreement, 3) if disagreement else MISSING,
        number(rates["false_alarms"]),
        number(rates["misses"]),
    ]


def agreement_figure(results: Results) -> Figure:
    """Draw reliability curves, and disagreement for texts that mention an identity and for others."""
    panels = {
        "reliability": Panel(
            x_label="score (mean of a bin)", y_label="stored probability (mean of the bin)", y_limits=(-0.03, 1.03)
        ),
        "disagreement": Panel(
            y_label="disagreement at .5, share of texts",
            x_ticks=dict(zip((0.0, 1.0), GROUPS.values(), strict=True)),
            is_joined=False,
        ),
    }
    return metric_vs(pd.DataFrame(_points(results["scorers"])), panels, size=(4.4, 3.6))


def _points(scorers: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, row in scorers.items():
        group = f"{name}, AUC {number(row['auc']['value'], 3)}"
        for point in row["reliability"]:
            yield {"panel": "reliability", "group": group, "x": point["score"], "value": point["stored"]}
        for x, key in enumerate(GROUPS):
            if row[key]["disagreement"]:
                yield {"panel": "disagreement", "group": group, "x": x, **row[key]["disagreement"]}
    for x in (0, 1):
        yield {"panel": "reliability", "group": "a calibrated scorer", "x": x, "value": x}
