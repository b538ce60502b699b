"""Behaviours of texts that a program can verify: language, number of words, letter case, number of sentences."""

from lmsteer.behaviours.behaviour import Behaviour
from lmsteer.behaviours.published_behaviours import (
    CATEGORIES,
    HELD_OUT,
    NAMES,
    Combinations,
    combinations,
    find_behaviour,
    verify,
)

__all__ = [
    "CATEGORIES",
    "HELD_OUT",
    "NAMES",
    "Behaviour",
    "Combinations",
    "combinations",
    "find_behaviour",
    "verify",
]
