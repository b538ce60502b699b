"""The measured time of decoding with each method over that of the plain model, from the result of the speed study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lmsteer.errors import InputError
from lmsteer.reporting.comparison import ComparisonRow


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class _Method(_Record):
    method: str
    passes: int
    inference_parameters: int
    median: Annotated[float, Field(gt=0)]


class _Model(_Record):
    name: str


class MeasuredSpeed(_Record):
    """The entries that tables need of ``methods.json``, which ``python -m experiments.speed.methods`` writes."""

    model: _Model
    methods: Mapping[str, _Method]

    def ratio(self, row: ComparisonRow) -> float | None:
        """Return the time over the plain model's; None unless what was measured is of the row's model and costs.

        Costs are passes a token and parameters held: a prompt of another strength than 1 takes two passes, and experts
        may be adapters or whole copies.
        """
        costs = {(cost.passes, cost.inference_parameters) for cost in row.costs}
        measured = (
            one.median
            for one in self.methods.values()
            if one.method == row.method and costs == {(one.passes, one.inference_parameters)}
        )
        return next(measured, None) if self.model.name == row.model else None


def read_speed(path: Path) -> MeasuredSpeed:
    """Read the result of the speed study.

    Raises:
        InputError: If the file is missing or not such a result; names the file and the first wrong field.

    Example:
        >>> read_speed(Path("missing.json"))
        Traceback (most recent call last):
        lmsteer.errors.InputError: speed=missing.json: No such file or directory; ...
    """
    expected = "a methods.json of experiments.speed.methods expected"
    try:
        return MeasuredSpeed.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"speed={path}: {error.strerror}; {expected}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise InputError(f"speed={path}: {where}: {first['msg']}; {expected}") from error
