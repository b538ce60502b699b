"""The rows that scorers are fitted on: one choice for all of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from lmsteer.data.corpus import Corpus, text_key
from lmsteer.errors import InputError
from lmsteer.records import Row

WEAK = 0.1
"""Rows with a label nearer to 0 are left out: their sign is noise."""
FEWEST = 50
"""Fewest rows a scorer is fitted on."""


@dataclass(frozen=True)
class Examples:
    """Rows of the ``scorer_split`` part of a corpus with a clear label; positive are those with a label > 0.

    Raises:
        InputError: If fewer than 50 scorer_split rows have a clear label, or all have the same sign.
    """

    rows: tuple[Row, ...]

    @classmethod
    def of(cls, corpus: Corpus, *, scorer: str) -> Examples:
        """Those of a corpus; ``scorer`` is who asks, for the message."""
        rows = tuple(row for row in corpus.scorer_split if abs(row.label) >= WEAK)
        positive = sum(row.label > 0 for row in rows)
        if len(rows) < FEWEST or positive in (0, len(rows)):
            raise InputError(
                f"scorer {scorer}: corpus {corpus.name} has {len(rows)} scorer_split rows with |label| >= {WEAK}, "
                f"{positive} positive; at least {FEWEST} expected, some of each sign"
            )
        return cls(rows)

    @property
    def texts(self) -> list[str]:
        """What is read."""
        return [row.text for row in self.rows]

    @property
    def positive(self) -> list[bool]:
        """What is to be told."""
        return [row.label > 0 for row in self.rows]

    def reserved(self) -> frozenset[str]:
        """``text_key`` of each text, which a steer must not train on."""
        return frozenset(text_key(row.text) for row in self.rows)

    def digest(self) -> str:
        """Of all rows, in order."""
        state = hashlib.sha256()
        for row in self.rows:
            state.update(f"{row.label!r}\t{row.text}\n".encode())
        return state.hexdigest()[:12]
