"""A corpus of a data set of the hub, by its id and the names of its columns."""

from typing import Literal

from lmsteer.data.corpus import Corpus
from lmsteer.data.label_map import Other
from lmsteer.data.labeled_rows import LABEL, TEXT, LabeledRows
from lmsteer.data.readers.hub import data_set, load_named_splits
from lmsteer.errors import InputError
from lmsteer.storage.hub_repository import HubRepository
from lmsteer.storage.required_files import requires

INSTEAD = "corpus.id=ORG/NAME of the hub, or corpus=file corpus.path=FILE-or-folder"
"""Alternatives when the hub is out of reach."""


def _repository(id: str, revision: str | None, subset: str | None) -> HubRepository:
    return data_set(id, revision, instead=INSTEAD, subset=subset or "")


@requires(lambda *, id, revision=None, subset=None, **_: [_repository(id, revision, subset)])
def hub_data_set(
    *,
    id: str,
    subset: str | None = None,
    revision: str | None = None,
    splits: dict[Literal["train", "dev", "test"], str] | None = None,
    text: str = TEXT,
    label: str = LABEL,
    labels: dict[str, float] | None = None,
    other: Other = "refuse",
    thresholds: list[float] | None = None,
    pairs: list[str] | None = None,
    question: str | None = None,
) -> Corpus:
    """Load a data set of the hub.

    Its splits stay; those that it lacks are taken from its train rows by hash: scorer_split .20, test .10, dev .05.
    Without the column of texts, ``messages`` in the hub's format are answers, of which the last one is the assistant's.

    Args:
        id: ``ORG/NAME``, which is the name of the corpus.
        subset: One of its subsets (configurations); None: its default one.
        revision: Branch, tag or commit; None: the default branch.
        splits: Names of the splits in the data set; None: train, dev (or validation) and test, as far as it has them.
        text: Name of the column of texts.
        label: Name of the column of labels.
        labels: Number in [-1, 1] by label, for labels of classes by their names; None: labels are such numbers.
        other: As for ``labeled_file``, as ``thresholds``, ``pairs`` and ``question``.

    Raises:
        InputError: If the data set cannot be loaded or lacks a split or column, a text is empty, or a label is not in
            [-1, 1] or not in the map; names split and row.
    """
    rows = LabeledRows.of(
        text=text, label=label, labels=labels, other=other, thresholds=thresholds, pairs=pairs, question=question
    )
    if splits and len(set(splits.values())) < len(splits):
        raise InputError(f"corpus.splits={splits}: one split for each expected")
    repository = _repository(id, revision, subset)
    named = None if splits is None else {str(split): name for split, name in splits.items()}
    return rows.corpus(id, load_named_splits(repository, named, columns=rows.columns, either=rows.text_columns))
