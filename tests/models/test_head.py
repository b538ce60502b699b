"""Promises of the output head."""

import torch

from lmsteer.models.head import Head
from lmsteer.models.language_model import LanguageModel


def test_the_head_reproduces_the_models_own_logits(model: LanguageModel) -> None:
    ids = torch.randint(0, 384, (3, 20), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        logits = model.lm(input_ids=ids).logits
    torch.testing.assert_close(model.head(model.hidden(ids, torch.ones_like(ids))), logits, rtol=1e-5, atol=1e-5)


def test_fingerprint_is_the_same_in_both_precisions_and_differs_between_heads() -> None:
    weight = torch.randn(50, 8)
    assert Head(weight).fingerprint() == Head(weight.bfloat16()).fingerprint()
    changed = weight.clone()
    changed[3, 4] += 1
    assert Head(changed).fingerprint() != Head(weight).fingerprint()
    assert Head(weight, softcap=30.0).fingerprint() != Head(weight).fingerprint()
