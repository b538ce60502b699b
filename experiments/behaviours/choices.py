"""Choose strengths by the accuracy of single behaviours on dev questions, and combinations by a hash of their names."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.behaviours.rules import RULES, SWEPT
from experiments.behaviours.texts import Cell, Strengths, read_cell, satisfied
from lmsteer.behaviours import combinations

SIZES = {"pairs": 2, "triples": 3}
Chosen = dict[str, dict[str, list[tuple[str, ...]]]]
"""Combinations by size (pairs, triples) and by whether all of their behaviours are seen."""


def swept_grid(grid: Mapping[str, Sequence[float]], rules: Sequence[str]) -> dict[str, Sequence[float]]:
    """Return the strengths to try, by the rule with which they are chosen: of the sum, and of what the rules need."""
    needed = {"sum", *(RULES[rule].sweep for rule in rules)}
    return {rule: sorted(grid[rule]) for rule in SWEPT if rule in needed}


def sweep_cells(names: Sequence[str], grid: Mapping[str, Sequence[float]]) -> list[Cell]:
    """Return the cells from which strengths are chosen: every behaviour alone at every strength, on dev questions."""
    return [
        Cell(rule, (name,), "dev", float(value)) for rule, values in grid.items() for name in names for value in values
    ]


def choose_strengths(folder: Path, cells: Sequence[Cell]) -> Strengths:
    """Choose for each rule and behaviour the strength with the best accuracy, the smallest of equals."""
    accuracy: dict[str, dict[str, dict[float, float]]] = {}
    for cell in cells:
        texts = [generation.texts[0] for generation in read_cell(folder, cell)]
        share = sum(satisfied(texts, cell.behaviours)) / len(texts)
        of_rule = accuracy.setdefault(cell.rule, {})
        of_rule.setdefault(cell.behaviours[0], {})[float(cell.strength or 0.0)] = share
    return {
        rule: {name: max(shares, key=lambda value: (shares[value], -value)) for name, shares in of_rule.items()}
        for rule, of_rule in accuracy.items()
    }


def choose_combinations(names: Sequence[str], numbers: Mapping[str, int | None], seed: int) -> Chosen:
    """Choose combinations of behaviours, half of them seen, by a hash of seed and names; fewer ones are among more.

    Args:
        names: Behaviours that may be in a combination.
        numbers: Number of pairs and triples, of which the odd one is seen; None: all.
    """
    chosen: Chosen = {}
    for size, k in SIZES.items():
        every, number = combinations(k), numbers[size]
        chosen[size] = {}
        for kind, share in (("seen", 1), ("unseen", 0)):
            possible = [combination for combination in getattr(every, kind) if set(combination) <= set(names)]
            drawn = sorted(possible, key=lambda one: hashlib.sha256(f"{seed} {' '.join(one)}".encode()).digest())
            chosen_names = set(drawn if number is None else drawn[: (number + share) // 2])
            chosen[size][kind] = [combination for combination in possible if combination in chosen_names]
    return chosen


def single_cells(names: Sequence[str], every: Sequence[str], grid: Mapping[str, Sequence[float]]) -> list[Cell]:
    """Return the cells of the first table, on test questions: plain, instructed, the steer at every strength, and all.

    Args:
        names: Behaviours that are steered.
        every: Behaviours that are asked for.
    """
    return [
        Cell("plain", ()),
        *(Cell("instruction", (name,)) for name in every),
        *(Cell("sum", (name,), strength=float(value)) for name in names for value in grid["sum"]),
        *(Cell(rule, (name,)) for rule in grid if rule != "sum" for name in names),
    ]


def to_json(chosen: Chosen) -> dict[str, Any]:
    """Return combinations as plain values."""
    return {size: {kind: [list(one) for one in ones] for kind, ones in kinds.items()} for size, kinds in chosen.items()}


def rule_names(names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the rules that are compared, in their order; None: all."""
    return tuple(RULES) if names is None else tuple(name for name in RULES if name in names)
