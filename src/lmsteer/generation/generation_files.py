"""Read a file of generations and check that it is complete, so that nothing is measured on half of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lmsteer.errors import InputError
from lmsteer.records import Generation, Prompt, read_generations

ExpectedGeneration = tuple[Prompt, dict[str, float], str]
"""A prompt, the strength at which it is continued, and the name of the budget of that strength."""


def expected_generations(
    prompts: Sequence[Prompt], settings: Sequence[tuple[Mapping[str, float], str]]
) -> list[ExpectedGeneration]:
    """List the generations of prompts at strengths with their budgets, in the order of the file."""
    return [(prompt, dict(strength), budget) for strength, budget in settings for prompt in prompts]


def read_generation_file(path: Path, expected: Sequence[ExpectedGeneration], *, samples: int) -> list[Generation]:
    """Read generations and check them.

    Raises:
        InputError: If it does not hold what is expected, in that order, with ``samples`` continuations each.
    """
    remedy = "delete this file, it is written again"
    try:
        generations = read_generations(path)
    except InputError as error:
        raise InputError(f"{error}; {remedy}") from error
    if [(one.prompt, one.strength, one.budget) for one in generations] != list(expected):
        raise InputError(f"{path}: damaged: not the {len(expected)} generations that were written; {remedy}")
    if odd := [one.prompt.id for one in generations if len(one.texts) != samples]:
        raise InputError(f"{path}: damaged: prompt {odd[0]} has not {samples} continuations; {remedy}")
    return generations
