"""Read unlabeled texts, on which two language models are aligned."""

from pathlib import Path

from lmsteer.data.corpus import Corpus
from lmsteer.errors import InputError


def unlabeled_texts(corpus: Corpus | None, path: Path | None, *, n: int) -> tuple[str, list[str]]:
    """Return a name and texts: the lines of a file, or the training texts of a corpus without their labels.

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
        name, texts = path.name, [line.strip() for line in lines]
    elif corpus is not None:
        name, texts = corpus.name, [row.text for row in corpus.train]
    else:
        raise InputError("texts: a file or a corpus expected")
    distinct = list(dict.fromkeys(text for text in texts if text))
    return name, [distinct[index * len(distinct) // n] for index in range(n)] if len(distinct) > n else distinct
