"""Declare the metrics of ``metrics.json``: headings, ranges, directions and how values are computed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from lmsteer.metrics.intervals import Statistic
from lmsteer.metrics.prompt_statistics import corpus_perplexity, mean

if TYPE_CHECKING:
    from lmsteer.metrics.classes import PromptMetric


@dataclass(frozen=True, kw_only=True)
class MetricFacts:
    """The facts of one metric. To add a metric, add an entry to ``METRICS``.

    Attributes:
        name: Name in ``metrics.json``.
        words: Name in a sentence.
        group: What it measures. The input of ``build().update`` is scores (attribute), nll and tokens (fluency), or
            texts (diversity).
        kind: Name of the class in ``lmsteer.metrics.classes``, which accumulates values of prompts.
        n: Argument of that class, if it takes one.
        statistic: Function that reduces the values of prompts to the metric.
        higher_is_better: Direction in which the metric improves. None: neither.
        is_fraction: Whether values lie in [0, 1] rather than [1, inf).
        attribute: The protocol's ``metric`` that includes this one; empty for other groups.
        scores_prompt: Whether scorers read the prompt with its continuation, rather than the continuation alone.
        may_offend: Whether texts that are written to measure it may offend, so that pages warn of them.
        takes_limit: Whether ``build`` takes the protocol's limit on perplexities.
    """

    name: str
    words: str
    group: Literal["attribute", "fluency", "diversity"]
    kind: str
    n: int | None = None
    statistic: Statistic = mean
    higher_is_better: bool | None = None
    is_fraction: bool = True
    attribute: str = ""
    scores_prompt: bool = True
    may_offend: bool = False
    takes_limit: bool = False

    def build(self, **options: Any) -> PromptMetric:
        """Make the metric; torchmetrics is imported only here."""
        from lmsteer.metrics import classes

        arguments = [] if self.n is None else [self.n]
        metric: PromptMetric = getattr(classes, self.kind)(*arguments, **options)
        return metric

    @property
    def heading(self) -> str:
        """Name in the head of a column, with an arrow in the direction of improvement."""
        return self.words + {True: " ↑", False: " ↓", None: ""}[self.higher_is_better]


METRICS = {
    facts.name: facts
    for facts in (
        MetricFacts(
            name="positivity", words="positivity", group="attribute", attribute="positivity", kind="ShareAbove",
            higher_is_better=True,
        ),
        MetricFacts(
            name="expected_maximum_toxicity", words="expected max toxicity", group="attribute", attribute="toxicity",
            kind="ExpectedMaximumScore", higher_is_better=False, scores_prompt=False, may_offend=True,
        ),
        MetricFacts(
            name="toxicity_probability", words="toxicity probability", group="attribute", attribute="toxicity",
            kind="ExceedanceProbability", higher_is_better=False, scores_prompt=False, may_offend=True,
        ),
        MetricFacts(
            name="behaviour_accuracy", words="behaviour accuracy", group="attribute", attribute="behaviour",
            kind="ShareAbove", higher_is_better=True, scores_prompt=False,
        ),
        MetricFacts(
            name="perplexity", words="perplexity", group="fluency", kind="MeanPerplexity", higher_is_better=False,
            is_fraction=False, takes_limit=True,
        ),
        MetricFacts(
            name="perplexity_corpus", words="corpus perplexity", group="fluency", kind="CorpusPerplexity",
            statistic=corpus_perplexity, higher_is_better=False, is_fraction=False,
        ),
        *(
            MetricFacts(name=f"dist_{n}", words=f"dist-{n}", group="diversity", kind="DistinctNgrams", n=n)
            for n in (1, 2, 3)
        ),
    )
}  # fmt: skip
"""Facts by name, in the order of columns."""


@dataclass(frozen=True)
class Metric:
    """A metric by its name: ``positivity``, or ``positivity@NAME`` for a further scorer.

    A name that ``METRICS`` lacks is an attribute: a share of texts, without a direction.

    Example:
        >>> Metric("positivity@word list").heading
        'positivity ↑ (word list)'
    """

    name: str

    @property
    def base(self) -> str:
        """The name without the scorer."""
        return self.name.partition("@")[0]

    @property
    def scorer(self) -> str:
        """The further scorer; empty for the first scorer."""
        return self.name.partition("@")[2]

    @property
    def facts(self) -> MetricFacts:
        """The declared facts, or those of an undeclared attribute."""
        name = self.base
        return METRICS.get(name) or MetricFacts(
            name=name, words=name.replace("_", " "), group="attribute", attribute=name, kind="ShareAbove"
        )

    @property
    def is_attribute(self) -> bool:
        """Whether it measures the steered attribute, rather than fluency or diversity."""
        return self.facts.group == "attribute"

    @property
    def may_offend(self) -> bool:
        """Whether texts that are written to measure it may offend."""
        return self.facts.may_offend

    @property
    def is_fraction(self) -> bool:
        """Whether values lie in [0, 1]."""
        return self.facts.is_fraction

    @property
    def words(self) -> str:
        """The name in a sentence, without direction and scorer."""
        return self.facts.words

    @property
    def heading(self) -> str:
        """The name in the head of a column; an arrow points in the direction of improvement."""
        return f"{self.facts.heading} ({self.scorer})" if self.scorer else self.facts.heading

    @property
    def statistic(self) -> Statistic:
        """The function that computes the metric from its values for each prompt."""
        return self.facts.statistic

    @property
    def rank(self) -> tuple[int, str, int, str]:
        """A sorting key: attributes by scorer, the first scorer first; then fluency and diversity."""
        order = list(METRICS)
        if self.is_attribute:
            return (0, self.scorer, order.index(self.base) if self.base in order else -1, self.base)
        return (1, "", order.index(self.base), self.name)


def attribute_metrics(attribute: str) -> list[MetricFacts]:
    """Return the metrics that a protocol's ``metric`` includes."""
    return [facts for facts in METRICS.values() if facts.attribute == attribute] or [
        replace(Metric(attribute).facts, kind="ShareAbove")
    ]
