"""The selection of a prompt set from candidates: distinct prompts with distinct ids, in a fixed order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from lmsteer.data.corpus import fill_request, text_key
from lmsteer.data.readers.table import get_text
from lmsteer.errors import InputError
from lmsteer.records import Prompt, Turns


@dataclass(frozen=True)
class PromptSet:
    """Prompts with distinct ids and texts.

    Attributes:
        reserved: Text keys of the rows that the prompts come from: no steer may be trained on them.
        duplicates: Number of texts that were dropped because they are repeated.
    """

    name: str
    prompts: tuple[Prompt, ...]
    reserved: frozenset[str] = frozenset()
    duplicates: int = 0

    def asked(self, request: str) -> PromptSet:
        """Return the set with each plain prompt as a question: the request, with the prompt for ``{text}``."""
        prompts = (prompt if prompt.turns else _question(prompt, request) for prompt in self.prompts)
        return replace(self, prompts=tuple(prompts))


def _question(prompt: Prompt, request: str) -> Prompt:
    question = fill_request(request, prompt.text)
    return Prompt(prompt.id, question, (("user", question),))


@dataclass(frozen=True)
class Candidate:
    """A prompt and the text keys of the rows that it comes from."""

    prompt: Prompt
    reserved: frozenset[str]

    @classmethod
    def from_text(cls, text: str, id: str | None = None, sources: Iterable[str] = (), turns: Turns = ()) -> Candidate:
        """Build a candidate from ``sources``; its id is by default a hash of its text.

        Args:
            turns: Turns of a question, of which ``text`` is the last one.
        """
        id = id or hashlib.sha256(text.encode()).hexdigest()[:16]
        return cls(Prompt(id, text, turns), frozenset(text_key(source) for source in (text, *sources)))

    @classmethod
    def from_row(cls, text: str, row: Mapping[str, object], where: str) -> Candidate:
        """Build a candidate that reserves the row's continuation too, if it has one."""
        continuation = row.get("continuation")
        if not isinstance(continuation, dict) or not continuation.get("text"):
            return cls.from_text(text)
        rest = get_text(continuation, "text", where)
        return cls.from_text(text, sources=[rest, text + rest])


def sort_by_hash(candidates: Iterable[Candidate], seed: int) -> list[Candidate]:
    """Sort candidates in a random order that depends only on the seed and the texts."""
    return sorted(candidates, key=lambda c: hashlib.sha256(f"{seed}\t{c.prompt.text}".encode()).digest())


def select_prompts(name: str, candidates: Iterable[Candidate], n: int | None, skip: int = 0) -> PromptSet:
    """Select the first ``n`` candidates of distinct texts after ``skip``; None: all.

    A prompt reserves the rows of its duplicates too.

    Raises:
        InputError: If ``n`` is below 1, ``skip`` is below 0 or leaves none, or two texts have the same id.
    """
    if n is not None and n < 1:
        raise InputError(f"prompts {name}: n is {n}; allowed are 1 and more, or null for all")
    by_text: dict[str, Candidate] = {}
    duplicates = 0
    for candidate in candidates:
        first = by_text.setdefault(candidate.prompt.text, candidate)
        if first is not candidate:
            duplicates += 1
            by_text[candidate.prompt.text] = replace(first, reserved=first.reserved | candidate.reserved)
    text_by_id: dict[str, str] = {}
    for text, candidate in by_text.items():
        first_text = text_by_id.setdefault(candidate.prompt.id, text)
        if first_text != text:
            raise InputError(f"prompts {name}: {first_text!r} and {text!r} have the same id {candidate.prompt.id!r}")
    if not 0 <= skip < max(1, len(by_text)):
        raise InputError(f"prompts {name}: skip is {skip}; allowed are 0 to {len(by_text) - 1}")
    selected = list(by_text.values())[skip:][:n]
    reserved = frozenset(key for candidate in selected for key in candidate.reserved)
    return PromptSet(name, tuple(candidate.prompt for candidate in selected), reserved, duplicates)
