"""Tables of a look into the one-pass estimator as Markdown."""

from __future__ import annotations

from typing import Any

from experiments.scorers.report import number
from experiments.speed.report import table


def markdown(found: dict[str, Any]) -> str:
    """What one_pass.json holds."""
    rules = list(found["sizes"][-1]["rules"])
    held, chosen = found["held_out"], found["chosen"]
    parts = [
        f"{found['corpus']}: damping, rank and form chosen on {held['choice']:,} held-out texts (damping "
        f"{chosen['damping']:g}{_of_contexts(chosen)}, {_rule(chosen['rule'])}), figures on {held['figures']:,} "
        "others. AUC of the evidence for a positive label, with 95 % bootstrap intervals over texts.",
        "### AUC by damping, rank and form, all rows\n\n" + _by_damping(found["dampings"], rules),
        "### AUC, rank and time by the number of rows, at that damping\n\n" + _by_size(found["sizes"], rules),
    ]
    if found["steers"]:
        rows = [[name, interval(one)] for name, one in found["steers"].items()]
        parts.append("### Other steers, the same texts\n\n" + table(["steer", "AUC"], rows))
    return "\n\n".join(parts)


def _of_contexts(chosen: dict[str, Any]) -> str:
    """The damping of contexts, where it is one of its own."""
    return "" if chosen["context_damping"] is None else f", of contexts {chosen['context_damping']:g}"


def _by_damping(found: list[dict[str, Any]], rules: list[str]) -> str:
    both = [(rule, part) for rule in rules for part in ("choice", "figures")]
    rows = [
        [f"{one['damping']:g}", str(one["above"]), *(interval(one["rules"][rule][part]) for rule, part in both)]
        for one in found
    ]
    return table(["damping", "above the null", *(f"{_rule(rule)}, {part}" for rule, part in both)], rows)


def _by_size(found: list[dict[str, Any]], rules: list[str]) -> str:
    rows = [
        [
            f"{one['rows']:,}",
            f"{one['tokens']:,}",
            str(one["above"]),
            *(interval(one["rules"][rule]["figures"]) for rule in rules),
            *(f"{one['seconds'][name]:.1f}" for name in ("hidden_states", "statistics")),
        ]
        for one in found
    ]
    head = ["rows", "tokens", "above the null", *map(_rule, rules), "hidden states, s", "statistics, s"]
    return table(head, rows)


def _rule(rule: str) -> str:
    """A rule in words."""
    if rule == "add":
        return "constant alone"
    rank, _, more = rule.partition(" + ")
    words = {"null": "rank by the null", "full": "full rank"}.get(rank, rank)
    return f"{words} and constant" if more else words


def interval(value: dict[str, Any]) -> str:
    """A value with its bounds."""
    return f"{number(value['value'], 3)} [{number(value['low'], 3)}, {number(value['high'], 3)}]"
