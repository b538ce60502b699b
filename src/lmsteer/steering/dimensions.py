"""Names of the dimensions of a steer, and their strengths."""

from collections.abc import Sequence

from lmsteer.errors import InputError

DUMMY = "dummy"
"""Name of the dimension that is always on in training and absorbs the corpus' own style (paper, section 3)."""
MAX_FLOAT32 = 3.4028234663852886e38


def is_strength(value: float) -> bool:
    """Return whether a number is finite in float32."""
    return abs(value) <= MAX_FLOAT32


def check_dimensions(dimensions: Sequence[str]) -> tuple[str, ...]:
    """Check that names are non-empty and distinct, and return them as a tuple."""
    names = tuple(dimensions)
    if not names or len(set(names)) != len(names) or not all(isinstance(name, str) and name for name in names):
        raise InputError(f"steer dimensions {list(names)}: one or more distinct non-empty names expected")
    return names
