"""Texts from a file or from standard input, with or without labels."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmsteer.data.corpus import text_key
from lmsteer.data.readers.messages import get_answered
from lmsteer.data.readers.table import get_number, get_text
from lmsteer.errors import InputError
from lmsteer.records import Turns, parse_jsonl, refuse_special_file

STDIN = "-"
"""The file name that means standard input."""


@dataclass(frozen=True)
class Text:
    """A text, its label in [-1, 1] if it has one, its location ("FILE, line N"), and the turns that it answers."""

    text: str
    label: float | None
    where: str
    turns: Turns = ()


def read_texts(file: str) -> list[Text]:
    """Read the texts of a file, or of standard input for ``-``: one per line, or JSONL.

    A file is JSONL if its name ends in ``.jsonl``, standard input if it begins with a brace. A line of JSONL is
    ``{"text"}``, or for an answer to a question ``{"question", "answer"}`` or ``{"messages"}`` (see docs/chat.md), each
    perhaps with a ``label`` in [-1, 1].

    Raises:
        InputError: If it cannot be read, is empty, or a line has no text or a label out of range; names file and line.
    """
    name = "standard input" if file == STDIN else file
    if file != STDIN:
        refuse_special_file(Path(file).expanduser())
    try:
        raw = sys.stdin.buffer.read() if file == STDIN else Path(file).expanduser().read_bytes()
        content = raw.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {name}: {error}; a UTF-8 file of texts expected") from error
    is_jsonl = content.lstrip().startswith("{") if file == STDIN else file.lower().endswith(".jsonl")
    texts = list(_parse_objects(content, name) if is_jsonl else _parse_lines(content, name))
    if not texts:
        raise InputError(f"{name} is empty; a text on each line expected")
    if {text.label for text in texts if text.label is not None} == {0.0, 1.0}:
        raise InputError(f"{name}: labels are 0 and 1; the class is the sign of a label, so -1 and 1 are expected")
    return texts


def refuse_shared(texts: Sequence[Text], dev: Sequence[Text]) -> None:
    """Refuse texts that are among those on which a threshold is chosen.

    Raises:
        InputError: If one is, ignoring case, spacing and punctuation; names both locations.
    """
    dev_locations = {text_key(text.text): text.where for text in dev}
    for text in texts:
        if (where := dev_locations.get(text_key(text.text))) is not None:
            raise InputError(f"{text.where}: same text as {where}; the threshold must be chosen on other texts")


def _parse_lines(content: str, name: str) -> Iterator[Text]:
    # Not splitlines(), which also splits at U+2028 and others.
    lines = content.split("\n")
    for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines, 1):
        where = f"{name}, line {number}"
        yield Text(get_text({"text": line.removesuffix("\r")}, "text", where), None, where)


def _parse_objects(content: str, name: str) -> Iterator[Text]:
    for number, value in parse_jsonl(content, name):
        where = f"{name}, line {number}"
        label = None if value.get("label") is None else get_number(value, "label", where)
        if label is not None and not -1 <= label <= 1:
            raise InputError(f"{where}: label is {label:g}; allowed are numbers from -1 to 1")
        if "answer" in value or "messages" in value:
            *turns, (_, answer) = get_answered(value, where)
            yield Text(answer, label, where, tuple(turns))
        else:
            yield Text(get_text(value, "text", where), label, where)
