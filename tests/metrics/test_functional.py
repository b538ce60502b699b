import math
import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lmsteer.metrics import functional

WORDS = ["a", "b", "c", "dd", "e."]
NAN, INFINITY = float("nan"), float("inf")


def naive_distinct(samples: list[str], n: int) -> float:
    texts = [sample.split() for sample in samples]
    grams = {" ".join(words[start : start + n]) for words in texts for start in range(len(words) - n + 1)}
    return len(grams) / sum(map(len, texts))


SCORED = [functional.share_above, functional.maximum_score, functional.exceedance]
JUDGED = [functional.perplexity, functional.totals]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (functional.share_above, [0.75, 0.0, 0.25]),
        (functional.maximum_score, [0.875, 0.5, 1.0]),
        (functional.exceedance, [1.0, 0.0, 1.0]),
    ],
)
def test_scores_by_hand_where_exactly_one_half_does_not_count(
    function: Callable[[Tensor], Tensor], expected: list[float]
) -> None:
    scores = torch.tensor([[0.875, 0.75, 0.625, 0.5], [0.5, 0.25, 0.0, 0.5], [0.0, 0.0, 0.0, 1.0]])
    assert function(scores).tolist() == expected


@pytest.mark.parametrize("function", SCORED)
@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (torch.tensor([[0.5, 0.5], [0.5, NAN]]), "nan at prompt 1, sample 1"),
        (torch.tensor([[0.5, 1.5]]), "1.5 at prompt 0, sample 1"),
        (torch.tensor([[-0.25]]), "-0.25 at prompt 0, sample 0"),
        (torch.tensor([0.5, 0.5]), r"shape \(2,\)"),
        (torch.zeros(2, 2, 2), r"shape \(2, 2, 2\)"),
        (torch.zeros(0, 3), r"shape \(0, 3\)"),
        (torch.zeros(3, 0), r"shape \(3, 0\)"),
    ],
)
def test_impossible_scores_are_refused_by_name(
    function: Callable[[Tensor], Tensor], scores: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=f"^scores.*{message}"):
        function(scores)


def test_perplexity_by_hand_is_a_mean_over_samples_and_totals_are_sums() -> None:
    nats = torch.tensor([[0.0, math.log(4) * 3], [math.log(2), math.log(8)]], dtype=torch.float64)
    tokens = torch.tensor([[5, 3], [1, 1]])
    torch.testing.assert_close(functional.perplexity(nats, tokens).tolist(), [2.5, 5.0])
    torch.testing.assert_close(functional.totals(nats, tokens).tolist(), [[math.log(64), 8.0], [math.log(16), 2.0]])


def test_a_perplexity_beyond_float32_is_still_finite() -> None:
    assert functional.perplexity(torch.tensor([[110.0]]), torch.tensor([[1]])).item() == pytest.approx(math.exp(110))


@pytest.mark.parametrize("function", JUDGED)
@pytest.mark.parametrize(
    ("nats", "tokens", "message"),
    [
        ([[1.0, NAN]], [[1.0, 1.0]], "^nats: nan at prompt 0, sample 1"),
        ([[INFINITY]], [[1.0]], "^nats: inf at prompt 0, sample 0"),
        ([[1.0], [-1.0]], [[1.0], [1.0]], "^nats: -1 at prompt 1, sample 0"),
        ([[1.0, 1.0]], [[1.0, 0.0]], "^tokens: 0 at prompt 0, sample 1"),
        ([[1.0]], [[NAN]], "^tokens: nan at prompt 0, sample 0"),
        ([[1.0]], [[INFINITY]], "^tokens: inf at prompt 0, sample 0"),
        ([[1.0]], [[1.0, 1.0]], r"^nats are \(1, 1\) but tokens are \(1, 2\)"),
        ([1.0], [1.0], r"^nats have shape \(1,\)"),
        ([[1.0]], [1.0], r"^tokens have shape \(1,\)"),
        ([[]], [[]], r"^nats have shape \(1, 0\)"),
        ([[710.0]], [[1.0]], "^nats / tokens: 710 at prompt 0, sample 0"),
    ],
)
def test_impossible_nats_and_tokens_are_refused_by_name(
    function: Callable[[Tensor, Tensor], Tensor], nats: list[list[float]], tokens: list[list[float]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        function(torch.tensor(nats), torch.tensor(tokens))


@pytest.mark.parametrize(("n", "expected"), [(1, [3 / 6, 1.0]), (2, [3 / 6, 0.0]), (3, [2 / 6, 0.0])])
def test_distinct_ngrams_by_hand_stay_within_a_sample_and_count_words_below(n: int, expected: list[float]) -> None:
    texts = [[" a b\ta", "a  b c\n"], ["x", ""]]
    assert functional.distinct_ngrams(texts, n).tolist() == expected


@pytest.mark.parametrize("n", [1, 2])
def test_samples_without_a_word_have_the_worst_value(n: int) -> None:
    share = 1.0 if n == 1 else 1 / 3
    assert functional.distinct_ngrams([["a b", "c"], ["\n\n", ""], [" \t"]], n).tolist() == [share, 0, 0]


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_distinct_ngrams_agree_with_a_naive_version(n: int) -> None:
    rng = random.Random(n)
    texts = [[" ".join(["f", *rng.choices([*WORDS, "\n"], k=9)]) for _ in range(5)] for _ in range(30)]
    assert functional.distinct_ngrams(texts, n).tolist() == [naive_distinct(samples, n) for samples in texts]


@pytest.mark.parametrize(
    ("texts", "n", "message"),
    [
        ([["a"], []], 2, "prompt 1: it has no samples"),
        ([["a"], "one string"], 1, "prompt 1: a sequence of samples"),
        ("one string", 1, "one sequence of samples per prompt"),
        ([], 1, "at least one prompt"),
        ([["a"]], 0, "n is 0"),
    ],
)
def test_texts_without_a_value_are_refused_by_name(texts: list[list[str]], n: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        functional.distinct_ngrams(texts, n)


def test_samples_above_the_limit_are_left_out_and_prompts_without_any_other_have_nan() -> None:
    nats = torch.tensor([[0.0, math.log(1e5)], [math.log(2e4), math.log(3e4)], [math.log(2.0), math.log(4.0)]])
    tokens = torch.ones(3, 2)
    limited = functional.perplexity(nats, tokens, limit=1e4)
    assert limited[0] == pytest.approx(1.0)
    assert limited[1].isnan()
    assert limited[2] == pytest.approx(3.0)
    assert functional.perplexity(nats, tokens)[1] == pytest.approx(2.5e4)
