"""Tables of the study as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any


def markdown(found: dict[str, Any]) -> str:
    """What transfer.json holds."""
    metrics, plain = list(found["metrics"]), found["plain"]
    head = ["steer", "budget", "strength", *(_name(found, metric) for metric in metrics), "perplexity", "dist-3"]
    rows = [["plain", "", "", *(interval(plain[metric]) for metric in metrics), interval(plain["perplexity"], 1), ""]]
    rows += [
        [
            *(row["steer"], row["budget"], f"{row['strength']:+.3g}"),
            *(interval(row[metric]) for metric in metrics),
            *(interval(row["perplexity"], 1), number(row["dist_3"]["value"])),
        ]
        for row in found["rows"]
    ]
    effects = [
        [one["steer"], one["budget"], found["metrics"][one["metric"]], interval(one["effect"]), interval(one["share"])]
        for one in found["effects"]
    ]
    return "\n\n".join(
        [
            "Effect: steered up less steered down, share of continuations; 95 % intervals over prompts.",
            _table(["steer", "budget", "scorer", "effect", "share of the direct steer's"], effects),
            _table(head, rows),
        ]
    )


def interval(value: dict[str, Any] | None, digits: int = 2) -> str:
    """A value with its interval; a dash for none."""
    if value is None:
        return "-"
    bounds = "" if value["low"] is None else f" [{number(value['low'], digits)}, {number(value['high'], digits)}]"
    return number(value["value"], digits) + bounds


def number(value: float, digits: int = 2) -> str:
    """A number without the zero before its point."""
    return re.sub(r"^(-?)0\.", r"\1.", f"{value:.{digits}f}")


def _name(found: dict[str, Any], metric: str) -> str:
    return f"{metric.partition('@')[0]} ({found['metrics'][metric]})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])
