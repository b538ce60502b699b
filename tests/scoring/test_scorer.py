"""Promises of what the scorers share."""

import math

import pytest
import torch

from lmsteer.errors import InputError
from lmsteer.scoring.scorer import check_scores, in_length_order


def test_batches_are_of_like_length_and_values_come_back_in_the_callers_order() -> None:
    lengths, seen = [5, 1, 9, 1, 7, 3, 2], []

    def values(batch: list[int]) -> torch.Tensor:
        seen.append([lengths[index] for index in batch])
        return torch.tensor([10.0 * index for index in batch])

    result = in_length_order(lengths, values, batch_size=3, description="test")
    assert result.tolist() == [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]
    assert seen == [[1, 1, 2], [3, 5, 7], [9]]


def test_nothing_to_score_gives_an_empty_tensor_and_no_batch() -> None:
    def never(batch: list[int]) -> torch.Tensor:
        raise AssertionError(batch)

    assert in_length_order([], never, batch_size=3, description="test").shape == (0,)


@pytest.mark.parametrize(("n", "shown"), [(10, False), (11, True)])
def test_progress_is_shown_only_for_many_batches(n: int, shown: bool, capsys: pytest.CaptureFixture[str]) -> None:
    in_length_order([1] * n, lambda batch: torch.zeros(len(batch)), batch_size=1, description="test bar")
    assert ("test bar" in capsys.readouterr().err) is shown


def test_a_batch_size_below_one_is_refused() -> None:
    with pytest.raises(InputError, match="batch_size=0"):
        in_length_order([1], lambda batch: torch.zeros(1), batch_size=0, description="test")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.01, 1.01])
def test_a_text_without_a_score_between_0_and_1_is_refused_by_name(bad: float) -> None:
    with pytest.raises(InputError, match=r"scorer s: text 'second'"):
        check_scores(torch.tensor([0.5, bad, 0.2]), ["first", "second", "third"], scorer="s")


def test_scores_at_both_ends_pass_as_float32() -> None:
    scores = check_scores(torch.tensor([0.0, 1.0], dtype=torch.float64), ["a", "b"], scorer="s")
    assert scores.dtype == torch.float32
    assert scores.tolist() == [0.0, 1.0]


def test_more_texts_than_scores_are_refused() -> None:
    with pytest.raises(InputError, match="2 texts"):
        check_scores(torch.tensor([0.5]), ["a", "b"], scorer="s")
