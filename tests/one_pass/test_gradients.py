"""Promises of log-likelihood gradients and their Fisher information."""

import pytest
import torch

from lmsteer.models.head import Head
from lmsteer.models.language_model import LanguageModel
from lmsteer.one_pass.gradients import LoglikGradients


def heads() -> dict[str, Head]:
    noise = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(70, 8, generator=noise), torch.randn(70, generator=noise)
    return {
        "plain": Head(weight),
        "bias and scale": Head(weight, bias=bias, scale=0.5),
        "soft-cap": Head(weight, softcap=2.0, scale=0.7),
        "padded": Head(weight, vocabulary=64, softcap=3.0),
    }


@pytest.fixture(params=list(heads()))
def head(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Head:
    monkeypatch.setattr("lmsteer.one_pass.gradients.CPU_VOCAB_BLOCK", 16)  # several blocks
    monkeypatch.setattr("lmsteer.one_pass.gradients.CPU_TOKENS", 7)
    return heads()[request.param]


def sample(head: Head, tokens: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    noise = torch.Generator().manual_seed(1)
    return torch.randn(tokens, 8, generator=noise), torch.randint(head.vocabulary, (tokens,), generator=noise)


def autograd_gradient(head: Head, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    hidden = hidden.clone().requires_grad_()
    logits = head(hidden)[..., : head.vocabulary]
    (gradient,) = torch.autograd.grad(-torch.nn.functional.cross_entropy(logits, targets, reduction="sum"), hidden)
    return gradient


def test_gradients_are_those_of_autograd(head: Head) -> None:
    hidden, targets = sample(head)
    expected = autograd_gradient(head, hidden, targets)
    torch.testing.assert_close(LoglikGradients(head)(hidden, targets), expected, rtol=1e-4, atol=1e-5)


def test_the_fisher_information_is_the_expected_outer_product_of_gradients(head: Head) -> None:
    hidden, targets = sample(head)
    gradients = LoglikGradients(head)
    gradients(hidden, targets)
    expected = torch.zeros(8, 8)
    for state in hidden:  # every possible target, weighted by its probability
        vocabulary = torch.arange(head.vocabulary)
        scores = autograd_gradient(head, state.expand(head.vocabulary, -1), vocabulary)
        probabilities = head(state[None])[0, : head.vocabulary].softmax(-1)
        expected += scores.T @ (scores * probabilities[:, None])
    torch.testing.assert_close(gradients.fisher().float(), expected, rtol=1e-4, atol=1e-4)
    assert gradients.tokens == 20


def test_calls_add_up(head: Head) -> None:
    hidden, targets = sample(head)
    at_once, split = LoglikGradients(head), LoglikGradients(head)
    expected = at_once(hidden, targets)
    chunks = [split(hidden[chunk], targets[chunk]) for chunk in (slice(3), slice(3, 3), slice(3, None))]
    torch.testing.assert_close(torch.cat(chunks), expected)
    torch.testing.assert_close(split.fisher(), at_once.fisher(), rtol=1e-5, atol=1e-5)


def test_gradients_of_every_architecture_are_those_of_autograd_in_the_dtype_of_hidden_states(
    model: LanguageModel,
) -> None:
    ids = torch.arange(2, 12)[None]
    hidden, targets = model.hidden(ids)[0, :-1].clone(), ids[0, 1:]
    gradient = LoglikGradients(model.head)(hidden, targets)
    assert gradient.dtype == hidden.dtype
    torch.testing.assert_close(gradient, autograd_gradient(model.head, hidden, targets), rtol=1e-3, atol=1e-4)
