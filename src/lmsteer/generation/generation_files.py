"""What a run wrote, read again: a file that was damaged since is refused, so that nothing is measured on half of it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lmsteer.errors import InputError
from lmsteer.records import Generation, Prompt, read_generations

ExpectedGeneration = tuple[Prompt, dict[str, float], str]
"""A prompt, the strength at which it is continued, and the budget of that."""


def expected_generations(
    prompts: Sequence[Prompt], settings: Sequence[tuple[Mapping[str, float], str]]
) -> list[ExpectedGeneration]:
    """All that is written for prompts at some strengths with their budgets, in the order of the file."""
    return [(prompt, dict(strength), budget) for strength, budget in settings for prompt in prompts]


def read_generation_file(path: Path, expected: Sequence[ExpectedGeneration], *, samples: int) -> list[Generation]:
    """The generations of a file that the program wrote.

    Raises:
        InputError: If it does not hold what is expected, in that order, with ``samples`` continuations each.
    """
    remedy = "delete this file, it is written again"
    try:
        found = read_generations(path)
    except InputError as error:
        raise InputError(f"{error}; {remedy}") from error
    if [(one.prompt, one.strength, one.budget) for one in found] != list(expected):
        raise InputError(f"{path}: damaged: not the {len(expected)} generations that were written; {remedy}")
    if odd := [one.prompt.id for one in found if len(one.texts) != samples]:
        raise InputError(f"{path}: damaged: prompt {odd[0]} has not {samples} continuations; {remedy}")
    return found


def sound_lines(part: Path, prompts: Iterable[Prompt]) -> list[bytes]:
    """The lines of a file, one for each prompt, up to the first that is cut or damaged."""
    lines = part.read_bytes().split(b"\n")[:-1] if part.exists() else []
    sound = itertools.takewhile(lambda pair: _is_of(pair[1], pair[0]), zip(lines, prompts, strict=False))
    return [line for line, _ in sound]


def _is_of(prompt: Prompt, line: bytes) -> bool:
    try:
        found = json.loads(line)
        return (found["id"], found["prompt"]["text"]) == (prompt.id, prompt.text)
    except (ValueError, KeyError, TypeError):
        return False
