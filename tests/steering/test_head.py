"""Promises of the output head."""

import pytest
import torch
import torch.nn.functional as F

from lmsteer.steering import head as head_module
from lmsteer.steering.head import Head
from lmsteer.steering.model import LanguageModel


def random_head(*, softcap: float | None, bias: bool, scale: float = 1.0) -> Head:
    noise = torch.Generator().manual_seed(0)
    weight = torch.randn(50, 8, generator=noise, dtype=torch.float64)
    return Head(
        weight,
        bias=torch.randn(50, generator=noise, dtype=torch.float64) if bias else None,
        scale=scale,
        softcap=softcap,
    )


@pytest.mark.parametrize(("softcap", "bias", "scale"), [(None, False, 1.0), (5.0, True, 0.5)])
def test_nats_and_gradient_equal_plain_cross_entropy_over_several_chunks(
    softcap: float | None, bias: bool, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_module, "CHUNK", 4)
    head, hidden = random_head(softcap=softcap, bias=bias, scale=scale), torch.randn(11, 8, dtype=torch.float64)
    targets, weights = torch.randint(0, 50, (11,)), torch.rand(11)
    ours, theirs = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    logits = F.linear(theirs, head.weight, head.bias) * scale
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    expected = F.cross_entropy(logits, targets, reduction="none")
    (expected * weights).sum().backward()
    nats = head.nats(ours, targets)
    (nats * weights).sum().backward()
    torch.testing.assert_close(nats.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-5)


def test_the_head_reproduces_the_models_own_logits(model: LanguageModel) -> None:
    ids = torch.randint(0, 384, (3, 20), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        own = model.lm(input_ids=ids).logits
    torch.testing.assert_close(model.head(model.hidden(ids, torch.ones_like(ids))), own, rtol=1e-5, atol=1e-5)


def test_fingerprint_is_the_same_in_both_precisions_and_differs_between_heads() -> None:
    weight = torch.randn(50, 8)
    assert Head(weight).fingerprint() == Head(weight.bfloat16()).fingerprint()
    changed = weight.clone()
    changed[3, 4] += 1
    assert Head(changed).fingerprint() != Head(weight).fingerprint()
    assert Head(weight, softcap=30.0).fingerprint() != Head(weight).fingerprint()
