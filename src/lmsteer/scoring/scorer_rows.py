"""Rows on which scorers are fitted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from lmsteer.data.corpus import Corpus, text_key
from lmsteer.errors import InputError
from lmsteer.records import Row

MIN_LABEL = 0.1
"""Smallest |label| of a row; the sign of smaller ones is noise."""
MIN_ROWS = 50
"""Fewest rows to fit a scorer."""


@dataclass(frozen=True)
class Examples:
    """Rows of the scorer split of a corpus with a clear label; a label above 0 is positive.

    Raises:
        InputError: If fewer than 50 rows of the scorer split have a clear label, or all have the same sign.
    """

    rows: tuple[Row, ...]

    @classmethod
    def of(cls, corpus: Corpus, *, scorer: str) -> Examples:
        """Select the rows of a corpus; ``scorer`` is the name of the scorer for error messages."""
        rows = tuple(row for row in corpus.scorer_split if abs(row.label) >= MIN_LABEL)
        positive = sum(row.label > 0 for row in rows)
        if len(rows) < MIN_ROWS or positive in (0, len(rows)):
            raise InputError(
                f"scorer {scorer}: corpus {corpus.name} has {len(rows)} scorer_split rows with |label| >= {MIN_LABEL}, "
                f"{positive} positive; at least {MIN_ROWS} expected, some of each sign"
            )
        return cls(rows)

    @property
    def texts(self) -> list[str]:
        """Texts of the rows."""
        return [row.text for row in self.rows]

    @property
    def positive(self) -> list[bool]:
        """Whether each label is positive."""
        return [row.label > 0 for row in self.rows]

    def reserved(self) -> frozenset[str]:
        """Return the ``text_key`` of each text, on which a steer must not train."""
        return frozenset(text_key(row.text) for row in self.rows)

    def digest(self) -> str:
        """Return the sha256 of all rows, in order."""
        state = hashlib.sha256()
        for row in self.rows:
            state.update(f"{row.label!r}\t{row.text}\n".encode())
        return state.hexdigest()[:12]
