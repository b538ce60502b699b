"""Promises of the scorer that is fitted on the corpus."""

import random

import pytest
import torch

from lmsteer.data.corpus import Corpus, text_key
from lmsteer.errors import InputError
from lmsteer.records import Row
from lmsteer.scoring.tfidf import TfidfScorer

GOOD, BAD = ["lovely", "warm", "funny", "moving"], ["dull", "stale", "clumsy", "tedious"]
NEUTRAL = ["the film", "a plot", "its cast", "this script", "an ending"]


def rows(n: int, *, seed: int) -> tuple[Row, ...]:
    """Sentences whose label is their adjective's; every third is weak and has the wrong sign."""
    noise = random.Random(seed)
    result = []
    for index in range(n):
        label = 1.0 if index % 2 else -1.0
        words = [noise.choice(NEUTRAL), noise.choice(GOOD if label > 0 else BAD), noise.choice(NEUTRAL), str(index)]
        result.append(Row(" ".join(words), -0.05 * label if index % 3 == 0 else 0.8 * label))
    return tuple(result)


def corpus(scorer_split: tuple[Row, ...]) -> Corpus:
    return Corpus("made", train=(Row("something else", 1.0),), scorer_split=scorer_split)


def test_held_out_sentences_are_told_apart() -> None:
    scorer = TfidfScorer(corpus=corpus(rows(300, seed=0)))
    held_out = [row for row in rows(200, seed=1) if abs(row.label) > 0.1]
    scores = scorer([row.text for row in held_out])
    assert torch.equal(scores > 0.5, torch.tensor([row.label > 0 for row in held_out]))


def test_words_it_never_saw_say_nothing() -> None:
    scores = TfidfScorer(corpus=corpus(rows(300, seed=0)))(["", "zyx wvu", "lovely"])
    assert scores[0] == scores[1]
    assert abs(scores[0] - 0.5) < 0.1 < scores[2] - 0.5


def test_reserved_are_the_rows_it_was_fitted_on_and_no_others() -> None:
    scorer_split = rows(90, seed=0)
    reserved = TfidfScorer(corpus=corpus(scorer_split)).reserved
    assert reserved == {text_key(row.text) for row in scorer_split if abs(row.label) > 0.1}
    assert len(reserved) == 60


def test_revision_follows_the_rows() -> None:
    first, again, other = (TfidfScorer(corpus=corpus(rows(120, seed=seed))).revision for seed in (0, 0, 1))
    assert first == again != other
    assert "scikit-learn" in first


def test_same_rows_same_scores() -> None:
    texts = [row.text for row in rows(50, seed=2)]
    first, again = (TfidfScorer(corpus=corpus(rows(120, seed=0)))(texts) for _ in range(2))
    assert torch.equal(first, again)


@pytest.mark.parametrize(
    ("scorer_split", "count"),
    [
        ((), "0 scorer_split rows"),
        (rows(70, seed=0), "46 scorer_split rows"),
        (tuple(row for row in rows(300, seed=0) if row.label > 0.1), "100 scorer_split rows with .* 100 positive"),
    ],
)
def test_too_few_rows_or_one_sign_only_are_refused(scorer_split: tuple[Row, ...], count: str) -> None:
    with pytest.raises(InputError, match=f"corpus made has {count}"):
        TfidfScorer(corpus=corpus(scorer_split))
