"""Measure the answers: accuracy of single behaviours and combinations, differences between rules, and quality.

Shapes: C combinations, O orders, Q questions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from experiments.behaviours.answer_folder import AnswerFolder
from experiments.behaviours.choices import Chosen
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
                f"{value:g}": accuracy(Cell("sum", (name,), strength=float(value)), name) for value in grid["sum"]
            }
            row["strengths"] = {rule: of_rule[name] for rule, of_rule in strengths.items()}
            row["others"] = {rule: accuracy(Cell(rule, (name,)), name) for rule in strengths if rule != "sum"}
        rows.append(row)
    return rows


Outcomes = dict[str, dict[str, Array]]
"""Whether each answer has all behaviours (C, O, Q), by size and rule; combinations in the order of ``listed``."""


def listed(kinds: Mapping[str, Sequence[tuple[str, ...]]]) -> list[tuple[str, ...]]:
    """Return the combinations of a size, seen ones first."""
    return [*kinds["seen"], *kinds["unseen"]]


def verify_answers(folder: Path, rules: Sequence[str], chosen: Chosen) -> Outcomes:
    """Verify the answers of every rule."""
    return {
        size: {
            rule: np.array(
                [
                    [satisfied(read_texts(folder, cell), cell.behaviours) for cell in cells_of(rule, combination)]
                    for combination in listed(kinds)
                ]
            )
            for rule in rules
        }
        for size, kinds in chosen.items()
        if listed(kinds)
    }


def measure_rules(outcomes: Outcomes, chosen: Chosen, questions: Sequence[str]) -> dict[str, Any]:
    """Measure every rule on seen and unseen pairs and triples, by categories, and compare it with the sum."""
    rows, by_category, differences = [], [], []
    for size, results in outcomes.items():
        seen = len(chosen[size]["seen"])
        slices = {"seen": slice(seen), "unseen": slice(seen, None), "all": slice(None)}
        by_category += [{"size": size} | row for row in _by_category(results, listed(chosen[size]))]
        for kind, part in slices.items():
            of_kind = {rule: result[part] for rule, result in results.items() if len(result[part])}
            where = {"size": size, "kind": kind}
            rows += [where | {"rule": rule} | asdict(combination_accuracy(result)) for rule, result in of_kind.items()]
            differences += [
                where | {"rule": rule} | asdict(accuracy_difference(questions, of_kind[REFERENCE], result))
                for rule, result in of_kind.items()
                if rule != REFERENCE and REFERENCE in of_kind
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
    outcomes: Outcomes,
    chosen: Chosen,
    questions: Sequence[str],
    judge: Judge | None,
) -> list[dict[str, Any]]:
    """Measure the accurate answers of each rule: nats per token of the plain model, repetition, and a judge's rating.

    The likelihood is that of the answer given the question and the instructions, whatever the rule.
    """
    rows = []
    for size, results in outcomes.items():
        for rule, result_COQ in results.items():
            cells = [cell for combination in listed(chosen[size]) for cell in cells_of(rule, combination)]
            accurate = [
                answer
                for cell, good_Q in zip(cells, result_COQ.reshape(len(cells), -1), strict=True)
                for answer, good in zip(_answers(folder, cell, questions), good_Q, strict=True)
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


def _answers(folder: Path, cell: Cell, questions: Sequence[str]) -> list[tuple[str, Any, str]]:
    """Return each question, with what the plain model reads before the answer, and the answer."""
    contents = [prompt.content for prompt in prompts_of(questions, cell.behaviours)]
    return list(zip(questions, contents, read_texts(folder, cell), strict=True))


def _rated(judge: Judge, questions: Sequence[str], texts: Sequence[str]) -> dict[str, Any]:
    ratings = judge.ratings(questions, texts)
    rated = [(float(rating), question) for rating, question in zip(ratings, questions, strict=True) if rating]
    return {"rated": len(rated), "rating": asdict(clustered_mean(*zip(*rated, strict=True))) if rated else None}
