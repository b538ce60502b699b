"""Tables of a comparison as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any


def markdown(found: dict[str, Any]) -> str:
    """What scorers.json holds; quotes texts, which may offend, at the end."""
    scorers = found["scorers"]
    parts = [
        f"{found['texts']:,} texts, {found['toxic']:,} of them with a stored toxicity of .5 or more, "
        f"{found['identity']:,} that mention an identity.",
        figures(scorers),
        _table(
            ["at .5", "both toxic", "scorer alone", "stored alone", "neither"],
            [[name, *(f"{count:,}" for count in one["confusion"].values())] for name, one in scorers.items()],
        ),
        _table(
            ["texts", "scorer", "n", "toxic", "disagreement", "false alarms", "misses"],
            [
                [title, name, *_group(one[group])]
                for group, title in (("identity", "mention an identity"), ("other", "others"))
                for name, one in scorers.items()
            ],
        ),
        *(
            f"### {name}: furthest {side} than stored\n\n" + _table(["stored", "score", "text"], _quotes(one[side]))
            for name, one in scorers.items()
            for side in ("higher", "lower")
        ),
    ]
    return "\n\n".join(parts)


def figures(scorers: dict[str, Any]) -> str:
    """The table of what sums up a scorer in a number."""
    return _table(
        ["scorer", "AUC", "Spearman", "Brier score", "calibration error"],
        [
            [
                name,
                _interval(one["auc"]),
                *(number(one[key], 3) for key in ("spearman", "brier", "calibration_error")),
            ]
            for name, one in scorers.items()
        ],
    )


def escaped(text: str) -> str:
    """A text on one line, none of whose signs means anything to Markdown."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))


def _group(one: dict[str, Any]) -> list[str]:
    rate = one["disagreement"]
    n = f"{rate['n']:,}" if rate else "0"
    return [
        n,
        number(one["toxic"]),
        _interval(rate) if rate else "-",
        number(one["false_alarms"]),
        number(one["misses"]),
    ]


def _quotes(items: Iterable[dict[str, Any]]) -> list[list[str]]:
    return [[number(item["stored"]), number(item["score"]), escaped(item["text"])] for item in items]


def _interval(value: dict[str, Any]) -> str:
    low, high = value["low"], value["high"]
    bounds = "" if low is None else f" [{number(low, 3)}, {number(high, 3)}]"
    return number(value["value"], 3) + bounds


def number(value: float | None, digits: int = 2) -> str:
    """A number without the zero before its point; None is a dash."""
    return "-" if value is None else re.sub(r"^(-?)0\.", r"\1.", f"{value:.{digits}f}")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
