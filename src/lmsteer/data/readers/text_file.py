"""Texts from a file or from standard input, with labels or without."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmsteer.data.corpus import text_key
from lmsteer.data.readers.table import number_of, text_of
from lmsteer.errors import InputError

STDIN = "-"
"""The name by which standard input goes."""


@dataclass(frozen=True)
class Text:
    """A text, its label in [-1, 1] if it has one, and where it stands ("FILE, line N")."""

    text: str
    label: float | None
    place: str


def read_texts(file: str) -> list[Text]:
    """The texts of a file, or of standard input for ``-``: one a line, or JSONL.

    A file is JSONL if its name ends in ``.jsonl``, standard input if it begins with a brace. A line of JSONL is
    ``{"text"}`` or ``{"text", "label"}``, the label in [-1, 1].

    Raises:
        InputError: If it cannot be read, is empty, or a line has no text or a label out of range; names file and line.
    """
    name = "standard input" if file == STDIN else file
    try:
        raw = sys.stdin.buffer.read() if file == STDIN else Path(file).expanduser().read_bytes()
        content = raw.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {name}: {error}; a UTF-8 file of texts expected") from error
    is_jsonl = content.lstrip().startswith("{") if file == STDIN else file.lower().endswith(".jsonl")
    found = list(_objects(content, name) if is_jsonl else _lines(content, name))
    if not found:
        raise InputError(f"{name} is empty; a text on each line expected")
    labels = {text.label for text in found if text.label is not None}
    if labels == {0.0, 1.0}:
        raise InputError(f"{name}: labels are 0 and 1; the sign of a label is its kind, so -1 and 1 are expected")
    return found


def refuse_shared(texts: Sequence[Text], dev: Sequence[Text]) -> None:
    """Refuse texts of which some are among those that a threshold is chosen on.

    Raises:
        InputError: If one is, case, spacing and punctuation aside; names both places.
    """
    there = {text_key(text.text): text.place for text in dev}
    for text in texts:
        if (place := there.get(text_key(text.text))) is not None:
            raise InputError(f"{text.place}: the text of {place}; a threshold is chosen on other texts than it is for")


def _lines(content: str, name: str) -> Iterator[Text]:
    # Not splitlines(), to which other characters end lines as well.
    lines = content.split("\n")
    for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines, 1):
        place = f"{name}, line {number}"
        yield Text(text_of({"text": line.removesuffix("\r")}, "text", place), None, place)


def _objects(content: str, name: str) -> Iterator[Text]:
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        place = f"{name}, line {number}"
        try:
            value = json.loads(line)
            json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair can be written as JSON
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise InputError(f"{place}: not JSON ({reason}); one object per line expected") from error
        if not isinstance(value, dict):
            raise InputError(f"{place}: a {type(value).__name__}; one JSON object per line expected")
        label = None if value.get("label") is None else number_of(value, "label", place)
        if label is not None and not -1 <= label <= 1:
            raise InputError(f"{place}: label is {label:g}; allowed are numbers from -1 to 1")
        yield Text(text_of(value, "text", place), label, place)
