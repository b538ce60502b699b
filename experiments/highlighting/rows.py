"""Which texts the study judges a steer by, and what counts as positive."""

from __future__ import annotations

import html
from collections.abc import Iterable

from lmsteer.data.corpus import Corpus, share_of, text_key
from lmsteer.data.prompts.prompt_sets import CLEAR
from lmsteer.embedded.archives import embedded_file
from lmsteer.records import Row
from lmsteer.scoring.scorer_rows import WEAK

GROUPS = {f"label beyond ±{WEAK:g}": WEAK, f"label beyond ±{CLEAR:g}": CLEAR, "label not 0": 0.0}
"""Rows that count, by the least distance of their label from 0; the first group is the main one."""


def amazon(corpus: Corpus, most: int) -> list[Row]:
    """Rated sentences of product reviews (Hutto and Gilbert, 2014) that are not in a corpus: a fixed choice.

    The label is the mean human rating of -4 to 4, divided by 4, as in the movie rows.
    """
    known = {text_key(row.text) for part in (corpus.train, corpus.dev, corpus.scorer_split) for row in part}
    lines = embedded_file("amazonReviewSnippets_GroundTruth.txt").read_text(encoding="utf-8").split("\n")
    rows: dict[str, Row] = {}
    for line in lines:
        if line.strip():
            _, rating, text = line.rstrip("\r").split("\t")
            rows.setdefault(text_key(text), Row(html.unescape(text).strip(), float(rating) / 4))
    return by_hash([row for key, row in rows.items() if key not in known], most)


def by_hash(rows: Iterable[Row], most: int | None) -> list[Row]:
    """Rows with a label other than 0, at most so many, by a hash of their text."""
    return sorted((row for row in rows if row.label), key=lambda row: share_of(row.text))[:most]
