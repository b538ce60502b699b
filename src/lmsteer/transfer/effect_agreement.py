"""Agreement between the effects of a steer and of the transferred steer.

Shapes: S shared tokens, N positions of texts, C a chunk of them, D width of the source, E width of the target.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lmsteer.models.head import Head
from lmsteer.steering.steer import Steer
from lmsteer.transfer.steer_maps import AlignedStates

CHUNK = 256
"""Positions whose logits are in memory at once."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of two shifts of the same logits, at the same positions.

    Attributes:
        correlation: In [-1, 1]; its square is the share of the divergence caused by the target's steer (to second
            order) that is along the source's effect.
        gain: Ratio of the source's effect to the target's, by least squares; 1 if strengths keep their meaning.
    """

    correlation: float
    gain: float


@torch.inference_mode()
def mean_probabilities(head: Head, hidden_NE: Tensor) -> Tensor:
    """Return the probabilities (S,) of the tokens of a head, averaged over positions; float64, on the CPU."""
    total_S = torch.zeros(len(head.weight), dtype=torch.float64)
    for hidden_CE in hidden_NE.split(CHUNK):
        total_S += head(hidden_CE).softmax(-1).sum(0).cpu()
    return total_S / total_S.sum()


@torch.inference_mode()
def agreement(
    source: Head, target: Head, steer: Steer, transferred: Steer, states: AlignedStates, *, name: str
) -> Agreement:
    """Compare the shift of the source's logits by ``steer`` with that of the target's by ``transferred``.

    Both shifts are centered by the target's probabilities at each position, since a softmax ignores a shift common to
    all words, and products are weighted by these probabilities.

    Args:
        source: Head of the shared tokens; ``target`` is that of the same tokens, in the same order.
        name: The dimension.
    """
    ours, theirs = (
        one.logit_factors(head, one.dimensions.index(name)) for one, head in ((steer, source), (transferred, target))
    )
    products = torch.zeros(3, dtype=torch.float64)
    for source_CD, target_CE in zip(states.source_ND.split(CHUNK), states.target_NE.split(CHUNK), strict=True):
        p_CS = target(target_CE).softmax(-1)
        shifts = (
            hidden.float() @ p1 @ p2_SR.T + bias_S
            for hidden, (p1, p2_SR, bias_S) in ((source_CD, ours), (target_CE, theirs))
        )
        source_CS, target_CS = (shift_CS - (p_CS * shift_CS).sum(-1, keepdim=True) for shift_CS in shifts)
        factors = ((source_CS, source_CS), (target_CS, target_CS), (source_CS, target_CS))
        products += torch.stack([(p_CS * a * b).sum() for a, b in factors]).cpu()
    source_norm, target_norm, product = products.tolist()
    correlation = product / (source_norm * target_norm) ** 0.5 if source_norm * target_norm else 0.0
    return Agreement(correlation, product / target_norm if target_norm else 0.0)
