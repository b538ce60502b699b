"""Texts without labels, for what compares language models."""

from __future__ import annotations

from pathlib import Path

from lmsteer.data.corpus import Corpus
from lmsteer.errors import InputError


def unlabelled(corpus: Corpus | None, path: Path | None, *, n: int) -> tuple[str, list[str]]:
    """Name and texts: the lines of a file, else the training texts of a corpus, whose labels are not looked at.

    Args:
        n: How many at most, spread evenly over all.

    Raises:
        InputError: If the file cannot be read, or there is nothing to read.
    """
    if path is not None:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"texts={path}: cannot be read as UTF-8 text ({error})") from error
        name, found = path.name, [line.strip() for line in lines]
    elif corpus is not None:
        name, found = corpus.name, [row.text for row in corpus.train]
    else:
        raise InputError("texts: a file or a corpus expected")
    distinct = list(dict.fromkeys(text for text in found if text))
    return name, [distinct[place * len(distinct) // n] for place in range(n)] if len(distinct) > n else distinct
