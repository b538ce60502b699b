"""Highlight the tokens of texts that a steer makes likelier, and estimate the strength of each text.

Shapes: T tokens of a text, S strengths.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from lmsteer.analysis.spans import best_spans
from lmsteer.analysis.token_evidence import TextLogProbs, text_log_probs
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
    """Choose the strengths, the spans and the score of highlighting.

    Attributes:
        dimension: Dimension of the steer; None: its first.
        fixed: Strengths of its other dimensions; 0 where a name is missing.
        strength: The evidence of a token is its log-probability at this strength,
        against: minus that at this one; None: minus ``strength``.
        spans: Maximum number of marked spans of a text, in either direction.
        span_tokens: Maximum number of tokens of a span.
        grid: Strengths at which the likelihood of a text is computed, two or more.
        decision: The score that is compared with the threshold: the log-likelihood ratio of the two strengths, the same
            per token (rate), or the mean of the posterior over the grid.
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
    """The tokens ``start`` to ``end`` (exclusive), their text, and their total evidence."""

    start: int
    end: int
    text: str
    total: float


class Highlight(_Record):
    """One text: a line of ``highlight.jsonl``.

    ``offsets`` are characters (from, to) of each token, ``evidence`` nats of each for the attribute; ``positive`` spans
    hold most of the evidence for it, ``negative`` ones most of that against it. ``log_likelihood`` and ``posterior``
    belong to the strengths of ``grid``. The ``score`` is the ratio, the rate or the mean; a text with a score above the
    threshold has the attribute (``is_positive``).
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
    """Highlight texts by one dimension of a steer.

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
        self._strengths = list(dict.fromkeys([*self.grid, *pair]))  # each strength once
        self._pair = tuple(map(self._strengths.index, pair))
        for strength in self._strengths:
            steer.strengths(self._named(strength))

    def __call__(self, texts: Sequence[Text], *, threshold: float = 0.0) -> list[Highlight]:
        """Return highlights in the order of the texts.

        Raises:
            InputError: If a text is beyond the model's context; names file and line.
        """
        log_probs = text_log_probs(
            self.model,
            self.steer,
            [text.text for text in texts],
            [self._named(strength) for strength in self._strengths],
            prompts=[text.turns or "" for text in texts],
            locations=[text.where for text in texts],
        )
        return [self._highlight(*pair, threshold) for pair in zip(texts, log_probs, strict=True)]

    def summary(self, threshold: float) -> dict[str, Any]:
        """Return the settings by which the scores are read."""
        settings = self.settings
        return {
            "dimension": self.dimension,
            "fixed": dict(settings.fixed),
            "strength": settings.strength,
            "against": settings.other,
            "decision": settings.decision,
            "threshold": threshold,
        }

    def _named(self, strength: float) -> dict[str, float]:
        return {**self.settings.fixed, self.dimension: strength}

    def _highlight(self, text: Text, log_probs: TextLogProbs, threshold: float) -> Highlight:
        log_p_S = log_probs.log_p_S[: len(self.grid)].tolist()
        evidence_T = log_probs.evidence(*self._pair)
        shares_S = posterior(log_p_S)
        scores = {"ratio": evidence_T.sum().item(), "mean": mean_strength(self.grid, shares_S)}
        scores["rate"] = scores["ratio"] / len(log_probs.ids)
        score = round(scores[self.settings.decision], DIGITS)
        values = evidence_T.tolist()
        return Highlight(
            text=text.text,
            label=text.label,
            tokens=[text.text[start:end] for start, end in log_probs.offsets],
            offsets=list(log_probs.offsets),
            evidence=[round(value, DIGITS) for value in values],
            positive=self._spans(values, 1, text.text, log_probs),
            negative=self._spans(values, -1, text.text, log_probs),
            grid=self.grid,
            log_likelihood=[round(value, DIGITS) for value in log_p_S],
            posterior=[round(share, DIGITS) for share in shares_S],
            best_strength=round(best_strength(self.grid, log_p_S), DIGITS),
            mean_strength=round(scores["mean"], DIGITS),
            ratio=round(scores["ratio"], DIGITS),
            score=score,
            is_positive=score > threshold,
        )

    def _spans(self, evidence_T: Sequence[float], sign: int, text: str, log_probs: TextLogProbs) -> list[MarkedSpan]:
        settings, signed = self.settings, [sign * value for value in evidence_T]
        return [
            MarkedSpan(
                start=span.start,
                end=span.end,
                text=text[log_probs.offsets[span.start][0] : log_probs.offsets[span.end - 1][1]],
                total=round(sign * span.total, DIGITS),
            )
            for span in best_spans(signed, max_spans=settings.spans, max_items=settings.span_tokens)
        ]


def labeled(highlights: Sequence[Highlight]) -> list[Highlight]:
    """Return the highlights with a label other than 0, whose sign is the class of the text."""
    return [highlight for highlight in highlights if highlight.label]


def fit_threshold(highlights: Sequence[Highlight]) -> float:
    """Choose the threshold that agrees best with the labels.

    Raises:
        InputError: If there are not labels of both signs.
    """
    with_label = labeled(highlights)
    kinds = [highlight.label > 0 for highlight in with_label if highlight.label]
    if len(set(kinds)) < 2:
        raise InputError(f"dev: {sum(kinds)} of {len(kinds)} labeled texts are positive; both signs expected")
    return best_threshold([highlight.score for highlight in with_label], kinds)


def agreement(highlights: Sequence[Highlight], *, seed: int = 0) -> dict[str, Any] | None:
    """Return the accuracy of the decision and the AUC of the score, with 95 % bootstrap intervals.

    Texts without a label, or with the label 0, do not count; None if none remains. Without labels of both signs there
    is no AUC.
    """
    with_label = labeled(highlights)
    if not with_label:
        return None
    kinds = np.array([highlight.label > 0 for highlight in with_label if highlight.label])
    right = np.array([highlight.is_positive for highlight in with_label]) == kinds
    scores = np.array([highlight.score for highlight in with_label])
    both = bool(kinds.any() and not kinds.all())
    return {
        "texts": len(with_label),
        "positive": int(kinds.sum()),
        "accuracy": asdict(bootstrap_interval([right.astype(float)], _mean, seed=seed)),
        "auc": asdict(bootstrap_interval([scores, kinds.astype(float)], auc, seed=seed)) if both else None,
    }


def read_highlights(path: Path) -> list[Highlight]:
    """Read ``highlight.jsonl``.

    Raises:
        InputError: If a line is not a highlight; names file and line.
    """
    highlights = []
    # Not splitlines(): JSON strings may hold other characters that end lines.
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if line:
            try:
                highlights.append(Highlight.model_validate_json(line))
            except ValidationError as error:
                raise InputError(f"{path}, line {number}: not a highlight ({error.errors()[0]['msg']})") from error
    return highlights


def _mean(*columns: Array, axis: int) -> Array:
    (values,) = columns
    return np.asarray(values.mean(axis=axis))
