"""Promises of the steer."""

import pytest
import torch

from lmsteer.errors import InputError
from lmsteer.steering.steer import Steer


@pytest.mark.parametrize("rank", [3, "full"])
def test_forward_is_the_papers_formula(rank: int | str) -> None:
    steer = Steer(8, dimensions=["a", "b"], rank=rank, epsilon=0.01, init_std=1.0)  # type: ignore[arg-type]
    hidden, strength = torch.randn(2, 5, 8), torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    expected = hidden.clone()
    for b in range(2):
        for t in range(5):
            for k in range(2):
                expected[b, t] += 0.01 * strength[b, k] * steer.matrix(k).T @ hidden[b, t]
    torch.testing.assert_close(steer(hidden, strength), expected)
    packed = steer(hidden.reshape(10, 8), strength.repeat_interleave(5, dim=0))
    torch.testing.assert_close(packed, expected.reshape(10, 8))


def test_the_seed_alone_decides_the_initial_weights() -> None:
    torch.manual_seed(123)
    first = Steer(8, dimensions=["a"], rank=2, seed=5)
    second = Steer(8, dimensions=["a"], rank=2, seed=5)
    other = Steer(8, dimensions=["a"], rank=2, seed=6)
    assert torch.equal(first.p1, second.p1)
    assert not torch.equal(first.p1, other.p1)


def test_a_low_rank_steer_has_matrices_of_that_rank() -> None:
    assert torch.linalg.matrix_rank(Steer(16, dimensions=["a"], rank=3).matrix(0).T) == 3


def test_strengths_by_name_fill_the_vector_in_order() -> None:
    assert Steer(8, dimensions=["a", "b"], rank=2).strengths({"b": 2.0}).tolist() == [0.0, 2.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, r"steer.rank=0: an integer in \[1, 8\]"),
        ({"rank": 9}, r"steer.rank=9"),
        ({"epsilon": -1.0}, "steer.epsilon=-1.0"),
        ({"init_std": 0.0}, "steer.init_std=0.0"),
        ({"dimensions": ["a", "a"]}, "distinct"),
        ({"dimensions": []}, "one or more"),
    ],
)
def test_impossible_settings_are_refused_by_name(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Steer(8, **{"dimensions": ["a"], "rank": 2} | options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("strength", "message"), [({"joy": 1.0}, "dimensions are a, b"), ({"a": float("nan")}, "finite")]
)
def test_impossible_strengths_are_refused_by_name(strength: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Steer(8, dimensions=["a", "b"], rank=2).strengths(strength)
