"""Promises of residuals and of their spread."""

import pytest
import torch

from lmsteer.models.head import Head
from lmsteer.models.language_model import LanguageModel
from lmsteer.one_pass.residuals import Residuals


def heads() -> dict[str, Head]:
    noise = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(70, 8, generator=noise), torch.randn(70, generator=noise)
    return {
        "plain": Head(weight),
        "bias and scale": Head(weight, bias=bias, scale=0.5),
        "soft-cap": Head(weight, softcap=2.0, scale=0.7),
        "padded": Head(weight, vocabulary=64, softcap=3.0),
    }


def known_logits(head: Head, hidden_ND: torch.Tensor) -> torch.Tensor:
    return head(hidden_ND)[..., : head.vocabulary]


@pytest.fixture(params=list(heads()))
def head(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Head:
    monkeypatch.setattr("lmsteer.one_pass.residuals.COLUMNS", {"cpu": 16})  # several blocks
    monkeypatch.setattr("lmsteer.one_pass.residuals.TOKENS", {"cpu": 7})
    return heads()[request.param]


def sample(head: Head, tokens: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    noise = torch.Generator().manual_seed(1)
    return torch.randn(tokens, 8, generator=noise), torch.randint(head.vocabulary, (tokens,), generator=noise)


def test_a_residual_is_the_gradient_of_the_log_likelihood_in_the_hidden_state(head: Head) -> None:
    hidden, targets = sample(head)
    hidden.requires_grad_()
    likelihood = -torch.nn.functional.cross_entropy(known_logits(head, hidden), targets, reduction="sum")
    (expected,) = torch.autograd.grad(likelihood, hidden)
    torch.testing.assert_close(Residuals(head)(hidden.detach(), targets), expected, rtol=1e-4, atol=1e-5)


def test_the_spread_is_the_fisher_information_in_the_hidden_state(head: Head) -> None:
    hidden, targets = sample(head)
    residuals = Residuals(head)
    residuals(hidden, targets)
    expected = torch.zeros(8, 8)
    for state in hidden:  # every possible target, weighed by its probability
        scores = torch.autograd.functional.jacobian(lambda h: known_logits(head, h[None])[0].log_softmax(-1), state)
        chances = known_logits(head, state[None])[0].softmax(-1)
        expected += scores.T @ (scores * chances[:, None])
    torch.testing.assert_close(residuals.spread().float(), expected, rtol=1e-4, atol=1e-4)
    assert residuals.tokens == 20


def test_calls_add_up(head: Head) -> None:
    hidden, targets = sample(head)
    whole, parts = Residuals(head), Residuals(head)
    at_once = whole(hidden, targets)
    one_by_one = torch.cat(
        [parts(hidden[:3], targets[:3]), parts(hidden[3:3], targets[3:3]), parts(hidden[3:], targets[3:])]
    )
    torch.testing.assert_close(one_by_one, at_once)
    torch.testing.assert_close(parts.spread(), whole.spread(), rtol=1e-5, atol=1e-5)


def test_residuals_of_every_architecture_are_gradients_and_have_the_dtype_of_hidden_states(
    model: LanguageModel,
) -> None:
    ids = torch.arange(2, 12)[None]
    hidden = model.hidden(ids)[0, :-1].clone()
    found = Residuals(model.head)(hidden, ids[0, 1:])
    state = hidden.clone().requires_grad_()
    known = model.head(state)[:, : model.head.vocabulary]
    (gradient,) = torch.autograd.grad(-torch.nn.functional.cross_entropy(known, ids[0, 1:], reduction="sum"), state)
    torch.testing.assert_close(found, gradient, rtol=1e-3, atol=1e-4)
    assert Residuals(model.head)(hidden.bfloat16().float(), ids[0, 1:]).dtype == hidden.dtype
