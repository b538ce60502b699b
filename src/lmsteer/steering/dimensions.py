"""Names of the dimensions of a steer, and their strengths."""

from collections.abc import Mapping, Sequence

from lmsteer.errors import InputError

DUMMY = "dummy"
"""Name of the dimension that is always on in training and absorbs the corpus' own style (paper, section 3)."""
MAX_FLOAT32 = 3.4028234663852886e38


def is_strength(value: float) -> bool:
    """Return whether a number is finite in float32."""
    return abs(value) <= MAX_FLOAT32


def check_strengths(strength: Mapping[str, float], dimensions: Sequence[str]) -> None:
    """Refuse strengths of unknown dimensions and those that are not finite.

    Raises:
        InputError: Naming the strength.
    """
    for name, value in strength.items():
        if name not in dimensions:
            raise InputError(f"strength {name}={value}: the steer's dimensions are {', '.join(dimensions)}")
        if not is_strength(value):
            raise InputError(f"strength {name}={value}: a finite float32 number expected")


def check_dimensions(dimensions: Sequence[str]) -> tuple[str, ...]:
    """Check that names are non-empty and distinct, and return them as a tuple."""
    names = tuple(dimensions)
    if not names or len(set(names)) != len(names) or not all(isinstance(name, str) and name for name in names):
        raise InputError(f"steer dimensions {list(names)}: one or more distinct non-empty names expected")
    return names
