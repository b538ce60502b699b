"""Define ``annotation.json``, read and write it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from lmsteer.annotation.answer_key import RowKey
from lmsteer.annotation.questionnaire import Form, Record, read_record
from lmsteer.metrics.intervals import Interval
from lmsteer.storage.atomic_files import atomic_write_lines

Share = Annotated[float, Field(ge=0, le=1)]
Limits = tuple[float, float] | None
"""Lower and upper limit of a 95 % interval; None for a single prompt."""


def limits(interval: Interval) -> Limits:
    """Return the limits of an interval."""
    return None if interval.low is None or interval.high is None else (interval.low, interval.high)


class Estimate(Record):
    """A value with the limits of its 95 % interval over ``n`` prompts."""

    value: float
    low: float | None
    high: float | None
    n: int

    @classmethod
    def of(cls, interval: Interval) -> Estimate:
        """Convert an interval."""
        return cls(value=interval.value, low=interval.low, high=interval.high, n=interval.n)


class SignResult(Record):
    """Prompts with more answers for the first row, or for the second, and the two-sided p of a fair coin."""

    wins: int
    losses: int
    p: Share


class PairResult(Record):
    """Two rows and one question.

    Attributes:
        win: Share of answers for ``a``; ``tie`` and ``loss`` accordingly.
        intervals: Their limits, by outcome.
        n: Number of answers.
        prompts: Number of prompts.
    """

    a: str
    b: str
    question: str
    win: Share
    tie: Share
    loss: Share
    intervals: dict[Literal["win", "tie", "loss"], Limits]
    n: int
    prompts: int
    sign_test: SignResult


class RowResult(Record):
    """One row and one question.

    Attributes:
        preferred: Share of answers for the row against any other, a tie counting half; of yes in the form single.
        shares: Shares of yes, unsure and no in the form single; empty for pairs.
        n: Number of answers.
        key: Identity of the row.
    """

    row: str
    question: str
    preferred: Estimate
    shares: dict[Literal["yes", "unsure", "no"], Estimate] = Field(default_factory=dict)
    n: int
    key: RowKey


class Agreement(Record):
    """Agreement on one question; None where it is not defined.

    Attributes:
        alpha_nominal: Krippendorff's alpha of answers named by the row that they are for, or equal.
        alpha_ordinal: That of loss, tie and win for the first row, in this order.
        alpha_shown: Nominal alpha of the choices as they were shown: A, equal, B. Over several pairs it is the stricter
            one, as names of rows that an item does not have count as expected disagreement.
        fleiss_kappa: Fleiss' kappa of answers named by their row.
        raw: Share of pairs of raters that agree.
        items: Items with two or more answers.
        below: Items that have fewer answers than the questionnaire asks for.
    """

    alpha_nominal: float | None
    alpha_ordinal: float | None
    alpha_shown: float | None
    fleiss_kappa: float | None
    raw: float | None
    items: int
    below: int


class Strength(Record):
    """Bradley-Terry strength of a row in log-odds, with a mean of 0 over the rows."""

    row: str
    value: float
    low: float
    high: float


class Check(Record):
    """The checks of one rater; counts are ``(as expected, of)``."""

    rater: str
    answers: int
    repeats: tuple[int, int]
    swapped: tuple[int, int]
    qualification: tuple[int, int]
    first: tuple[int, int]
    first_p: Share
    others: tuple[int, int]
    seconds: float | None
    careless: tuple[str, ...]


class Correlation(Record):
    """Spearman's correlation of raters with an automatic scorer over ``items``."""

    scorer: str
    question: str
    items: int
    estimate: Estimate


class ModelResult(Record):
    """A language model as one more rater, apart from people.

    Attributes:
        raw: Share of items on which it agrees with the majority of people; None without any.
        alpha: Nominal alpha of its answers and those of that majority.
        items: Items that have an answer of it and such a majority.
    """

    rater: str
    question: str
    pairs: tuple[PairResult, ...]
    raw: float | None
    alpha: float | None
    items: int


class AnnotationResult(Record):
    """The content of ``annotation.json``.

    Attributes:
        questionnaire: Digest of the questionnaire.
        protocol: Digest of the protocol of the runs; empty if unknown.
        questions: What an answer for a text says of it, by question.
        raters: Number of people, or of assignments where a file does not name them.
        checks: Checks of raters of more than one item.
        answers: Number of their answers, without those to checks.
        items: Number of items that they answer, without checks.
        excluded: Raters that were left out.
        position: By question the share of answers for A among those for A or B.
        seconds: Median over these raters of the median time of an item; None: unknown.
    """

    version: Literal[1] = Field(default=1, alias="schema")
    form: Form
    questionnaire: str
    protocol: str
    questions: dict[str, str]
    raters: int
    answers: int
    items: int
    excluded: tuple[str, ...]
    pairs: tuple[PairResult, ...]
    rows: tuple[RowResult, ...]
    agreement: dict[str, Agreement]
    bradley_terry: dict[str, tuple[Strength, ...]]
    position: dict[str, Estimate]
    checks: tuple[Check, ...]
    correlations: tuple[Correlation, ...]
    models: tuple[ModelResult, ...]
    seconds: float | None


def write_annotation(path: Path, result: AnnotationResult) -> None:
    """Write ``annotation.json`` deterministically."""
    content = result.model_dump(mode="json", by_alias=True)
    atomic_write_lines(path, [json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)])


def read_annotation(path: Path) -> AnnotationResult:
    """Read ``annotation.json``.

    Raises:
        InputError: If it is missing, or not of the schema.
    """
    return read_record(path, AnnotationResult)
