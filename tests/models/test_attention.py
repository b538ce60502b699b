"""Promises of attention by products."""

import pytest
import torch
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from lmsteer.models import attention
from lmsteer.models.attention import attention_by_products, fast_attention
from lmsteer.models.random_models import tiny


class Layer(nn.Module):
    is_causal = True
    num_key_value_groups = 3


def inputs(new: int, seen: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    noise = torch.Generator().manual_seed(0)
    shapes = (5, 6, new, 8), (5, 2, seen, 8), (5, 2, seen, 8)
    query, key, value = (torch.randn(shape, generator=noise) for shape in shapes)
    return query, key, value


def left_padding(new: int, seen: int) -> torch.Tensor:
    """What transformers makes of left-padded prompts: causal, and nothing from the first tokens of two rows."""
    allowed = torch.ones(new, seen, dtype=torch.bool).tril_(seen - new).expand(5, 1, new, seen).clone()
    allowed[:2, :, :, :2] = False
    return allowed


@pytest.mark.parametrize(
    ("new", "seen", "masked"), [(1, 9, False), (1, 9, True), (7, 7, False), (7, 7, True), (3, 9, True)]
)
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_it_equals_torchs_attention(new: int, seen: int, masked: bool, scaling: float | None) -> None:
    mask = left_padding(new, seen) if masked else None
    ours, _ = attention_by_products(Layer(), *inputs(new, seen), mask, scaling=scaling)
    theirs, _ = sdpa_attention_forward(Layer(), *inputs(new, seen), mask, scaling=scaling)
    seeing = slice(None) if mask is None else mask[:, 0].any(-1)  # a row that may see nothing has no right answer
    torch.testing.assert_close(ours[seeing], theirs[seeing])
    assert ours.isfinite().all()


def test_long_texts_and_unknown_masks_go_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    additive = torch.zeros(5, 1, 7, 7).masked_fill_(~left_padding(7, 7), torch.finfo(torch.float32).min)
    expected, _ = sdpa_attention_forward(Layer(), *inputs(7, 7), additive)
    torch.testing.assert_close(attention_by_products(Layer(), *inputs(7, 7), additive)[0], expected)
    monkeypatch.setattr(attention, "LARGEST", 1)
    expected, _ = sdpa_attention_forward(Layer(), *inputs(7, 7), None)
    assert torch.equal(attention_by_products(Layer(), *inputs(7, 7), None)[0], expected)


def test_a_model_has_its_own_attention_again_outside_also_after_an_error() -> None:
    lm = tiny().lm
    with fast_attention(lm):
        assert lm.config._attn_implementation == attention.NAME
    with pytest.raises(AttributeError), fast_attention(lm):
        lm.no_such_method()
    assert lm.config._attn_implementation == "sdpa"
