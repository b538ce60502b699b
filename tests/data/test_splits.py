"""Splits of a corpus share no text."""

from dataclasses import replace

import pytest

from lmsteer.data.corpus import Corpus, text_key
from lmsteer.data.splits import UNSPLIT, corpus_of_splits
from lmsteer.records import Row

TRAIN = [Row(f"text {i}", 1.0) for i in range(1000)]


def texts(rows: tuple[Row, ...]) -> list[str]:
    return [row.text for row in rows]


def splits(corpus: Corpus) -> dict[str, set[str]]:
    return {name: {text_key(row.text) for row in getattr(corpus, name)} for name in ("train", "dev", "test")}


def test_a_repeated_text_stays_in_the_held_out_split() -> None:
    source = {
        "train": [Row("alone", 1.0), Row("In dev, too.", 1.0), Row("in test too", 1.0), Row("alone !", -1.0)],
        "dev": [Row("in dev too", 1.0), Row("In test too", 0.5)],
        "test": [Row("in test too", 1.0)],
    }
    corpus = corpus_of_splits("c", source)
    assert texts(corpus.train) == ["alone"]
    assert texts(corpus.dev) == ["in dev too"]
    assert texts(corpus.test) == ["in test too"]
    assert corpus.scorer_split == ()
    assert corpus.removed == {"duplicates": 4}  # 3 of 7 rows remain


@pytest.mark.parametrize("held_out", [{}, {"dev": [Row("dev text", 1.0)]}, {"test": [Row("test text", 1.0)]}])
def test_missing_or_empty_splits_are_taken_from_train(held_out: dict[str, list[Row]]) -> None:
    corpus = corpus_of_splits("c", {"dev": [], "test": [], **held_out, "train": TRAIN})
    keys = splits(corpus).values()
    assert sum(map(len, keys)) == len(set().union(*keys)) == 1000 + len(held_out)
    assert corpus.scorer_split == ()
    for name, fraction in (("dev", 0.05), ("test", 0.10)):
        rows = getattr(corpus, name)
        assert rows == tuple(held_out[name]) if name in held_out else 0.6 * fraction < len(rows) / 1000 < 1.4 * fraction
    with_scorer_split = corpus_of_splits("c", {"train": TRAIN}, scorer_split=0.20)
    assert replace(with_scorer_split, name="c") == corpus_of_splits("c", {UNSPLIT: TRAIN})


def test_an_unsplit_source_is_split_by_text_whatever_the_order() -> None:
    corpus = corpus_of_splits("c", {UNSPLIT: TRAIN})
    reordered = corpus_of_splits("c", {UNSPLIT: [*TRAIN[::-1], *TRAIN[:3]]})
    assert (corpus.removed, reordered.removed) == ({"duplicates": 0}, {"duplicates": 3})
    keys = splits(corpus) | {"scorer_split": {text_key(row.text) for row in corpus.scorer_split}}
    assert sum(map(len, keys.values())) == len(set().union(*keys.values())) == 1000
    assert splits(corpus) == splits(reordered)
    assert set(corpus.scorer_split) == set(reordered.scorer_split)
    assert 170 < len(corpus.scorer_split) < 230
    assert 70 < len(corpus.test) < 130
    assert 30 < len(corpus.dev) < 70
