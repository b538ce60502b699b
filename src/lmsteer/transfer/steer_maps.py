"""Map a steer from one language model to another, whose width and vocabulary may differ.

A steer adds ``epsilon v (h P1) · (e P2)`` to the logit of the word with embedding ``e`` after the hidden state ``h``,
so it is mapped by two maps, one between the hidden states of the same texts and one between the embeddings of the same
words: ``P1' = A P1`` and ``P2' = B P2``. The paper uses one map between the embeddings for both, ``W' = Hᵀ W H``.

Shapes: S shared tokens, N positions of texts, D width of the source, E width of the target, R rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.models.head import Head
from lmsteer.reference.descent_map import descent_map
from lmsteer.steering.schedule import Gate, with_schedules
from lmsteer.steering.steer import Factors, Steer
from lmsteer.transfer.linear_maps import DAMPING, centered, explained, procrustes, ridge

Kind = Literal["states", "ridge", "procrustes", "legacy"]


@dataclass(frozen=True)
class AlignedStates:
    """Hidden states of two models after the same prefixes of texts; ``text_N`` is the index of the text."""

    source_ND: Tensor
    target_NE: Tensor
    text_N: Tensor

    def select(self, index: Tensor) -> AlignedStates:
        """Return a subset by a mask or by indices of positions."""
        return AlignedStates(self.source_ND[index], self.target_NE[index], self.text_N[index])

    def at_most(self, n: int) -> AlignedStates:
        """Return at most ``n`` positions, spread evenly."""
        return self.select(torch.arange(0, len(self.text_N), max(1, -(-len(self.text_N) // n))))


@dataclass(frozen=True)
class Anchors:
    """Output embeddings of the tokens that two vocabularies share; ``weight_S`` sums to 1.

    The weight is the mean probability of a token in the target, as the effect of a shift of a logit is proportional to
    its probability.
    """

    source_SD: Tensor
    target_SE: Tensor
    weight_S: Tensor

    def select(self, mask_S: Tensor) -> Anchors:
        """Return a subset of the tokens, with weights that sum to 1 again."""
        weight_S = self.weight_S[mask_S]
        return Anchors(self.source_SD[mask_S], self.target_SE[mask_S], weight_S / weight_S.sum())


class Maps(NamedTuple):
    """Maps (E, D) from the target's hidden states and output embeddings to the source's; float64, on the CPU."""

    context_ED: Tensor
    output_ED: Tensor


def fit_maps(kind: Kind, anchors: Anchors, states: AlignedStates, *, damping: float = DAMPING, seed: int = 0) -> Maps:
    """Fit the two maps of a kind.

    Args:
        kind: "states": ridge regression of hidden states on hidden states, and of embeddings, centered, on embeddings.
            The others use one map between the embeddings for both, as the paper does: "ridge", "procrustes", or
            "legacy", that of the paper.
        damping: See ``ridge``.
        seed: Seed of the noise from which the descent of "legacy" starts.
    """
    x_SE, y_SD, weight_S = anchors.target_SE, anchors.source_SD, anchors.weight_S
    if kind == "legacy":
        map_ED = descent_map(x_SE, y_SD, seed=seed)
        return Maps(map_ED, map_ED)
    # A softmax depends only on differences between words, so the means are not fitted.
    x_SE, y_SD = centered(x_SE, weight_S), centered(y_SD, weight_S)
    output_ED = (
        procrustes(x_SE, y_SD, weight_S) if kind == "procrustes" else ridge(x_SE, y_SD, weight_S, damping=damping)
    )
    if kind == "states":
        return Maps(ridge(states.target_NE, states.source_ND, damping=damping), output_ED)
    return Maps(output_ED, output_ED)


def apply_maps(steer: Steer, maps: Maps, *, scale: float = 1.0) -> Steer:
    """Return the steer of the target, ``P1' = A P1``, ``P2' = scale B P2`` and ``b' = scale B b``, without the dummy.

    The dummy absorbs how the style of the corpus differs from the source's, which does not apply to the target.

    Args:
        scale: Factor of all effects, such as the ratio of two heads' scales.

    Raises:
        InputError: If the steer has no attribute, or one with a gate.
    """
    if gated := [name for name, schedule in steer.schedules.items() if isinstance(schedule, Gate)]:
        raise InputError(f"{', '.join(gated)}: a gate is for its own model alone; compose the file without it first")
    if not steer.attributes:
        raise InputError(f"steer of {', '.join(steer.dimensions)}: nothing to transfer; an attribute expected")
    context_ED, output_ED = maps.context_ED, scale * maps.output_ED
    factors: dict[str, Factors] = {}
    biases: dict[str, Tensor | None] = {}
    for k in steer.attributes:
        name, (p1, p2) = steer.dimensions[k], steer.factors(k)
        p1 = context_ED @ p1.cpu().double()
        factors[name] = (
            ((p1 @ output_ED.T).float(), None) if p2 is None else (p1.float(), (output_ED @ p2.cpu().double()).float())
        )
        biases[name] = None if steer.bias is None else (output_ED @ steer.bias[k].detach().cpu().double()).float()
    transferred = Steer.from_factors(factors, epsilon=steer.epsilon, biases=None if steer.bias is None else biases)
    return with_schedules(transferred, steer.schedules)


def reconstruction(maps: Maps, anchors: Anchors, states: AlignedStates) -> dict[str, float]:
    """Return R² of both maps: for the source's hidden states, and for its embeddings by weight."""
    weight_N = torch.full((len(states.text_N),), 1 / len(states.text_N), dtype=torch.float64)
    return {
        "states": explained(states.target_NE, states.source_ND, maps.context_ED, weight_N),
        "embeddings": explained(anchors.target_SE, anchors.source_SD, maps.output_ED, anchors.weight_S),
    }


def select_tokens(head: Head, tokens: Tensor) -> Head:
    """Return the head restricted to some tokens."""
    bias = None if head.bias is None else head.bias[tokens]
    return Head(head.weight[tokens], bias=bias, scale=head.scale, softcap=head.softcap)
