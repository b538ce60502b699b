"""From a steer and two language models to a steer of the second one, with what is known of how well it went."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from lmsteer.errors import InputError
from lmsteer.models.head import Head
from lmsteer.models.language_model import LanguageModel
from lmsteer.reference.descent_map import STRENGTH_SCALE
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import Provenance
from lmsteer.transfer.aligned_states import read_places
from lmsteer.transfer.effect_agreement import agreement, mean_probabilities
from lmsteer.transfer.linear_maps import DAMPING
from lmsteer.transfer.shared_vocabulary import shared_tokens
from lmsteer.transfer.steer_maps import (
    Anchors,
    Kind,
    Places,
    fit_maps,
    moved,
    part_of,
    reconstruction,
)

HELD_OUT = 10
"""Of so many texts, and tokens, one is held out while the kinds are measured; the maps of the steer then see all."""
MEASURED = 2048
"""Places at most at which probabilities are averaged, and effects compared."""
VERSIONS_OF = ("lmsteer", "torch", "transformers")


@dataclass(frozen=True)
class Pair:
    """Two models side by side: the heads of the tokens they share, and hidden states of the same texts."""

    source: LanguageModel
    target: LanguageModel
    heads: tuple[Head, Head]
    anchors: Anchors
    places: Places
    texts: dict[str, Any]


def pair_of(source: LanguageModel, target: LanguageModel, texts: Sequence[str], *, name: str) -> Pair:
    """Match the vocabularies and read the texts with both models.

    Args:
        texts: Distinct texts of any kind, without labels; the nearer to what will be written, the better.
        name: What they are called.

    Raises:
        InputError: If there are too few texts, the models are one, or they share no tokens or no places.
    """
    if len(texts) < 2 * HELD_OUT:
        raise InputError(f"texts {name}: {len(texts)}; {2 * HELD_OUT} or more are needed to map hidden states")
    if source.head.fingerprint() == target.head.fingerprint():
        raise InputError(f"models {source.name} and {target.name} are the same; a steer of the one serves the other")
    ours, theirs = (torch.tensor(tokens) for tokens in shared_tokens(source, target))
    heads = part_of(source.head, ours.to(source.device)), part_of(target.head, theirs.to(target.device))
    places = read_places(source, target, texts)
    weight_S = mean_probabilities(heads[1], places.at_most(MEASURED).target_NE)
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    known = {"name": name, "n": len(texts), "digest": digest}
    return Pair(source, target, heads, Anchors(heads[0].weight, heads[1].weight, weight_S), places, known)


def transfer(
    pair: Pair,
    steer: Steer,
    provenance: Provenance,
    *,
    kind: Kind = "states",
    compared_kinds: Sequence[Kind] = (),
    damping: float = DAMPING,
    seed: int = 0,
) -> tuple[Steer, Provenance]:
    """Move a steer of the source to the target.

    Args:
        compared_kinds: Further kinds of map that are measured, but not used.

    Returns:
        The steer without its dummy, and its origin, whose ``derivation`` says how it was made and holds the measures of
        each kind on held-out texts and tokens. Calibrated strengths are not taken over.
    """
    maps = fit_maps(kind, pair.anchors, pair.places, damping=damping, seed=seed)
    made = moved(steer, maps, scale=_scale(pair, kind))
    derivation = {
        "kind": "transfer",
        "map": kind,
        "damping": damping,
        "source": {"model": provenance.model, "fingerprint": provenance.fingerprint, "width": steer.width},
        "shared_tokens": len(pair.anchors.weight_S),
        "tokens": [pair.source.head.vocabulary, pair.target.head.vocabulary],
        "places": len(pair.places.text_N),
        "texts": pair.texts,
        "held_out": {
            name: measured(pair, steer, name, damping=damping, seed=seed)
            for name in dict.fromkeys((kind, *compared_kinds))
        },
        "seed": seed,
    }
    names = [steer.dimensions[k] for k in steer.attributes]
    return made, Provenance(
        model=pair.target.name,
        fingerprint=pair.target.head.fingerprint(),
        meaning={name: provenance.meaning.get(name, "") for name in names},
        corpus=provenance.corpus,
        seed=provenance.seed,
        versions={name: importlib.metadata.version(name) for name in VERSIONS_OF},
        derivation=derivation | ({"derivation": provenance.derivation} if provenance.derivation else {}),
    )


def measured(pair: Pair, steer: Steer, kind: Kind, *, damping: float = DAMPING, seed: int = 0) -> dict[str, Any]:
    """R² of the maps, and agreement of the effects by dimension, where neither texts nor tokens were fitted on."""
    held_N = pair.places.text_N % HELD_OUT == 0
    held_S = torch.arange(len(pair.anchors.weight_S)) % HELD_OUT == 0
    anchors, places = pair.anchors, pair.places.where(held_N).at_most(MEASURED)
    maps = fit_maps(kind, anchors.where(~held_S), pair.places.where(~held_N), damping=damping, seed=seed)
    made = moved(steer, maps, scale=_scale(pair, kind))
    return {
        "r2": reconstruction(maps, anchors.where(held_S), places),
        "effect": {name: asdict(agreement(*pair.heads, steer, made, places, name=name)) for name in made.dimensions},
    }


def _scale(pair: Pair, kind: Kind) -> float:
    """What an effect is multiplied by: one head may scale its logits, and the paper takes less of the strength."""
    return pair.source.head.scale / pair.target.head.scale * (STRENGTH_SCALE if kind == "legacy" else 1.0)
