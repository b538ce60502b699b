"""Tables and picture of the transfer study."""

import pandas as pd
from matplotlib.figure import Figure

from experiments.study import Results
from lmsteer.reporting.plots import Panel, metric_vs
from lmsteer.reporting.text import MISSING, interval, markdown_table, number


def transfer_tables(results: Results) -> str:
    """Write the content of transfer.json as Markdown."""
    scorers, plain = results["metrics"], results["plain"]
    effects = [
        [
            *(row["steer"], row["budget"], scorers[row["metric"]], interval(row["effect"])),
            MISSING if row["share"] is None else interval(row["share"]),
        ]
        for row in results["effects"]
    ]
    headings = [f"{metric.partition('@')[0]} ({scorer})" for metric, scorer in scorers.items()]
    rows = [["plain", "", "", *(interval(plain[m]) for m in scorers), interval(plain["perplexity"], 1), ""]]
    rows += [
        [
            *(row["steer"], row["budget"], f"{row['strength']:+.3g}"),
            *(interval(row[metric]) for metric in scorers),
            *(interval(row["perplexity"], 1), number(row["dist_3"]["value"])),
        ]
        for row in results["rows"]
    ]
    return "\n\n".join(
        [
            "Effect: steered up less steered down, share of continuations; 95 % intervals over prompts.",
            markdown_table(["steer", "budget", "scorer", "effect", "share of the direct steer's"], effects),
            markdown_table(["steer", "budget", "strength", *headings, "perplexity", "dist-3"], rows),
        ]
    )


def transfer_figure(results: Results) -> Figure:
    """Draw the attribute steered down, plain and steered up, by steer, at each budget and by each scorer."""
    points, panels = [], {}
    for budget in dict.fromkeys(row["budget"] for row in results["rows"]):
        for metric, scorer in results["metrics"].items():
            name = f"{budget}, {scorer}"
            panels[name] = Panel(
                title=name,
                y_label=metric.partition("@")[0],
                x_label="steered",
                x_ticks={-1.0: "down", 0.0: "not (plain)", 1.0: "up"},
                y_limits=(0, 1.03),
            )
            for steer in dict.fromkeys(row["steer"] for row in results["rows"]):
                values = {0: results["plain"][metric]}
                for row in results["rows"]:
                    if (row["steer"], row["budget"]) == (steer, budget):
                        values[1 if row["strength"] > 0 else -1] = row[metric]
                points += [{"panel": name, "group": steer, "x": x, **values[x]} for x in sorted(values)]
    return metric_vs(pd.DataFrame(points), panels, columns=len(results["metrics"]))
