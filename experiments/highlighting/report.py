"""Tables of the study as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from experiments.highlighting.rows import GROUPS
from experiments.scorers.report import number


def markdown(found: dict[str, Any]) -> str:
    """What highlighting.json holds."""
    names = {file: _name(one) for file, one in found["steers"].items()}
    parts = []
    for place in next(iter(found["steers"].values()))["sets"]:
        rows = [
            [f"{names[file]}: {title} ({figures['variant']})", *_cells(figures)]
            for file, one in found["steers"].items()
            for title, figures in one["sets"][place].items()
        ]
        rows += [[name, *_cells(sets[place])] for name, sets in found["scorers"].items()]
        head = [part for group in GROUPS for part in (f"accuracy, {group}", "AUC")]
        parts.append(
            f"### {place}\n\n{_sizes(next(iter(found['scorers'].values()))[place])}\n\n{_table(['', *head], rows)}"
        )
    for file, one in found["steers"].items():
        parts.append(f"### {names[file]}: variants on {one['dev']['rows']} dev rows\n\n{_variants(one['dev'])}")
    parts.append(_faithfulness(found["faithfulness"]))
    return "\n\n".join(parts)


def _name(one: dict[str, Any]) -> str:
    how = "one pass" if one["solver"] == "one_pass" else f"{one['steps'] or 'unknown'} steps"
    return f"{how}, rank {one['rank']}"


def _sizes(by_group: dict[str, Any]) -> str:
    sizes = (f"{one['rows']} with {group} ({one['positive']:.0%} positive)" for group, one in by_group.items())
    return f"Rows: {', '.join(sizes)}."


def _cells(by_group: dict[str, Any]) -> list[str]:
    return [_interval(by_group[group][figure]) for group in GROUPS for figure in ("accuracy", "auc")]


def _variants(dev: dict[str, Any]) -> str:
    rows = [
        [
            f"**{one['variant']}**" if place == dev["chosen"] else one["variant"],
            *(number(one[name], 3) for name in ("auc", "accuracy", "accuracy_at_threshold")),
            number(one["threshold"], 3),
        ]
        for place, one in enumerate(dev["variants"])
    ]
    return _table(["variant", "AUC", "accuracy at 0", "at the best threshold", "which is"], rows)


def _faithfulness(found: dict[str, Any]) -> str:
    rows = [
        [name, f"{float(share):.0%}", order, _interval(one["fall"]), _interval(one["beyond_random"])]
        for name, by_share in found["scorers"].items()
        for share, by_order in by_share.items()
        for order, one in by_order.items()
    ]
    table = _table(["scorer", "deleted", "tokens", "fall of the probability", "beyond random"], rows)
    return f"### Deletions in {found['texts']} texts of {found['tokens']} tokens on average\n\n{table}"


def _interval(value: dict[str, Any]) -> str:
    low, high = value["low"], value["high"]
    return number(value["value"], 3) + ("" if low is None else f" [{number(low, 3)}, {number(high, 3)}]")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
