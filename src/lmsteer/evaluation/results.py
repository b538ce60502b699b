"""Define, read and write ``metrics.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from lmsteer import old_files
from lmsteer.errors import InputError
from lmsteer.evaluation.metric_names import Metric
from lmsteer.storage.atomic_files import atomic_write_lines

Name = Annotated[str, StringConstraints(min_length=1)]
MetricName = Annotated[str, StringConstraints(pattern=r"^[^\s@]+(@[^@]+)?$")]
ROUNDING = 1e-6


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Value(_Record):
    """A measured value with the limits of its 95 % interval over ``n`` prompts.

    Limits are None without an interval (``n`` = 1). ``scorer`` names the scorer or perplexity model, if there is one.
    """

    value: float
    low: float | None
    high: float | None
    n: int = Field(ge=1)
    scorer: str | None

    @model_validator(mode="after")
    def _limits(self) -> Value:
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high are both numbers or both null")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


class Cost(_Record):
    """What a row costs.

    Attributes:
        trained_parameters: Parameters that the fit has set.
        inference_parameters: Parameters held for this strength beyond those of the language model.
        passes: Passes through a body for each token.
        train_rows: Texts that the fit has read, repetitions included; None: unknown.
        train_tokens: Their tokens.
        kl: Mean KL(row || plain) per token on the plain model's texts, in nats.
        kl_p95: The 95th percentile over these tokens.
    """

    trained_parameters: int = Field(ge=0)
    inference_parameters: int = Field(ge=0)
    passes: int = Field(ge=1)
    train_rows: int | None = Field(ge=0)
    train_tokens: int | None = Field(ge=0)
    kl: float = Field(ge=0)
    kl_p95: float = Field(ge=0)


class Unreached(_Record):
    """A budget that a method does not reach in a direction (1 or -1), with the reason."""

    method: Name
    budget: Name
    direction: int
    reason: str


class ResultRow(_Record):
    """The metrics of one model at one strength on one prompt set.

    ``strength`` maps dimensions to values; it is empty for the plain model. ``budget`` is the budget that the strength
    was calibrated to, or empty. ``method`` is ``plain``, ``lm-steer`` or the name of another method; ``settings`` are
    those of the training, without the seed. ``cost`` is None for the plain model and for texts of others. Metrics are
    fractions in [0, 1], perplexities in [1, inf).
    """

    model: str
    method: Name
    seed: int | None
    prompts: str
    strength: dict[Name, float]
    metrics: dict[MetricName, Value]
    budget: str = ""
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    cost: Cost | None = None

    @field_validator("metrics")
    @classmethod
    def _in_range(cls, metrics: dict[str, Value]) -> dict[str, Value]:
        for name, measurement in metrics.items():
            low, high = (0.0, 1.0) if Metric(name).is_fraction else (1.0, float("inf"))
            for number in (measurement.value, measurement.low, measurement.high):
                if number is not None and not low - ROUNDING <= number <= high + ROUNDING:
                    raise ValueError(f"{name} is {number}; a value in [{low:g}, {high:g}] is expected")
        return metrics

    @model_validator(mode="after")
    def _plain_is_unsteered(self) -> ResultRow:
        if self.is_plain and self.strength:
            raise ValueError(f"method plain at strength {self.strength}; the plain model has none")
        return self

    @property
    def is_plain(self) -> bool:
        """Whether this is the plain model, the reference of effects."""
        return self.method == "plain"

    @property
    def label(self) -> str:
        """The name of the row in tables: its strength, or its method without one."""
        label = strength_label(self.strength) or self.method
        return f"{label} ({self.budget})" if self.budget else label


class Result(_Record):
    """The content of ``metrics.json``: the protocol, and one row for each strength and prompt set.

    ``files`` are the sha256 of the files that belong to it, by name; results of earlier versions have none.
    ``unreached`` are the budgets without a row.
    """

    protocol: dict[str, JsonValue]
    rows: list[ResultRow] = Field(min_length=1)
    files: dict[str, str] = Field(default_factory=dict)
    unreached: list[Unreached] = Field(default_factory=list)

    @field_validator("protocol")
    @classmethod
    def _finite(cls, protocol: dict[str, JsonValue]) -> dict[str, JsonValue]:
        json.dumps(protocol, allow_nan=False)
        return protocol

    @field_validator("rows")
    @classmethod
    def _distinct(cls, rows: list[ResultRow]) -> list[ResultRow]:
        seen = set()
        for row in rows:
            key = (row.model, row.method, row.seed, row.prompts, row.budget, *sorted(row.strength.items()))
            if key in seen:
                raise ValueError(f"two rows for {row.model}, {row.prompts}, {row.label}")
            seen.add(key)
        return rows

    @property
    def metrics(self) -> list[Metric]:
        """The metrics of all rows in the order of columns; the first scorer comes before further scorers."""
        return sorted({Metric(name) for row in self.rows for name in row.metrics}, key=lambda m: m.rank)


def strength_label(strength: Mapping[str, float]) -> str:
    """Format a strength with four digits, such as ``sentiment +5, dummy +1``; an empty strength gives ""."""
    return ", ".join(f"{name} {value:+.4g}" if value else f"{name} 0" for name, value in strength.items())


class _File(Result):
    version: Literal[1] = Field(alias="schema")


def read_result(path: Path) -> Result:
    """Read ``metrics.json``.

    Raises:
        InputError: If the file is missing, not JSON, or not of the schema; names the file and the first wrong field.
    """
    try:
        file = _File.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; a metrics.json is expected") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        reason = " ".join(first["msg"].split())
        remedy = "a metrics.json of schema 1 is expected; delete a damaged one, its command writes it again"
        raise InputError(f"{path}, {where}: {reason}; {remedy}") from error
    rows = [row.model_copy(update={"settings": old_files.settings(row.settings)}) for row in file.rows]
    protocol = old_files.protocol(file.protocol)
    return Result(protocol=protocol, rows=rows, files=file.files, unreached=file.unreached)


def write_result(path: Path, result: Result) -> None:
    """Write ``metrics.json`` deterministically."""
    content = {"schema": 1, **result.model_dump(mode="json")}
    for name in ("files", "unreached"):
        if not content[name]:
            del content[name]
    for row in content["rows"]:
        if row["cost"] is None:
            del row["cost"]
    atomic_write_lines(path, [json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)])
