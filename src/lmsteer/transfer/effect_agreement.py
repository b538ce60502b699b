"""How like the effect of a transferred steer is to the effect it was made of.

Shapes: S shared tokens, N places of texts, C a chunk of them, D width of the source, E width of the target.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lmsteer.models.head import Head
from lmsteer.steering.steer import Steer
from lmsteer.transfer.steer_maps import Places

CHUNK = 256
"""Places whose logits are held at once."""


@dataclass(frozen=True)
class Agreement:
    """Of two shifts of the same logits, at the same places.

    Attributes:
        correlation: In [-1, 1]; its square is the share of the divergence that a steer of the target causes (to second
            order) which goes into the source's effect.
        gain: What the source's effect is, in multiples of the target's, by least squares: 1 where strengths carry over.
    """

    correlation: float
    gain: float


@torch.inference_mode()
def mean_probabilities(head: Head, hidden_NE: Tensor) -> Tensor:
    """Probabilities (S,) of the tokens of a head, averaged over places; float64, on the CPU, with the sum 1."""
    total_S = torch.zeros(len(head.weight), dtype=torch.float64)
    for hidden_CE in hidden_NE.split(CHUNK):
        total_S += head(hidden_CE).softmax(-1).sum(0).cpu()
    return total_S / total_S.sum()


@torch.inference_mode()
def agreement(source: Head, target: Head, steer: Steer, made: Steer, places: Places, *, name: str) -> Agreement:
    """Compare what ``steer`` does to the logits of the source with what ``made`` does to the target's.

    Both shifts are centered by the target's probabilities at each place, since a softmax does not see what is common to
    all words, and products are taken under these probabilities.

    Args:
        source: Head of the shared tokens; ``target`` is that of the same tokens, in the same order.
        name: The dimension.
    """
    ours, theirs = (
        own.logit_factors(head, own.dimensions.index(name)) for own, head in ((steer, source), (made, target))
    )
    products = torch.zeros(3, dtype=torch.float64)
    for source_CD, target_CE in zip(places.source_ND.split(CHUNK), places.target_NE.split(CHUNK), strict=True):
        p_CS = target(target_CE).softmax(-1)
        wanted_CS, got_CS = (
            _centered(p_CS, hidden.float() @ first @ second.T + constant_S)
            for hidden, (first, second, constant_S) in ((source_CD, ours), (target_CE, theirs))
        )
        pairs = ((wanted_CS, wanted_CS), (got_CS, got_CS), (wanted_CS, got_CS))
        products += torch.stack([(p_CS * a * b).sum() for a, b in pairs]).cpu()
    wanted, got, both = products.tolist()
    return Agreement(both / (wanted * got) ** 0.5 if wanted * got else 0.0, both / got if got else 0.0)


def _centered(p_CS: Tensor, shift_CS: Tensor) -> Tensor:
    return shift_CS - (p_CS * shift_CS).sum(-1, keepdim=True)
