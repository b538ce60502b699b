"""Removal of held-out rows from a corpus, and nested, balanced subsets."""

from collections import Counter
from itertools import pairwise

import pytest

from lmsteer.data.corpus import Corpus, text_key
from lmsteer.records import Row

ROWS = tuple(Row(f"text {n}", (n % 5 - 2) / 2) for n in range(200))  # 80 negative, 40 neutral, 80 positive
CORPUS = Corpus("c", ROWS, dev=(Row("dev", 1.0), Row("held", 1.0)), test=(Row("test", 1.0),))


def signs(rows: tuple[Row, ...]) -> list[int]:
    counts = Counter((row.label > 0) - (row.label < 0) for row in rows)
    return [counts[sign] for sign in (-1, 0, 1)]


def test_rows_of_some_keys_are_removed_from_train_and_dev_and_counted() -> None:
    first = CORPUS.without(frozenset({text_key("Text 3 !"), text_key("held"), text_key("test"), text_key("no such")}))
    assert set(ROWS) - set(first.train) == {ROWS[3]}
    assert (first.dev, first.test) == (CORPUS.dev[:1], CORPUS.test)
    assert first.removed == {"overlaps": 2}
    assert first.without(frozenset({text_key("text 3"), text_key("text 4")})).removed == {"overlaps": 3}
    assert CORPUS.removed == {}


def test_a_subset_is_part_of_every_larger_one_of_its_seed() -> None:
    drawn = [set(CORPUS.subset(rows, seed=3).train) for rows in (2, 3, 30, 31, 150, 200)]
    assert [len(rows) for rows in drawn] == [2, 3, 30, 31, 150, 200]
    assert all(small < large for small, large in pairwise(drawn))
    assert set(CORPUS.subset(30, seed=4).train) != drawn[2]


def test_which_rows_are_drawn_does_not_depend_on_their_order() -> None:
    backwards = Corpus("c", ROWS[::-1])
    assert set(backwards.subset(50, seed=1).train) == set(CORPUS.subset(50, seed=1).train)


@pytest.mark.parametrize(
    ("rows", "expected"), [(30, [10, 10, 10]), (31, [11, 10, 10]), (120, [40, 40, 40]), (161, [61, 40, 60])]
)
def test_a_subset_holds_as_many_rows_of_each_sign_as_it_lasts_and_all_held_out_rows(
    rows: int, expected: list[int]
) -> None:
    subset = CORPUS.subset(rows, seed=0)
    assert signs(subset.train) == expected
    assert (subset.dev, subset.test) == (CORPUS.dev, CORPUS.test)


def test_two_kinds_of_labels_are_halved() -> None:
    assert signs(Corpus("c", tuple(row for row in ROWS if row.label)).subset(30, seed=0).train) == [15, 0, 15]


@pytest.mark.parametrize("rows", [200, 10_000])
def test_a_subset_of_all_rows_is_the_corpus_itself(rows: int) -> None:
    assert CORPUS.subset(rows, seed=0) == CORPUS
