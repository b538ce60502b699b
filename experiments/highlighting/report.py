"""Tables and picture of the highlighting study."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from experiments.highlighting.classifier import GROUPS
from experiments.study import Results
from lmsteer.reporting.plots import Panel, metric_vs
from lmsteer.reporting.text import escape_markdown, interval, markdown_table, number


def highlighting_tables(results: Results) -> str:
    """Write the content of highlighting.json as Markdown."""
    names = {file: _steer_name(steer) for file, steer in results["steers"].items()}
    headings = ["", *(heading for group in GROUPS for heading in (f"accuracy, {group}", "AUC"))]
    sections = []
    for texts, by_group in next(iter(results["scorers"].values())).items():
        rows = [
            [f"{names[file]}: {title} ({measured['variant']})", *_group_cells(measured)]
            for file, steer in results["steers"].items()
            for title, measured in steer["sets"][texts].items()
        ]
        rows += [[name, *_group_cells(sets[texts])] for name, sets in results["scorers"].items()]
        sizes = (f"{row['rows']} with {group} ({row['positive']:.0%} positive)" for group, row in by_group.items())
        sections += [f"### {texts}", f"Rows: {', '.join(sizes)}.", markdown_table(headings, rows)]
    for file, steer in results["steers"].items():
        sections += [f"### {names[file]}: variants on {steer['dev']['rows']} dev rows", _variant_table(steer["dev"])]
    deletions = results["faithfulness"]
    title = f"### Deletions in {deletions['texts']} texts of {deletions['tokens']} tokens on average"
    return "\n\n".join([*sections, title, _deletion_table(deletions)])


def _steer_name(steer: dict[str, Any]) -> str:
    solver = "one pass" if steer["solver"] == "one_pass" else f"{steer['steps'] or 'unknown'} steps"
    return f"{solver}, rank {steer['rank']}"


def _group_cells(by_group: dict[str, Any]) -> list[str]:
    return [interval(by_group[group][metric], 3) for group in GROUPS for metric in ("accuracy", "auc")]


def _variant_table(dev: dict[str, Any]) -> str:
    columns = ("auc", "accuracy", "accuracy_at_threshold", "threshold")
    rows = [[escape_markdown(row["variant"]), *(number(row[c], 3) for c in columns)] for row in dev["variants"]]
    rows[dev["chosen"]][0] = f"**{rows[dev['chosen']][0]}**"
    headings = ["variant", "AUC", "accuracy at 0", "at the best threshold", "best threshold"]
    return markdown_table(headings, rows, escaped=False)


def _deletion_table(deletions: dict[str, Any]) -> str:
    rows = [
        [name, f"{float(share):.0%}", order, interval(row["fall"], 3), interval(row["beyond_random"], 3)]
        for name, by_share in deletions["scorers"].items()
        for share, by_order in by_share.items()
        for order, row in by_order.items()
    ]
    return markdown_table(["scorer", "deleted", "tokens", "fall of the probability", "beyond random"], rows)


def deletion_figure(deletions: dict[str, Any]) -> Figure:
    """Draw how far each scorer's probability falls with the share of deleted tokens, by order of deletion."""
    rows = [
        {"panel": name, "group": order, "x": 100 * float(share), **row["fall"]}
        for name, by_share in deletions["scorers"].items()
        for share, by_order in by_share.items()
        for order, row in by_order.items()
    ]
    points = pd.DataFrame(rows)
    values = points[["value", "low", "high"]].astype(float).stack()
    margin = 0.1 * (values.max() - values.min())
    panels = {
        name: Panel(
            title=name,
            x_label="tokens deleted, per cent",
            y_label="fall of the probability of the side",
            x_ticks={x: f"{x:g}" for x in points["x"].unique()},
            y_limits=(values.min() - margin, values.max() + margin),
        )
        for name in deletions["scorers"]
    }
    zero = pd.DataFrame([{"panel": name, "value": 0.0} for name in panels])
    return metric_vs(points, panels, references=zero, size=(4.0, 3.2))
