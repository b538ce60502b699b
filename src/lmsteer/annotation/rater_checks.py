"""Do raters read the texts? Repeats, qualification items, the side chosen, time, and agreement with others."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from lmsteer.annotation.answer_key import Study
from lmsteer.annotation.judgements import Judgement
from lmsteer.annotation.rater_answers import Answer

MIN_AGREEING, MIN_RIGHT, MAX_P, MIN_CHECKS = 0.5, 0.75, 0.01, 4
"""Shares below which, the p of one side below which, and the number of checks from which a rater is called careless."""


@dataclass(frozen=True)
class MatchCount:
    """How many of ``n`` answers were as expected."""

    matching: int
    n: int


@dataclass(frozen=True)
class RaterCheck:
    """The checks of one rater.

    Attributes:
        answers: Number of answers, without those to checks.
        repeats: Repeats that were answered as before.
        swapped: Repeats with A and B exchanged that were answered for the same row as before.
        qualification: Right answers to qualification items.
        first: Answers for A among those for A or B.
        first_p: Two-sided p of these, if A and B were equally likely.
        others: Answers that equal that of another rater, for every other rater of the item.
        seconds: Median time of an item; None: unknown.
        reasons: Why the rater seems careless; empty if not.
    """

    rater: str
    answers: int
    repeats: MatchCount
    swapped: MatchCount
    qualification: MatchCount
    first: MatchCount
    first_p: float
    others: MatchCount
    seconds: float | None
    reasons: tuple[str, ...]


def check_raters(answers: Sequence[Answer], judgements: Sequence[Judgement], study: Study) -> list[RaterCheck]:
    """Check each rater of more than one item; a rater with too few checks is not called careless for them."""
    items: dict[str, set[str]] = {}
    for answer in answers:
        items.setdefault(answer.rater, set()).add(answer.item)
    by_rater: dict[str, list[Judgement]] = {rater: [] for rater in items}
    by_item: dict[tuple[str, str], list[Judgement]] = {}
    for judgement in judgements:
        by_rater[judgement.rater].append(judgement)
        if judgement.kind == "main":
            by_item.setdefault((judgement.item, judgement.question), []).append(judgement)
    checks = []
    for rater in (rater for rater, items_of_rater in items.items() if len(items_of_rater) > 1):
        of_rater = by_rater[rater]
        main = [j for j in of_rater if j.kind == "main"]
        answers_of_rater = [answer for answer in answers if answer.rater == rater]
        others = [
            j.outcome == other.outcome for j in main for other in by_item[j.item, j.question] if other.rater != rater
        ]
        sides = [j.shown == "a" for j in main if j.shown in ("a", "b")]
        repeats, swapped = _repeated(of_rater, "repeat"), _repeated(of_rater, "swapped")
        right, first, p = _qualification(answers_of_rater, study), _count(sides), _coin_p(sides)
        reasons = _reasons(repeats, swapped, right, p)
        facts = (repeats, swapped, right, first, p, _count(others), _median_seconds(answers_of_rater), reasons)
        checks.append(RaterCheck(rater, len(main), *facts))
    return checks


def _count(values: Sequence[bool]) -> MatchCount:
    return MatchCount(sum(values), len(values))


def _repeated(judgements: Sequence[Judgement], kind: str) -> MatchCount:
    """Compare answers to repeats of a kind with those to the items that they repeat."""
    before = {(j.item, j.question): j.outcome for j in judgements if j.kind == "main"}
    repeated = [
        (before[j.item, j.question], j.outcome) for j in judgements if j.kind == kind and (j.item, j.question) in before
    ]
    return _count([one == other for one, other in repeated])


def _qualification(answers: Sequence[Answer], study: Study) -> MatchCount:
    expected = [(study.key.items[answer.item].expected.get(answer.question), answer.choice) for answer in answers]
    return _count([right == choice for right, choice in expected if right is not None])


def _coin_p(sides: Sequence[bool]) -> float:
    from scipy.stats import binomtest

    return float(binomtest(sum(sides), len(sides)).pvalue) if sides else 1.0


def _median_seconds(answers: Sequence[Answer]) -> float | None:
    """Return the median over items of the time for all questions."""
    times: dict[str, float] = {}
    for answer in answers:
        if answer.seconds is not None:
            times[answer.item] = times.get(answer.item, 0.0) + answer.seconds
    return statistics.median(times.values()) if times else None


def _reasons(repeats: MatchCount, swapped: MatchCount, right: MatchCount, first_p: float) -> tuple[str, ...]:
    checks = MatchCount(repeats.matching + swapped.matching, repeats.n + swapped.n)
    is_careless = {
        "repeats": checks.n >= MIN_CHECKS and checks.matching < MIN_AGREEING * checks.n,
        "qualification": right.n > 0 and right.matching < MIN_RIGHT * right.n,
        "one side": first_p < MAX_P,
    }
    return tuple(reason for reason, applies in is_careless.items() if applies)
