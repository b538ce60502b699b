"""A steer that is cut by its logits is the best one of its rank, and its losses are those that are reported."""

import pytest
import torch
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.models.head import Head
from lmsteer.steering.logit_truncation import logit_errors, truncate_logits
from lmsteer.steering.steer import Steer

HEAD = Head(torch.randn(60, 12, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.1, 3, 12), vocabulary=50)


def change(steer: Steer, k: int) -> Tensor:
    """The change of the embeddings of words, ``epsilon E W^T``."""
    return steer.epsilon * HEAD.weight[:50].double() @ steer.matrix(k).double().detach().T


@pytest.mark.parametrize("rank", ["full", 6])
@pytest.mark.parametrize("kept_rank", [1, 4])
def test_no_matrix_of_the_rank_is_nearer(rank: int, kept_rank: int) -> None:
    steer = Steer(12, dimensions=["a", "b"], rank=rank, epsilon=0.3, init_std=0.5, seed=1)
    cut, kept = truncate_logits(steer, HEAD, kept_rank)
    for k, name in enumerate(steer.dimensions):
        u, s, vh = torch.linalg.svd(change(steer, k), full_matrices=False)
        best = u[:, :kept_rank] * s[:kept_rank] @ vh[:kept_rank]
        torch.testing.assert_close(change(cut, k), best, rtol=0, atol=1e-5)
        assert kept[name] == pytest.approx(float(s[:kept_rank].square().sum() / s.square().sum()), abs=1e-6)
        assert torch.linalg.matrix_rank(cut.matrix(k), rtol=1e-5) == kept_rank
    by_matrix = steer.truncated(rank=kept_rank)
    assert (change(steer, 0) - change(cut, 0)).norm() < (change(steer, 0) - change(by_matrix, 0)).norm()


def test_the_error_is_that_of_the_logits() -> None:
    steer = Steer(12, dimensions=["a"], rank="full", epsilon=0.3, init_std=0.5, seed=1)
    cut, _ = truncate_logits(steer, HEAD, 3)
    hidden = torch.randn(7, 12)
    strength = torch.ones(1, 1)
    expected = (HEAD(steer(hidden, strength)) - HEAD(cut(hidden, strength))).abs().max().item()
    assert logit_errors(steer, cut, HEAD, hidden)["a"] == pytest.approx(expected, rel=1e-4)


def test_at_its_own_rank_nothing_is_lost_and_the_constant_stays() -> None:
    steer = Steer(12, dimensions=["a", "b"], rank=3, epsilon=0.3, init_std=0.5, bias=True)
    torch.nn.init.normal_(steer.bias)
    cut, kept = truncate_logits(steer, HEAD, 3)
    assert kept == pytest.approx({"a": 1.0, "b": 1.0})
    hidden, strength = torch.randn(7, 12), torch.tensor([[2.0, -1.0]])
    torch.testing.assert_close(cut(hidden, strength), steer(hidden, strength), rtol=0, atol=1e-5)


def test_a_zero_matrix_keeps_all_of_nothing_and_an_impossible_rank_is_refused() -> None:
    steer = Steer(12, dimensions=["a"], rank=0, bias=True)
    assert truncate_logits(steer, HEAD, 2)[1] == {"a": 1.0}
    for rank in (0, 13):
        with pytest.raises(InputError, match=rf"rank={rank}: an integer in \[1, 12\]"):
            truncate_logits(steer, HEAD, rank)
