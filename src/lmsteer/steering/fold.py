"""Steered heads: folded at one strength, with one strength per row, or hooked into a transformers model.

Shapes: B rows, D width, K dimensions, V vocabulary.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lmsteer.errors import InputError
from lmsteer.models.device_map import computes_on
from lmsteer.models.head import Head
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Mixture, Source, TextsSoFar
from lmsteer.steering.schedule import factors

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
    if any(strength_K[steer.dimensions.index(name)] for name in steer.schedules):
        return steered_rows(model, steer, strength_K[None])

    @torch.inference_mode()
    def shift(hidden_ND: Tensor) -> Tensor:
        steered_ND: Tensor = steer.to(hidden_ND.device)(hidden_ND, strength_K.to(hidden_ND.device)[None])
        return steered_ND

    @functools.cache
    def folded() -> Head:
        return fold(model.head, steer, strength_K)

    # Folded at the first token: a divergence needs only the shift.
    return Mixture((Source(model, lambda hidden_BD: folded()(hidden_BD), shift=shift),))


def steered_rows(model: LanguageModel, steer: Steer, strength_BK: Tensor) -> Mixture:
    """Return the distribution of the next token at a strength for each row; schedules multiply them.

    If all rows have the same strength and there is no schedule, ``steered_mixture`` is faster.

    Args:
        strength_BK: A first axis of size 1 stands for all rows.
    """
    steer, strength_BK = steer.to(model.device), strength_BK.to(model.device)

    @torch.inference_mode()
    def shift(hidden_ND: Tensor, so_far: TextsSoFar) -> Tensor:
        strength_NK = strength_BK.expand(len(hidden_ND), -1) if len(strength_BK) == 1 else strength_BK[so_far.row_N]
        steered_ND: Tensor = steer(hidden_ND, strength_NK * factors(steer, so_far))
        return steered_ND

    return Mixture((Source(model, model.head, shift_rows=shift),))


def mixed_steers(model: LanguageModel, rows: Sequence[tuple[Steer | None, Mapping[str, float]]]) -> Mixture:
    """Return the distribution of the next token where each row has a steer of its own, with its strengths by name.

    Args:
        rows: One for each row; None is the plain model. Rows that share a steer and its strengths are steered together.

    Raises:
        InputError: If a strength is not one of the dimensions of its steer.
    """
    controls: dict[tuple[int, tuple[tuple[str, float], ...]], int] = {}
    number_B = torch.tensor(
        [controls.setdefault((id(steer), tuple(strength.items())), len(controls)) for steer, strength in rows]
    )
    steered = {
        number: steered_rows(model, steer, steer.strengths(strength)[None]).sources[0].shift_rows
        for number, (steer, strength) in zip(number_B.tolist(), rows, strict=True)
        if steer is not None
    }

    @torch.inference_mode()
    def shift(hidden_ND: Tensor, so_far: TextsSoFar) -> Tensor:
        shifted_ND, number_N = hidden_ND.clone(), number_B.to(so_far.row_N.device)[so_far.row_N]
        for number, of_steer in steered.items():
            if of_steer and len(index := (number_N == number).nonzero()[:, 0]):
                shifted_ND[index] = of_steer(hidden_ND[index], so_far.only(index))
        return shifted_ND

    return Mixture((Source(model, model.head, shift_rows=shift),))


@contextlib.contextmanager
def shifted_inputs(lm: PreTrainedModel, steer: Steer, strength_BK: Tensor) -> Iterator[None]:
    """Steer what reaches the output embeddings of a transformers model inside; its ``generate`` works as well.

    Raises:
        InputError: If the width of the steer is not that of the model, or the steer has a schedule.
    """
    if steer.schedules:
        raise InputError(
            f"the strength of {', '.join(steer.schedules)} follows a schedule, which a hook cannot do; use generate"
        )
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
