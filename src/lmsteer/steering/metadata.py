"""The schema of the metadata of steer files; it needs neither torch nor a package of schemas."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

Number = int | float
METADATA: dict[str, Any] = {
    "width": int,
    "dimensions": list[str],
    "rank": int | str,
    "epsilon": Number,
    "bias": bool,
    "model": str,
    "fingerprint": str,
    "commit": str,
    "meaning": dict[str, str],
    "corpus": dict[str, Any],
    "seed": int | None,
    "versions": dict[str, str],
    "training": dict[str, Any],
    "calibration": list[dict[str, Any]],
    "derivation": dict[str, Any],
}
CURVE = dict[str, list[list[Number]]]
"""Lists of (step, nats), by split."""
TRAINING: dict[str, Any] = {"curve": CURVE, "curves": dict[str, CURVE], "seen": dict[str, int]}
"""Entries of the training that are read; a file need not have them."""
CALIBRATION = {
    **dict.fromkeys(("protocol", "budget", "dimension"), str),
    "direction": Number,
    "fixed_strengths": dict[str, Number],
    "strength": Number | None,
}
SCHEDULES: dict[str, dict[str, Any]] = {
    "count": {"unit": Literal["tokens", "words", "sentences"], "begin": int, "end": int | None, "before": Number},
    "gate": {"weight": list[Number], "bias": Number},
}
"""Entries of the schedule of a dimension, by its kind."""
SOLVER_RESULT = {"rank": int, "spectrum": list[Number], "null": dict[str, Number], "unit": dict[str, Number]}


def fault(metadata: Mapping[str, Any]) -> str | None:
    """Describe the first entry of the metadata of a steer file that is missing or of another kind; None: all are right.

    Example:
        >>> fault({"width": "wide"})
        "width: int expected, not 'wide'"
    """
    training = metadata.get("training")
    training = training if isinstance(training, dict) else {}
    calibrations, curve = metadata.get("calibration"), training.get("curve", {})
    if is_of_kind(curve, CURVE) and any(len(point) != 2 for points in curve.values() for point in points):
        return "training.curve: pairs of step and loss expected"
    parts = [
        ("", metadata, METADATA),
        ("training.", training, {name: kind for name, kind in TRAINING.items() if name in training}),
        *_solver_result(training),
        *_schedules(metadata.get("schedules", {})),
        *(
            (f"calibration[{index}].", entry, CALIBRATION)
            for index, entry in enumerate(calibrations if isinstance(calibrations, list) else [])
            if isinstance(entry, dict)
        ),
    ]
    faults = (_first_fault(entries, kinds) for _, entries, kinds in parts)
    return next((f"{where}{text}" for (where, *_), text in zip(parts, faults, strict=True) if text), None)


def _solver_result(training: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    if "solver_result" not in training:
        return []
    result = training["solver_result"]
    if not isinstance(result, dict):
        return [("training.", training, {"solver_result": dict[str, Any]})]
    return [("training.solver_result.", result, SOLVER_RESULT)]


def _schedules(schedules: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the parts of the schedules."""
    if not is_of_kind(schedules, dict[str, dict[str, Any]]):
        yield "", {"schedules": schedules}, {"schedules": dict[str, dict[str, Any]]}
        return
    for name, entry in schedules.items():
        kinds = SCHEDULES.get(str(entry.get("kind")), {})
        yield f"schedules[{name!r}].", entry, {"kind": Literal["count", "gate"], **kinds}


def _first_fault(entries: Mapping[str, Any], kinds: Mapping[str, Any]) -> str | None:
    for name, kind in kinds.items():
        if name not in entries:
            return f"{name} is missing"
        if not is_of_kind(entries[name], kind):
            return f"{name}: {getattr(kind, '__name__', kind)} expected, not {str(repr(entries[name]))[:60]}"
    return None


def is_of_kind(value: Any, kind: Any) -> bool:
    """Return whether a value of JSON is of a type; numbers are finite, and true is no number."""
    if kind is Any:
        return True
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return isinstance(value, str | int) and value in arguments
    if origin is dict:
        return isinstance(value, dict) and all(is_of_kind(item, arguments[1]) for item in value.values())
    if origin is list:
        return isinstance(value, list) and all(is_of_kind(item, arguments[0]) for item in value)
    if arguments:
        return any(is_of_kind(value, argument) for argument in arguments)
    if isinstance(value, bool):
        return kind is bool
    kind = Number if kind is float else kind  # JSON writes 32.0 as it likes
    return isinstance(value, kind) and not (isinstance(value, float) and not math.isfinite(value))
