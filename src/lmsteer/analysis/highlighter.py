"""What a steer makes of texts: which tokens speak for its attribute, and which strength suits each text.

Shapes: T tokens of a text, S strengths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from lmsteer.analysis.spans import best_spans
from lmsteer.analysis.token_evidence import Reading, readings
from lmsteer.data.readers.text_file import Text
from lmsteer.errors import InputError
from lmsteer.metrics.auc import auc
from lmsteer.metrics.intervals import Array, bootstrap_interval
from lmsteer.metrics.posterior import best_strength, mean_strength, posterior
from lmsteer.metrics.threshold import best_threshold
from lmsteer.models.language_model import LanguageModel
from lmsteer.steering.steer import Steer

Decision = Literal["ratio", "rate", "mean"]
DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class HighlightConfig:
    """How texts are read.

    Attributes:
        dimension: Of the steer; None: its first.
        fixed: Strengths of its other dimensions; those that are not named are 0.
        strength: Evidence of a token is its log-probability at this strength,
        against: less that at this one; None: minus ``strength``.
        spans: Spans that are marked in a text, at most, in either direction.
        span_tokens: Tokens of a span, at most.
        grid: Strengths at which the likelihood of a text is told, two or more.
        decision: Which score is held against the threshold: the log-likelihood ratio of the two strengths, the same per
            token (rate), or the mean of the posterior over the grid.
    """

    dimension: str | None = None
    fixed: Mapping[str, float] = field(default_factory=dict)
    strength: float = 5.0
    against: float | None = None
    spans: int = 4
    span_tokens: int = 10
    grid: Sequence[float] = tuple(float(value) for value in range(-5, 6))
    decision: Decision = "ratio"

    def __post_init__(self) -> None:
        if self.strength == self.other:
            raise InputError(
                f"strength={self.strength:g}, against={self.other:g}: they are equal; two different strengths expected"
            )
        for name in ("spans", "span_tokens"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}: an integer of 1 or more expected")
        if len(set(self.grid)) < 2 or len(set(self.grid)) != len(self.grid):
            raise InputError(f"grid={list(self.grid)}: two or more different strengths expected")

    @property
    def other(self) -> float:
        """The second of the two strengths that evidence compares."""
        return -self.strength if self.against is None else self.against


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MarkedSpan(_Record):
    """The tokens from ``start`` to before ``end``, what they say, and their evidence together."""

    start: int
    end: int
    text: str
    total: float


class Highlight(_Record):
    """One text: a line of ``highlight.jsonl``.

    ``offsets`` are characters (from, to) of each token, ``evidence`` nats of each for the attribute; ``positive`` spans
    hold most of the evidence for it, ``negative`` ones most of that against it. ``log_likelihood`` and ``posterior``
    belong to the strengths of ``grid``. The ``score`` is the ratio, the rate or the mean; above the threshold the text
    counts as having the attribute (``is_positive``).
    """

    text: str
    label: float | None
    tokens: list[str]
    offsets: list[tuple[int, int]]
    evidence: list[float]
    positive: list[MarkedSpan]
    negative: list[MarkedSpan]
    grid: list[float]
    log_likelihood: list[float]
    posterior: list[float]
    best_strength: float
    mean_strength: float
    ratio: float
    score: float
    is_positive: bool


class Highlighter:
    """Reads texts with one dimension of a steer.

    Raises:
        InputError: If the steer does not have the dimension, or one of those whose strength is fixed.
    """

    def __init__(self, model: LanguageModel, steer: Steer, settings: HighlightConfig) -> None:
        self.model, self.steer, self.settings = model, steer, settings
        self.dimension = steer.dimensions[0] if settings.dimension is None else settings.dimension
        if self.dimension not in steer.dimensions:
            raise InputError(f"dimension={self.dimension}: the steer's dimensions are {', '.join(steer.dimensions)}")
        if self.dimension in settings.fixed:
            raise InputError(f"fixed: {self.dimension} is the dimension whose strength varies; others expected")
        self.grid = sorted(map(float, settings.grid))
        pair = float(settings.strength), float(settings.other)
        self._strengths = list(dict.fromkeys([*self.grid, *pair]))  # none is read twice
        self._pair = tuple(map(self._strengths.index, pair))
        for strength in self._strengths:
            steer.strengths(self._named(strength))

    def __call__(self, texts: Sequence[Text], *, threshold: float = 0.0) -> list[Highlight]:
        """Highlights in the order of the texts.

        Raises:
            InputError: If a text is beyond the model's context; names file and line.
        """
        found = readings(
            self.model,
            self.steer,
            [text.text for text in texts],
            [self._named(strength) for strength in self._strengths],
            places=[text.where for text in texts],
        )
        return [self._highlight(*pair, threshold) for pair in zip(texts, found, strict=True)]

    def summary(self, threshold: float) -> dict[str, Any]:
        """What the scores mean."""
        own = self.settings
        return {
            "dimension": self.dimension,
            "fixed": dict(own.fixed),
            "strength": own.strength,
            "against": own.other,
            "decision": own.decision,
            "threshold": threshold,
        }

    def _named(self, strength: float) -> dict[str, float]:
        return {**self.settings.fixed, self.dimension: strength}

    def _highlight(self, text: Text, reading: Reading, threshold: float) -> Highlight:
        nats_S = reading.nats_S[: len(self.grid)].tolist()
        evidence_T = reading.evidence(*self._pair)
        shares_S = posterior(nats_S)
        scores = {"ratio": evidence_T.sum().item(), "mean": mean_strength(self.grid, shares_S)}
        scores["rate"] = scores["ratio"] / len(reading.ids)
        score = round(scores[self.settings.decision], DIGITS)
        values = evidence_T.tolist()
        return Highlight(
            text=text.text,
            label=text.label,
            tokens=[text.text[start:end] for start, end in reading.offsets],
            offsets=list(reading.offsets),
            evidence=[round(value, DIGITS) for value in values],
            positive=self._spans(values, 1, text.text, reading),
            negative=self._spans(values, -1, text.text, reading),
            grid=self.grid,
            log_likelihood=[round(value, DIGITS) for value in nats_S],
            posterior=[round(share, DIGITS) for share in shares_S],
            best_strength=round(best_strength(self.grid, nats_S), DIGITS),
            mean_strength=round(scores["mean"], DIGITS),
            ratio=round(scores["ratio"], DIGITS),
            score=score,
            is_positive=score > threshold,
        )

    def _spans(self, evidence_T: Sequence[float], sign: int, text: str, reading: Reading) -> list[MarkedSpan]:
        most, longest = self.settings.spans, self.settings.span_tokens
        return [
            MarkedSpan(
                start=span.start,
                end=span.end,
                text=text[reading.offsets[span.start][0] : reading.offsets[span.end - 1][1]],
                total=round(sign * span.total, DIGITS),
            )
            for span in best_spans([sign * value for value in evidence_T], most=most, longest=longest)
        ]


def clear_ones(highlights: Sequence[Highlight]) -> list[Highlight]:
    """Those with a label that is not 0: its sign tells the kind of the text."""
    return [highlight for highlight in highlights if highlight.label]


def threshold_of(highlights: Sequence[Highlight]) -> float:
    """The threshold that suits their labels best.

    Raises:
        InputError: If they are not labelled, some of each sign.
    """
    clear = clear_ones(highlights)
    kinds = [highlight.label > 0 for highlight in clear if highlight.label]
    if len(set(kinds)) < 2:
        raise InputError(f"dev: {sum(kinds)} of {len(kinds)} labelled texts are positive; some of each sign expected")
    return best_threshold([highlight.score for highlight in clear], kinds)


def agreement(highlights: Sequence[Highlight], *, seed: int = 0) -> dict[str, Any] | None:
    """How often the decision agrees with the sign of the label, and AUC of the score, with 95 % bootstrap intervals.

    Texts without a label, or with the label 0, do not count; None where none is left. Where all labels have one sign
    there is no AUC.
    """
    clear = clear_ones(highlights)
    if not clear:
        return None
    kinds = np.array([highlight.label > 0 for highlight in clear if highlight.label])
    right = np.array([highlight.is_positive for highlight in clear]) == kinds
    scores = np.array([highlight.score for highlight in clear])
    both = bool(kinds.any() and not kinds.all())
    return {
        "texts": len(clear),
        "positive": int(kinds.sum()),
        "accuracy": asdict(bootstrap_interval([right.astype(float)], _mean, seed=seed)),
        "auc": asdict(bootstrap_interval([scores, kinds.astype(float)], auc, seed=seed)) if both else None,
    }


def read_highlights(path: Path) -> list[Highlight]:
    """Read ``highlight.jsonl``.

    Raises:
        InputError: If a line is not a highlight; names file and line.
    """
    found = []
    # Not splitlines(): JSON strings may hold other characters that end lines.
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if line:
            try:
                found.append(Highlight.model_validate_json(line))
            except ValidationError as error:
                raise InputError(f"{path}, line {number}: not a highlight ({error.errors()[0]['msg']})") from error
    return found


def _mean(*columns: Array, axis: int) -> Array:
    (values,) = columns
    return np.asarray(values.mean(axis=axis))
