"""Promises of the cross-entropy that never holds the whole logits."""

import pytest
import torch
import torch.nn.functional as F

from lmsteer.models import cross_entropy
from lmsteer.models.cross_entropy import exp_, nll
from lmsteer.models.head import Head

KINDS = [(None, False, 1.0), (None, True, 0.5), (2.0, False, 1.0), (5.0, True, 0.5)]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "TOKENS", 4)
    monkeypatch.setitem(cross_entropy.COLUMNS, "cpu", 13)


def random_head(softcap: float | None, bias: bool, scale: float, dtype: torch.dtype = torch.float64) -> Head:
    noise = torch.Generator().manual_seed(0)
    weight, biases = (torch.randn(shape, generator=noise, dtype=torch.float64).to(dtype) for shape in ((50, 8), (50,)))
    return Head(weight, bias=biases if bias else None, scale=scale, softcap=softcap)


def some_tokens() -> tuple[torch.Tensor, torch.Tensor]:
    noise = torch.Generator().manual_seed(1)
    hidden = torch.randn(11, 8, generator=noise, dtype=torch.float64)
    return hidden, torch.randint(0, 50, (11,), generator=noise)


@pytest.mark.parametrize(("softcap", "bias", "scale"), KINDS)
def test_nats_and_gradient_equal_plain_cross_entropy(softcap: float | None, bias: bool, scale: float) -> None:
    head, (hidden, targets) = random_head(softcap, bias, scale), some_tokens()
    weights = torch.rand(11, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ours, theirs = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    logits = F.linear(theirs, head.weight, head.bias) * scale
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    expected = F.cross_entropy(logits, targets, reduction="none")
    (expected * weights).sum().backward()
    nats = nll(head, ours, targets)
    (nats * weights).sum().backward()
    torch.testing.assert_close(nats, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize(("softcap", "bias", "scale"), KINDS)
def test_a_bfloat16_head_is_off_by_no_more_than_its_rounding(softcap: float | None, bias: bool, scale: float) -> None:
    hidden, targets = some_tokens()
    exact = nll(random_head(softcap, bias, scale), hidden, targets)
    rough = nll(random_head(softcap, bias, scale, torch.bfloat16), hidden.float(), targets)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough.double(), exact, rtol=0.02, atol=0.05)


def test_nothing_is_kept_for_the_backward_pass_where_no_gradient_is_wanted() -> None:
    head, (hidden, targets) = random_head(None, False, 1.0), some_tokens()
    with torch.no_grad():
        assert nll(head, hidden.requires_grad_(), targets).grad_fn is None


def test_logits_far_apart_do_not_overflow() -> None:
    head = Head(torch.tensor([[1e4], [-1e4], [0.0]]))
    hidden = torch.tensor([[1.0], [-1.0]])
    nats = nll(head, hidden, torch.tensor([0, 0]))
    assert nats.tolist() == [0.0, 2e4]


def test_exp_in_place_is_exp() -> None:
    x = torch.linspace(-80, 0, 1000)
    torch.testing.assert_close(exp_(x.clone()), x.exp(), rtol=1e-4, atol=0)
