"""Define and read ``interpretation.json``, the interpretation of a steer."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from lmsteer import old_files
from lmsteer.errors import InputError
from lmsteer.metrics.intervals import Interval


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Word(_Record):
    """A word and its projection."""

    word: str
    value: float


class Words(_Record):
    """Words at the two ends of a direction, the outermost first."""

    plus: list[Word]
    minus: list[Word]


class Excerpt(_Record):
    """The end of a context, the token that came next, and the projection of the context on a direction."""

    text: str
    next: str
    value: float


class Excerpts(_Record):
    """Contexts at the two ends of a direction, the outermost first; at most one of each text."""

    plus: list[Excerpt]
    minus: list[Excerpt]


class Direction(_Record):
    """One singular direction of a steer, with the sign that makes its mean activation positive.

    Attributes:
        number: Rank by singular value, from 1.
        size: Singular value.
        energy: Share of W's squared Frobenius norm.
        evidence: Share of the evidence that separates the labels; negative if it is against them.
        auc: Probability that a text with a label above 0 has more of its evidence than one below 0.
        as_constant: The same if the direction acted equally in all contexts, at its mean activation.
        activation: Mean of ``c . v`` over contexts.
        acting: Share of contexts where ``c . v`` is above 0, so that plus words are raised at positive strength.
        change: Root mean square change of a logit at strength 1, over contexts and words of the texts.
        output: Words by ``u . e``: raised and lowered ones where ``c . v`` is above 0.
        context: Words by ``v . e``.
        contexts: Contexts by ``v . c``.
    """

    number: int = Field(ge=1)
    size: float
    energy: float
    evidence: float
    auc: Interval
    as_constant: float
    activation: float
    acting: float
    change: float
    output: Words
    context: Words
    contexts: Excerpts


class CumulativeAuc(_Record):
    """AUC of the evidence of the first ``k`` directions together."""

    k: int
    auc: Interval


class Chance(_Record):
    """Minimum and maximum AUC of the first 1, 2, … directions of random matrices with the same singular values."""

    draws: int
    low: list[float]
    high: list[float]


class Interpretation(_Record):
    """All values of ``interpretation.json``.

    Attributes:
        facts: Facts about the steer and the texts, by name.
        effective_rank: ``exp`` of the entropy of the energy.
        participation_ratio: ``1 / sum energy^2``.
        holding: Directions that hold 90 % of the energy.
        sizes: Singular values in descending order; all lists follow it.
        energy: Share of each direction in their squares.
        evidence: Share of each direction in the separation of the labels; they sum to 1.
        separation: Difference of the mean evidence of texts above and below 0, in nats per unit of strength.
        auc: Of each direction alone.
        cumulative: Of the first 1, 2, … directions together.
        cumulative_auc: Some of these with their intervals; all directions last.
        as_constant: AUC of all together if each acted equally in all contexts: the matrix as a constant vector.
        overall: Words by the change of their logit at strength 1 in the mean context, all directions together.
        directions: The largest directions.
    """

    facts: dict[str, JsonValue]
    effective_rank: float
    participation_ratio: float
    holding: int
    sizes: list[float]
    energy: list[float]
    evidence: list[float]
    separation: float
    auc: list[float]
    cumulative: list[float]
    cumulative_auc: list[CumulativeAuc] = Field(min_length=1)
    as_constant: Interval
    chance: Chance | None
    overall: Words
    directions: list[Direction]


def read_interpretation(path: Path) -> Interpretation:
    """Read ``interpretation.json``.

    Raises:
        InputError: If it cannot be read or is another file.
    """
    try:
        record = old_files.interpretation(json.loads(path.read_bytes()))
        return Interpretation.model_validate(record)
    except (OSError, ValueError, TypeError, AttributeError) as error:  # pydantic's is a ValueError
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{path}: no interpretation.json of src.interpret ({reason})") from error
