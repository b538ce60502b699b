"""Promises of the divergence between a steered and the plain model."""

import pytest
import torch
import torch.nn.functional as F

from lmsteer.models.language_model import LanguageModel
from lmsteer.steering import kl as module
from lmsteer.steering.kl import divergence
from lmsteer.steering.steer import Steer


def test_it_is_the_kl_of_the_two_softmaxes(model: LanguageModel, steer: Steer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COLUMNS", 100)  # several blocks, the last one shorter
    monkeypatch.setattr(module, "TOKENS", 5)
    hidden_ND = 3 * torch.randn(13, 32, generator=torch.Generator().manual_seed(0))
    strength_K = steer.strengths({"sentiment": 4.0, "dummy": 1.0})
    known = slice(model.head.vocabulary)
    steered, plain = (
        F.log_softmax(model.head(x)[:, known].double(), -1) for x in (steer(hidden_ND, strength_K[None]), hidden_ND)
    )
    naive = F.kl_div(plain, steered, reduction="none", log_target=True).sum(-1)
    assert naive.min() > 0
    torch.testing.assert_close(
        divergence(model.head, steer(hidden_ND, strength_K[None]), hidden_ND).double(),
        naive.detach(),
        rtol=1e-3,
        atol=1e-5,
    )


def test_no_strength_is_no_divergence(tiny_model: LanguageModel, steer: Steer) -> None:
    hidden_ND = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    assert divergence(tiny_model.head, steer(hidden_ND, torch.zeros(1, 2)), hidden_ND).abs().max() < 1e-6
