"""Steered heads: folded at one strength, with one strength per row, or hooked into a transformers model.

Shapes: B rows, D width, K dimensions, V vocabulary.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lmsteer.errors import InputError
from lmsteer.models.device_map import computes_on
from lmsteer.models.head import Head
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Mixture, Source

if TYPE_CHECKING:
    from lmsteer.steering.steer import Steer


@torch.no_grad()
def fold(head: Head, steer: Steer, strength_K: Tensor) -> Head:
    """Return the head whose logits on plain hidden states are those of ``head`` on steered ones.

    Each embedding row ``e`` becomes ``e + epsilon * sum_k v_k e W_k`` (paper, section 3); the bias of a steer adds
    ``epsilon * sum_k v_k e . b_k`` to the bias of the row. Sums are computed in float32 and stored in the head's dtype;
    the input embeddings of a tied model do not change.
    """
    weight = head.weight.float()
    folded = weight.clone()
    for k, value in enumerate(strength_K.tolist()):
        if value:
            folded += steer.epsilon * value * _steered_embeddings(weight, steer, k)
    return Head(
        folded.to(head.weight.dtype),
        bias=_bias(head, steer, strength_K),
        scale=head.scale,
        softcap=head.softcap,
        vocabulary=head.vocabulary,
    )


def steered_mixture(model: LanguageModel, steer: Steer, strength_K: Tensor) -> Mixture:
    """Return the distribution of the next token at a strength: the plain body, read by the folded head."""
    if not strength_K.any():
        return Mixture.plain(model)

    @torch.inference_mode()
    def shift(hidden_ND: Tensor) -> Tensor:
        steered_ND: Tensor = steer.to(hidden_ND.device)(hidden_ND, strength_K.to(hidden_ND.device)[None])
        return steered_ND

    @functools.cache
    def folded() -> Head:
        return fold(model.head, steer, strength_K)

    # Folded at the first token: a divergence needs only the shift.
    return Mixture((Source(model, lambda hidden_BD: folded()(hidden_BD), shift=shift),))


@contextlib.contextmanager
def shifted_inputs(lm: PreTrainedModel, steer: Steer, strength_BK: Tensor) -> Iterator[None]:
    """Steer what reaches the output embeddings of a transformers model inside; its ``generate`` works as well.

    Raises:
        InputError: If the width of the steer is not that of the model.
    """
    output = lm.get_output_embeddings()
    if steer.width != output.weight.shape[1]:
        name, width = lm.name_or_path, output.weight.shape[1]
        raise InputError(f"the steer has width {steer.width}, the model {name} {width}; they must agree")
    device = computes_on(output)
    steer, strength_BK = steer.to(device), strength_BK.to(device)

    def shift(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (steer(args[0].to(device), strength_BK), *args[1:])

    hook = output.register_forward_pre_hook(shift)
    try:
        yield
    finally:
        hook.remove()


class SteeredHead(nn.Module):
    """A head that steers each row at its own strength; if all rows have the same, ``fold`` is faster."""

    def __init__(self, head: Head, steer: Steer, strength_BK: Tensor) -> None:
        super().__init__()
        self.head, self.steer = head, steer.to(head.weight.device)
        self.strength_BK = strength_BK.to(head.weight.device)

    def of_rows(self, rows: Tensor) -> SteeredHead:
        """Return the head of some rows, by index."""
        return SteeredHead(self.head, self.steer, self.strength_BK[rows])

    def forward(self, hidden_BD: Tensor) -> Tensor:
        """Return logits (B, V) in float32."""
        logits: Tensor = self.head(self.steer(hidden_BD, self.strength_BK))
        return logits


def _steered_embeddings(weight_VD: Tensor, steer: Steer, k: int) -> Tensor:
    """Compute ``E (P1 P2^T)^T`` through the factors, so that a low-rank steer never becomes a D x D matrix."""
    p1, p2 = (None if x is None else x.to(weight_VD.device) for x in steer.factors(k))
    assert p1 is not None
    return weight_VD @ p1.T if p2 is None else (weight_VD @ p2) @ p1.T


def _bias(head: Head, steer: Steer, strength_K: Tensor) -> Tensor | None:
    if steer.bias is None or not strength_K.any():
        return head.bias
    shift_D = steer.epsilon * strength_K.float().cpu() @ steer.bias.cpu()
    bias_V = head.weight.float() @ shift_D.to(head.weight.device)
    return (bias_V if head.bias is None else head.bias.float() + bias_V).to(head.weight.dtype)
