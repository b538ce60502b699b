"""Measure the answers: accuracy of single behaviours and combinations, differences between rules, and quality.

Shapes: C combinations, O orders, Q questions.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from experiments.behaviours.answer_folder import AnswerFolder
from experiments.behaviours.choices import Chosen
from experiments.behaviours.rules import SWEPT
from experiments.behaviours.texts import Cell, Strengths, cells_of, prompts_of, read_cell, satisfied
from experiments.study import mean_interval
from lmsteer.behaviours import HELD_OUT, NAMES, find_behaviour
from lmsteer.behaviours.combination_metrics import (
    accuracy_difference,
    clustered_mean,
    combination_accuracy,
    repeated_ngrams,
)
from lmsteer.metrics.intervals import Array
from lmsteer.models.language_model import LanguageModel
from lmsteer.scoring.judge import Judge
from lmsteer.scoring.perplexity import continuation_nll

REFERENCE = "sum"
"""The rule with which the others are compared."""
CANNOT = 0.2
"""A behaviour that the instructed model has in fewer of its answers is marked as one that it cannot do."""


def read_texts(folder: Path, cell: Cell) -> list[str]:
    """Read the answers of a cell, in the order of the questions."""
    return [generation.texts[0] for generation in read_cell(folder, cell)]


def measure_singles(
    folder: Path, answers: AnswerFolder, grid: Mapping[str, Sequence[float]], strengths: Strengths
) -> list[dict[str, Any]]:
    """Measure each behaviour alone on test questions: plain, instructed, steered at each strength, by other rules."""

    def accuracy(cell: Cell, name: str) -> dict[str, Any]:
        return mean_interval(np.array(satisfied(read_texts(folder, cell), (name,))))

    rows = []
    for name in NAMES:
        keep = answers.keep.get(name, {})
        row: dict[str, Any] = {
            "behaviour": name,
            "category": find_behaviour(name).category,
            "is_held_out": name in HELD_OUT,
            "source": keep.get("source"),
            "keep_rate": keep.get("keep_rate"),
            "is_left_out": name not in answers.included,
            "plain": accuracy(Cell("plain", ()), name),
            "instruction": accuracy(Cell("instruction", (name,)), name),
        }
        row["is_beyond_model"] = row["instruction"]["value"] < CANNOT
        if not row["is_left_out"]:
            row["steered"] = {
                f"{value:g}": accuracy(Cell("sum", (name,), strength=float(value)), name)
                for value in sorted(grid["sum"])
            }
            row["strengths"] = {rule: strengths[rule][name] for rule in SWEPT}
            row["others"] = {rule: accuracy(Cell(rule, (name,)), name) for rule in SWEPT if rule != "sum"}
        rows.append(row)
    return rows


def outcomes(folder: Path, rule: str, combinations: Sequence[Sequence[str]]) -> Array:
    """Return whether each answer has all behaviours (C, O, Q)."""
    return np.array(
        [
            [satisfied(read_texts(folder, cell), cell.behaviours) for cell in cells_of(rule, combination)]
            for combination in combinations
        ]
    )


def measure_rules(folder: Path, rules: Sequence[str], chosen: Chosen, questions: Sequence[str]) -> dict[str, Any]:
    """Measure every rule on seen and unseen pairs and triples, by categories, and compare it with the sum."""
    rows, by_category, differences = [], [], []
    for size, kinds in chosen.items():
        for kind, combinations in [*kinds.items(), ("all", list(itertools.chain(*kinds.values())))]:
            if not combinations:
                continue
            results = {rule: outcomes(folder, rule, combinations) for rule in rules}
            where = {"size": size, "kind": kind}
            if kind == "all":
                by_category += [where | row for row in _by_category(results, combinations)]
            else:
                rows += [where | {"rule": rule} | asdict(combination_accuracy(results[rule])) for rule in rules]
            differences += [
                where | {"rule": rule} | asdict(accuracy_difference(questions, results[REFERENCE], results[rule]))
                for rule in rules
                if rule != REFERENCE and REFERENCE in results
            ]
    return {"rules": rows, "by_category": by_category, "differences": differences}


def _by_category(results: Mapping[str, Array], combinations: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    categories = [" × ".join(find_behaviour(name).category for name in names) for names in combinations]
    return [
        {"categories": pair, "rule": rule, "combinations": categories.count(pair)}
        | asdict(
            combination_accuracy(results[rule][[index for index, one in enumerate(categories) if one == pair]]).mean
        )
        for pair in dict.fromkeys(categories)
        for rule in results
    ]


def measure_quality(
    folder: Path,
    model: LanguageModel,
    rules: Sequence[str],
    chosen: Chosen,
    questions: Sequence[str],
    judge: Judge | None,
) -> list[dict[str, Any]]:
    """Measure the accurate answers of each rule: nats per token of the plain model, repetition, and a judge's rating.

    The likelihood is that of the answer given the question and the instructions, whatever the rule.
    """
    rows = []
    for size, kinds in chosen.items():
        combinations = list(itertools.chain(*kinds.values()))
        for rule in rules:
            accurate = [
                (question, prompt.content, text)
                for combination in combinations
                for cell in cells_of(rule, combination)
                for question, prompt, text, good in _answers(folder, cell, questions)
                if good
            ]
            row: dict[str, Any] = {"size": size, "rule": rule, "accurate": len(accurate)}
            if accurate:
                asked, contents, texts = (list(column) for column in zip(*accurate, strict=True))
                nll_N, tokens_N = continuation_nll(model, contents, texts)
                row["nats"] = asdict(clustered_mean((nll_N.double() / tokens_N).tolist(), asked))
                row["repetition"] = asdict(clustered_mean([repeated_ngrams(text) for text in texts], asked))
                row |= _rated(judge, asked, texts) if judge else {}
            rows.append(row)
    return rows


def _rated(judge: Judge, questions: Sequence[str], texts: Sequence[str]) -> dict[str, Any]:
    ratings = judge.ratings(questions, texts)
    rated = [(float(rating), question) for rating, question in zip(ratings, questions, strict=True) if rating]
    return {"rated": len(rated), "rating": asdict(clustered_mean(*zip(*rated, strict=True))) if rated else None}


def _answers(folder: Path, cell: Cell, questions: Sequence[str]) -> list[tuple[str, Any, str, float]]:
    texts = read_texts(folder, cell)
    prompts = prompts_of(questions, cell.behaviours)
    return list(zip(questions, prompts, texts, satisfied(texts, cell.behaviours), strict=True))
