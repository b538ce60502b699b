"""A steer of one language model moved to another, whose width and vocabulary may differ.

A steer adds ``epsilon v (h P1) · (e P2)`` to the logit of the word with embedding ``e`` behind the hidden state ``h``:
a product of what is read from the context and what is read from the word. So it moves by two maps, one between the
hidden states of the same texts and one between the embeddings of the same words: ``P1' = A P1`` and ``P2' = B P2``.
The paper has one map between the embeddings for both, ``W' = Hᵀ W H``.

Shapes: S shared tokens, N places of texts, D width of the source, E width of the target, R rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.models.head import Head
from lmsteer.reference.descent_map import descent_map
from lmsteer.steering.steer import Factors, Steer
from lmsteer.transfer.linear_maps import DAMPING, centered, explained, procrustes, ridge

Kind = Literal["states", "ridge", "procrustes", "legacy"]
KINDS: tuple[Kind, ...] = ("states", "procrustes", "ridge", "legacy")


@dataclass(frozen=True)
class Places:
    """Hidden states of two models behind the same beginnings of texts; ``text_N`` says of which text."""

    source_ND: Tensor
    target_NE: Tensor
    text_N: Tensor

    def where(self, chosen_N: Tensor) -> Places:
        """Some of the places."""
        return Places(self.source_ND[chosen_N], self.target_NE[chosen_N], self.text_N[chosen_N])

    def at_most(self, n: int) -> Places:
        """So many places, spread evenly."""
        return self.where(torch.arange(0, len(self.text_N), max(1, -(-len(self.text_N) // n))))


@dataclass(frozen=True)
class Anchors:
    """Output embeddings of the tokens that two vocabularies share; ``weight_S`` sums to 1.

    The weight is the mean probability of a token in the target: a softmax feels a shift of a word as much as the word
    is likely.
    """

    source_SD: Tensor
    target_SE: Tensor
    weight_S: Tensor

    def where(self, chosen_S: Tensor) -> Anchors:
        """Some of the tokens, their weights scaled to the sum of 1 again."""
        weight_S = self.weight_S[chosen_S]
        return Anchors(self.source_SD[chosen_S], self.target_SE[chosen_S], weight_S / weight_S.sum())


class Maps(NamedTuple):
    """From the target's hidden states and output embeddings to the source's: (E, D) in float64, on the CPU."""

    context_ED: Tensor
    output_ED: Tensor


def fit_maps(kind: Kind, anchors: Anchors, places: Places, *, damping: float = DAMPING, seed: int = 0) -> Maps:
    """Fit the maps of a kind.

    Args:
        kind: "states": ridge regression of hidden states on hidden states, and of embeddings, centered, on embeddings.
            The others have one map between the embeddings for both sides, as the paper does: "ridge", "procrustes", or
            "legacy", the paper's own.
        damping: See ``ridge``.
        seed: Of the noise at which the descent of "legacy" begins.
    """
    x_SE, y_SD, weight_S = anchors.target_SE, anchors.source_SD, anchors.weight_S
    if kind == "legacy":
        map_ED = descent_map(x_SE, y_SD, seed=seed)
        return Maps(map_ED, map_ED)
    # A softmax sees differences between words alone, so that the mean need not be met.
    x_SE, y_SD = centered(x_SE, weight_S), centered(y_SD, weight_S)
    output_ED = (
        procrustes(x_SE, y_SD, weight_S) if kind == "procrustes" else ridge(x_SE, y_SD, weight_S, damping=damping)
    )
    if kind == "states":
        return Maps(ridge(places.target_NE, places.source_ND, damping=damping), output_ED)
    return Maps(output_ED, output_ED)


def moved(steer: Steer, maps: Maps, *, scale: float = 1.0) -> Steer:
    """The steer of the target, ``P1' = A P1``, ``P2' = scale B P2`` and ``b' = scale B b``, without the dummy.

    The dummy holds the style of the source's corpus as far as the source lacked it, which says nothing of the target.

    Args:
        scale: Of all effects, such as the ratio of two heads' scales.

    Raises:
        InputError: If the steer has no attribute.
    """
    if not steer.attributes:
        raise InputError(f"steer of {', '.join(steer.dimensions)}: nothing to transfer; an attribute expected")
    context_ED, output_ED = maps.context_ED, scale * maps.output_ED
    parts: dict[str, Factors] = {}
    biases: dict[str, Tensor | None] = {}
    for k in steer.attributes:
        name, (p1, p2) = steer.dimensions[k], steer.factors(k)
        p1 = context_ED @ p1.cpu().double()
        parts[name] = (
            ((p1 @ output_ED.T).float(), None) if p2 is None else (p1.float(), (output_ED @ p2.cpu().double()).float())
        )
        biases[name] = None if steer.bias is None else (output_ED @ steer.bias[k].detach().cpu().double()).float()
    return Steer.from_factors(parts, epsilon=steer.epsilon, biases=None if steer.bias is None else biases)


def reconstruction(maps: Maps, anchors: Anchors, places: Places) -> dict[str, float]:
    """R² of both maps on pairs: of the source's hidden states, and of its embeddings by weight."""
    even_N = torch.full((len(places.text_N),), 1 / len(places.text_N), dtype=torch.float64)
    return {
        "states": explained(places.target_NE, places.source_ND, maps.context_ED, even_N),
        "embeddings": explained(anchors.target_SE, anchors.source_SD, maps.output_ED, anchors.weight_S),
    }


def part_of(head: Head, tokens: Tensor) -> Head:
    """The head of some tokens alone."""
    bias = None if head.bias is None else head.bias[tokens]
    return Head(head.weight[tokens], bias=bias, scale=head.scale, softcap=head.softcap)
