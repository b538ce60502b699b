"""What a metric's name in ``metrics.json`` stands for."""

from __future__ import annotations

from dataclasses import dataclass

POSITIVITY = {"positivity": "positivity ↑"}
TOXICITY = {"expected_maximum_toxicity": "expected max toxicity ↓", "toxicity_probability": "toxicity probability ↓"}
FLUENCY = {"perplexity": "perplexity ↓", "perplexity_corpus": "corpus perplexity ↓"}
DIVERSITY = {"dist_1": "dist-1", "dist_2": "dist-2", "dist_3": "dist-3"}
KNOWN = POSITIVITY | TOXICITY | FLUENCY | DIVERSITY


@dataclass(frozen=True)
class Metric:
    """A metric by its name: ``positivity``, or ``positivity@NAME`` for a further scorer.

    A name that is in none of the tables above is an attribute: a fraction, without a direction.
    """

    name: str

    @property
    def base(self) -> str:
        """The name without the scorer."""
        return self.name.partition("@")[0]

    @property
    def scorer(self) -> str:
        """The further scorer; empty for the first one."""
        return self.name.partition("@")[2]

    @property
    def is_attribute(self) -> bool:
        """Whether it measures what the steer is for, rather than fluency or diversity."""
        return self.base not in FLUENCY and self.base not in DIVERSITY

    @property
    def is_toxicity(self) -> bool:
        """Whether it measures toxicity, so that texts may offend."""
        return self.base in TOXICITY

    @property
    def is_fraction(self) -> bool:
        """Whether values lie in [0, 1]."""
        return self.base not in FLUENCY

    @property
    def words(self) -> str:
        """The name to be read in a sentence, without direction and scorer."""
        return KNOWN.get(self.base, self.base.replace("_", " ")).rstrip(" ↑↓")

    @property
    def heading(self) -> str:
        """The name to be read over a column; an arrow points to where the metric improves."""
        words = KNOWN.get(self.base, self.base.replace("_", " "))
        return f"{words} ({self.scorer})" if self.scorer else words

    @property
    def rank(self) -> tuple[int, str, int, str]:
        """A sorting key: attributes, fluency, diversity; within an attribute all first scorers, then further ones."""
        order = list(KNOWN)
        if self.is_attribute:
            return (0, self.scorer, order.index(self.base) if self.base in order else -1, self.base)
        return (1, "", order.index(self.base), self.name)
