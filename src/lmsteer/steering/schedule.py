"""Schedules: the strength of a dimension as a function of the text so far, or of the prompt.

Shapes: N rows, D width, K dimensions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from lmsteer.behaviours.sentences import split_sentences
from lmsteer.behaviours.word_count import count_words
from lmsteer.errors import InputError
from lmsteer.models.mixture import TextsSoFar
from lmsteer.steering.dimensions import DUMMY, is_strength

if TYPE_CHECKING:
    from lmsteer.steering.steer import Steer

Unit = Literal["tokens", "words", "sentences"]


@dataclass(frozen=True, kw_only=True)
class CountSchedule:
    """Change a strength with the number of tokens, words or sentences that the text has so far.

    The strength has the factor ``before`` at ``begin`` and below, and 1 from ``end`` on; it is linear in between. If
    both are equal, the factor is 1 from there on. Words and sentences are those of ``lmsteer.behaviours``; a word or
    sentence that is being written counts.

    Attributes:
        begin: Count of 0 or more at which the strength begins to change.
        end: Count from which the strength is the whole one, ``begin`` or more. None: ``begin``.
        before: Factor before; 0 is the plain model, and -1 the opposite of the steer.

    Example:
        >>> ramp = CountSchedule(unit="tokens", begin=10, end=20)
        >>> [ramp.factor(count) for count in (0, 10, 15, 20, 90)]
        [0.0, 0.0, 0.5, 1.0, 1.0]
    """

    unit: Unit
    begin: int
    end: int | None = None
    before: float = 0.0

    def __post_init__(self) -> None:
        if self.unit not in get_args(Unit):
            raise InputError(f"schedule unit={self.unit!r}: one of {', '.join(get_args(Unit))} expected")
        if not 0 <= self.begin <= (self.begin if self.end is None else self.end):
            raise InputError(f"schedule begin={self.begin}, end={self.end}: 0 <= begin <= end expected")
        if not is_strength(self.before):
            raise InputError(f"schedule before={self.before}: a finite float32 number expected")

    def factor(self, count: int) -> float:
        """Return the factor of the strength at a count."""
        end = self.begin if self.end is None else self.end
        if count >= end:
            return 1.0
        share = max(0, count - self.begin) / max(1, end - self.begin)
        return self.before + share * (1.0 - self.before)

    def factors(self, so_far: TextsSoFar) -> Tensor:
        """Return the factors (N,) of rows."""
        counted: Sequence[Any] = so_far.tokens if self.unit == "tokens" else so_far.texts
        return torch.tensor([self.factor(COUNTS[self.unit](one)) for one in counted])

    def __str__(self) -> str:
        end = "" if self.end is None else f" to {self.end}"
        return f"{self.before:g} before {self.begin}{end} {self.unit}"


COUNTS: dict[Unit, Callable[[Any], int]] = {
    "tokens": len,
    "words": count_words,
    "sentences": lambda text: len(split_sentences(text)),
}
"""Count of a text, or of its tokens, by unit."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Steer only after prompts on which a probe fires: a linear classifier of the plain model's last hidden state.

    Attributes:
        weight: Weights of the D numbers of the hidden state after the prompt.
        bias: The gate is open if the weighted sum and the bias are above 0.

    Example:
        >>> Gate(weight=(1.0, -1.0), bias=0.5).is_open(torch.tensor([[1.0, 1.0], [0.0, 1.0]])).tolist()
        [True, False]
    """

    weight: tuple[float, ...]
    bias: float = 0.0

    def __post_init__(self) -> None:
        if not self.weight or not all(map(is_strength, (*self.weight, self.bias))):
            raise InputError("schedule gate: a probe of finite float32 numbers expected")

    @cached_property
    def _weight(self) -> Tensor:
        return torch.tensor(self.weight)

    def is_open(self, prompt_ND: Tensor) -> Tensor:
        """Return whether the gate is open (N,) after prompts."""
        opened: Tensor = prompt_ND.float() @ self._weight.to(prompt_ND.device) + self.bias > 0
        return opened

    def factors(self, so_far: TextsSoFar) -> Tensor:
        """Return the factors (N,) of rows: 1 where the gate is open, else 0."""
        return self.is_open(so_far.prompt_ND).float()

    def __str__(self) -> str:
        return "gate"


Schedule = CountSchedule | Gate
KINDS: dict[str, type[Schedule]] = {"count": CountSchedule, "gate": Gate}
"""Classes by their name in steer files."""


def constant() -> None:
    """Return no schedule: the strength is the same at every token."""


def factors(steer: Steer, so_far: TextsSoFar) -> Tensor:
    """Return the factors (N, K) of the strengths of a steer; 1 where a dimension has no schedule."""
    factor_NK = torch.ones(len(so_far.tokens), len(steer.dimensions), device=so_far.prompt_ND.device)
    for name, schedule in steer.schedules.items():
        factor_NK[:, steer.dimensions.index(name)] = schedule.factors(so_far).to(factor_NK.device)
    return factor_NK


def with_schedules(steer: Steer, schedules: Mapping[str, Schedule]) -> Steer:
    """Return a copy of a steer whose dimensions follow schedules, by name, in place of those that it has.

    Raises:
        InputError: If a name is not an attribute of the steer, or a gate is of another width.

    Example:
        >>> from lmsteer.steering.steer import Steer
        >>> steer = Steer(8, dimensions=["end"], rank=2)
        >>> with_schedules(steer, {"end": CountSchedule(unit="words", begin=40)}).settings()["schedule"]
        'end: 0 before 40 words'
    """
    for name, schedule in schedules.items():
        if name not in steer.dimensions or name == DUMMY:
            names = ", ".join(steer.dimensions[k] for k in steer.attributes)
            raise InputError(f"schedule of {name!r}: the attributes of the steer are {names}")
        if isinstance(schedule, Gate) and len(schedule.weight) != steer.width:
            raise InputError(f"schedule of {name!r}: a gate of width {len(schedule.weight)}; {steer.width} expected")
    scheduled = copy.deepcopy(steer)
    scheduled.schedules = dict(schedules)
    return scheduled


def to_entry(schedule: Schedule) -> dict[str, Any]:
    """Return a schedule as the entry of a steer file."""
    (kind,) = (name for name, one in KINDS.items() if isinstance(schedule, one))
    return {"kind": kind, **asdict(schedule)}


def from_entry(entry: Mapping[str, Any]) -> Schedule:
    """Return the schedule of an entry, whose kinds ``metadata.fault`` has checked.

    Raises:
        InputError: If a number is out of its range.
    """
    options: dict[str, Any] = {name: value for name, value in entry.items() if name != "kind"}
    if "weight" in options:
        options["weight"] = tuple(options["weight"])
    return KINDS[entry["kind"]](**options)
