"""Read unlabeled texts, on which two language models are aligned."""

from dataclasses import replace
from pathlib import Path

from lmsteer.data.corpus import Corpus
from lmsteer.errors import InputError
from lmsteer.records import Row


def unlabeled_texts(corpus: Corpus | None, path: Path | None, *, n: int) -> tuple[str, list[Row]]:
    """Return a name and distinct texts with label 0: the lines of a file, or the training rows of a corpus.

    Args:
        n: Maximum number of texts, spread evenly over all.

    Raises:
        InputError: If the file cannot be read, or neither is given.
    """
    if path is not None:
        try:
            lines = path.read_text(encoding="utf-8").split("\n")  # splitlines() would split at U+2028 and others
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"texts={path}: cannot be read as UTF-8 text ({error})") from error
        name, rows = path.name, [Row(line.strip(), 0.0) for line in lines]
    elif corpus is not None:
        name, rows = corpus.name, [replace(row, label=0.0) for row in corpus.train]
    else:
        raise InputError("texts: a file or a corpus expected")
    distinct = list(dict.fromkeys(row for row in rows if row.text))
    return name, [distinct[index * len(distinct) // n] for index in range(n)] if len(distinct) > n else distinct
