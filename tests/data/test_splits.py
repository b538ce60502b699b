"""No text stands in two parts of a corpus."""

from dataclasses import replace

import pytest

from lmsteer.data.corpus import text_key
from lmsteer.data.splits import WHOLE, corpus_of_parts
from lmsteer.records import Row


def texts(rows: tuple[Row, ...]) -> list[str]:
    return [row.text for row in rows]


def test_a_text_of_two_parts_stays_where_it_is_held_out() -> None:
    parts = {
        "train": [Row("alone", 1.0), Row("In dev, too.", 1.0), Row("in test too", 1.0), Row("alone !", -1.0)],
        "dev": [Row("in dev too", 1.0), Row("In test too", 0.5)],
        "test": [Row("in test too", 1.0)],
    }
    corpus = corpus_of_parts("c", parts)
    assert texts(corpus.train) == ["alone"]
    assert texts(corpus.dev) == ["in dev too"]
    assert texts(corpus.test) == ["in test too"]
    assert corpus.scorer_split == ()
    assert corpus.removed == {"duplicates": 4}  # of 7 rows 3 are left


@pytest.mark.parametrize("there", [{"train"}, {"train", "dev"}, {"train", "test"}])
def test_parts_that_are_missing_or_empty_come_out_of_train(there: set[str]) -> None:
    held = {"dev": [Row("dev text", 1.0)], "test": [Row("test text", 1.0)]}
    train = [Row(f"text {i}", 1.0) for i in range(1000)]
    corpus = corpus_of_parts("c", {"train": train, **{part: held[part] if part in there else [] for part in held}})
    whole = corpus_of_parts("c", {WHOLE: train})
    keys = [{text_key(row.text) for row in part} for part in (corpus.train, corpus.dev, corpus.test)]
    assert sum(map(len, keys)) == len(set().union(*keys)) == 1000 + len(there) - 1
    assert corpus.scorer_split == ()
    for part, share in (("dev", 0.05), ("test", 0.10)):
        found = getattr(corpus, part)
        assert found == tuple(held[part]) if part in there else 0.6 * share < len(found) / 1000 < 1.4 * share
    without_judge = corpus_of_parts("c", {"train": train}, scorer_split=0.20)
    assert replace(without_judge, name="c") == whole


def test_the_judge_takes_its_share_of_train_rows_and_no_other_rows() -> None:
    train = [Row(f"train text {i}", 1.0) for i in range(1000)]
    corpus = corpus_of_parts(
        "c", {"train": train, "dev": [Row("d", 1.0)], "test": [Row("held", 1.0)]}, scorer_split=0.20
    )
    assert sorted(texts(corpus.train) + texts(corpus.scorer_split)) == sorted(row.text for row in train)
    assert 150 < len(corpus.scorer_split) < 250
    assert texts(corpus.test) == ["held"]


def test_a_source_without_parts_is_parted_by_text_whatever_the_order() -> None:
    rows = [Row(f"text {i}", 1.0) for i in range(1000)]
    one, other = corpus_of_parts("c", {WHOLE: rows}), corpus_of_parts("c", {WHOLE: [*rows[::-1], *rows[:3]]})
    assert (one.removed, other.removed) == ({"duplicates": 0}, {"duplicates": 3})
    keys = [{text_key(row.text) for row in part} for part in (one.train, one.dev, one.test, one.scorer_split)]
    assert sum(len(part) for part in keys) == len(set().union(*keys)) == 1000
    assert [len(part) for part in keys] == [
        len(part) for part in (other.train, other.dev, other.test, other.scorer_split)
    ]
    assert set(texts(one.scorer_split)) == set(texts(other.scorer_split))
    assert 170 < len(one.scorer_split) < 230
    assert 70 < len(one.test) < 130
    assert 30 < len(one.dev) < 70
