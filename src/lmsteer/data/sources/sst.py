"""The Stanford Sentiment Treebank with five labels or two (Socher et al., 2013)."""

from __future__ import annotations

from typing import Literal

from lmsteer.data.corpus import Corpus
from lmsteer.data.readers.hub import labelled_parts
from lmsteer.data.readers.table import number_of, text_of
from lmsteer.data.splits import corpus_of_parts
from lmsteer.errors import InputError
from lmsteer.records import Row

INSTEAD = "data.path=FILE-or-folder, or data=snippets, which is embedded"

_Raw = dict[str, list[tuple[str, str, int]]]
"""By part: place, text, and label as the source writes it."""


def sst5(*, path: str | None = None, labels: Literal["five", "binary"] = "five") -> Corpus:
    """SST-5 with labels -1, -0.5, 0, 0.5 and 1.

    Args:
        path: A file or folder with columns text and label (0 to 4, or 1 to 5); None for ``SetFit/sst5`` of the hub.
        labels: ``binary`` drops the neutral sentences and takes the sign of the others.

    Raises:
        InputError: If the source cannot be loaded, a row is malformed, or the labels fit neither or both scales.
    """
    raw = _raw("SetFit/sst5", path, ("text",), range(6))
    lowest = _lowest(raw, path or "SetFit/sst5")
    rows = {part: [Row(text, (label - lowest) / 2 - 1) for _, text, label in found] for part, found in raw.items()}
    if labels == "binary":
        rows = {
            part: [Row(row.text, 1.0 if row.label > 0 else -1.0) for row in found if row.label]
            for part, found in rows.items()
        }
    return corpus_of_parts("sst5" if labels == "five" else "sst5-binary", rows)


def sst2(*, path: str | None = None) -> Corpus:
    """SST-2 with labels -1 and 1.

    Args:
        path: A file or folder with columns sentence (or text) and label (0 or 1; -1 where the label is hidden, as in
            the hub's test part: those rows are left out); None for ``stanfordnlp/sst2`` of the hub.

    Raises:
        InputError: If the source cannot be loaded or a row is malformed.
    """
    raw = _raw("stanfordnlp/sst2", path, ("sentence", "text"), range(-1, 2))
    rows = {part: [Row(text, 2.0 * label - 1) for _, text, label in found if label >= 0] for part, found in raw.items()}
    return corpus_of_parts("sst2", rows)


def _raw(id: str, path: str | None, texts: tuple[str, ...], allowed: range) -> _Raw:
    parts = labelled_parts(id, columns=("label",), either=texts, instead=INSTEAD, path=path)
    raw: _Raw = {}
    for part, rows in parts.items():
        raw[part] = []
        for where, row in rows:
            label = number_of(row, "label", where)
            if label not in allowed:
                raise InputError(
                    f"{where}: label is {label:g}; allowed are whole numbers {allowed[0]} to {allowed[-1]}"
                )
            column = next(name for name in texts if name in row)
            raw[part].append((where, text_of(row, column, where).strip(), int(label)))
    return raw


def _lowest(raw: _Raw, source: str) -> int:
    """0 or 1: the lowest label of the scale. One row cannot tell, the whole set can."""
    places = {label: where for rows in raw.values() for where, _, label in rows}
    if 0 in places and 5 in places:
        raise InputError(f"{source}: label 0 ({places[0]}) and label 5 ({places[5]}); allowed are 0 to 4, or 1 to 5")
    if 0 not in places and 5 not in places:
        raise InputError(f"{source}: neither label 0 nor label 5, so the scale may be 0 to 4 or 1 to 5; add such a row")
    return 0 if 0 in places else 1
