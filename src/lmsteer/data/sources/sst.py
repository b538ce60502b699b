"""The Stanford Sentiment Treebank with five labels or two (Socher et al., 2013)."""

from typing import Literal

from lmsteer.data.corpus import Corpus
from lmsteer.data.readers.hub import data_set, load_labeled_splits
from lmsteer.data.readers.table import get_number, get_text
from lmsteer.data.splits import corpus_of_splits
from lmsteer.errors import InputError
from lmsteer.records import Row
from lmsteer.storage.hub_repository import HubRepository
from lmsteer.storage.required_files import requires

INSTEAD = "corpus.path=FILE-or-folder, or corpus=snippets, which is embedded"
"""Alternatives when the hub is out of reach."""

SST5, SST2 = "SetFit/sst5", "stanfordnlp/sst2"

_RawSplits = dict[str, list[tuple[str, str, int]]]
"""By split: location, text, and label on the scale of the source."""


def _repository(id: str, revision: str | None = None) -> HubRepository:
    return data_set(id, revision, instead=INSTEAD)


@requires(lambda *, path=None, revision=None, **_: [] if path else [_repository(SST5, revision)])
def sst5(*, path: str | None = None, revision: str | None = None, labels: Literal["five", "binary"] = "five") -> Corpus:
    """Load SST-5 with labels -1, -0.5, 0, 0.5 and 1.

    Args:
        path: A file or folder with columns text and label (0 to 4, or 1 to 5); None: ``SetFit/sst5`` of the hub.
        revision: Branch, tag or commit on the hub; None: the default branch.
        labels: ``binary`` drops the neutral sentences and takes the sign of the others.

    Raises:
        InputError: If the source cannot be loaded, a row is malformed, or the labels fit neither or both scales.
    """
    raw = _load(_repository(SST5, revision), path, ("text",), range(6))
    lowest = _lowest_label(raw, path or SST5)
    splits = {split: [Row(text, (label - lowest) / 2 - 1) for _, text, label in raw[split]] for split in raw}
    if labels == "five":
        return corpus_of_splits("sst5", splits)
    signs = {
        split: [Row(row.text, 1.0 if row.label > 0 else -1.0) for row in splits[split] if row.label] for split in raw
    }
    return corpus_of_splits("sst5-binary", signs)


@requires(lambda *, path=None, revision=None: [] if path else [_repository(SST2, revision)])
def sst2(*, path: str | None = None, revision: str | None = None) -> Corpus:
    """Load SST-2 with labels -1 and 1.

    Args:
        path: A file or folder with columns sentence (or text) and label (0 or 1; -1 where the label is hidden, as in
            the hub's test split: those rows are left out, as is GLUE's test file, which has no labels); None:
            ``stanfordnlp/sst2`` of the hub.
        revision: Branch, tag or commit on the hub; None: the default branch.

    Raises:
        InputError: If the source cannot be loaded or a row is malformed.
    """
    raw = _load(_repository(SST2, revision), path, ("sentence", "text"), range(-1, 2))
    splits = {split: [Row(text, 2.0 * label - 1) for _, text, label in raw[split] if label >= 0] for split in raw}
    return corpus_of_splits("sst2", splits)


def _load(repository: HubRepository, path: str | None, text_columns: tuple[str, ...], allowed: range) -> _RawSplits:
    splits = load_labeled_splits(repository, columns=("label",), either=text_columns, path=path)
    raw: _RawSplits = {split: [] for split in splits}
    for split, rows in splits.items():
        for where, row in rows:
            label = get_number(row, "label", where)
            if label not in allowed:
                raise InputError(
                    f"{where}: label is {label:g}; allowed are whole numbers {allowed[0]} to {allowed[-1]}"
                )
            column = next(name for name in text_columns if name in row)
            raw[split].append((where, get_text(row, column, where).strip(), int(label)))
    return raw


def _lowest_label(raw: _RawSplits, source: str) -> int:
    """Return the lowest label of the scale, 0 or 1, which follows from all rows together."""
    locations = {label: where for rows in raw.values() for where, _, label in rows}
    if 0 in locations and 5 in locations:
        raise InputError(
            f"{source}: label 0 ({locations[0]}) and label 5 ({locations[5]}); allowed are 0 to 4, or 1 to 5"
        )
    if 0 not in locations and 5 not in locations:
        raise InputError(f"{source}: neither label 0 nor label 5, so the scale may be 0 to 4 or 1 to 5; add such a row")
    return 0 if 0 in locations else 1
