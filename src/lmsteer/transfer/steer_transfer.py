"""Transfer a steer from one language model to another, and measure the transfer on held-out texts and tokens."""

import hashlib
import importlib.metadata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from lmsteer.errors import InputError
from lmsteer.models.head import Head
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Row
from lmsteer.reference.descent_map import STRENGTH_SCALE
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer
from lmsteer.transfer.aligned_states import align_states
from lmsteer.transfer.effect_agreement import agreement, mean_probabilities
from lmsteer.transfer.linear_maps import DAMPING
from lmsteer.transfer.shared_vocabulary import shared_tokens
from lmsteer.transfer.steer_maps import (
    AlignedStates,
    Anchors,
    Kind,
    apply_maps,
    fit_maps,
    reconstruction,
    select_tokens,
)

HELD_OUT = 10
"""One in 10 texts and tokens is held out to measure a kind; the maps of the steer are fitted to all."""
MEASURED_POSITIONS = 2048
"""Most positions for mean probabilities and for the comparison of effects."""
VERSIONS_OF = ("lmsteer", "torch", "transformers")


@dataclass(frozen=True)
class ModelPair:
    """Two models with the heads of their shared tokens, and hidden states of the same texts."""

    source: LanguageModel
    target: LanguageModel
    heads: tuple[Head, Head]
    anchors: Anchors
    states: AlignedStates
    texts: dict[str, Any]


def align_models(source: LanguageModel, target: LanguageModel, rows: Sequence[Row], *, name: str) -> ModelPair:
    """Match the vocabularies of two models and compute their hidden states of texts.

    Args:
        rows: Distinct texts, whose labels do not count; best if similar to the text that will be generated.
        name: Name of the texts.

    Raises:
        InputError: If there are too few texts, the models are the same, or they share no tokens or no positions.
    """
    if len(rows) < 2 * HELD_OUT:
        raise InputError(f"texts {name}: {len(rows)}; {2 * HELD_OUT} or more are needed to map hidden states")
    if source.head.fingerprint() == target.head.fingerprint():
        raise InputError(
            f"models {source.name} and {target.name} are the same; a steer of the one can be used with the other"
        )
    ours, theirs = (torch.tensor(tokens) for tokens in shared_tokens(source, target))
    heads = select_tokens(source.head, ours.to(source.device)), select_tokens(target.head, theirs.to(target.device))
    states = align_states(source, target, rows)
    weight_S = mean_probabilities(heads[1], states.at_most(MEASURED_POSITIONS).target_NE)
    read = "\n".join(text for row in rows for text in (*(turn for _, turn in row.turns), row.text))
    facts = {"name": name, "n": len(rows), "digest": hashlib.sha256(read.encode()).hexdigest()}
    return ModelPair(source, target, heads, Anchors(heads[0].weight, heads[1].weight, weight_S), states, facts)


def transfer(
    pair: ModelPair,
    steer: Steer,
    provenance: Provenance,
    *,
    kind: Kind = "states",
    compared_kinds: Sequence[Kind] = (),
    damping: float = DAMPING,
    seed: int = 0,
) -> tuple[Steer, Provenance]:
    """Transfer a steer from the source to the target.

    Args:
        compared_kinds: Further kinds of map that are measured, but not used.

    Returns:
        The steer without its dummy, and its provenance, whose ``derivation`` holds the options and the measures of each
        kind on held-out texts and tokens. Calibrations are dropped.
    """
    maps = fit_maps(kind, pair.anchors, pair.states, damping=damping, seed=seed)
    transferred = apply_maps(steer, maps, scale=_scale(pair, kind))
    derivation = {
        "kind": "transfer",
        "map": kind,
        "damping": damping,
        "source": {
            "model": provenance.model,
            "fingerprint": provenance.fingerprint,
            "commit": provenance.commit,
            "width": steer.width,
        },
        "shared_tokens": len(pair.anchors.weight_S),
        "tokens": [pair.source.head.vocabulary, pair.target.head.vocabulary],
        "places": len(pair.states.text_N),
        "texts": pair.texts,
        "held_out": {
            name: evaluate_maps(pair, steer, name, damping=damping, seed=seed)
            for name in dict.fromkeys((kind, *compared_kinds))
        },
        "seed": seed,
    }
    names = [steer.dimensions[k] for k in steer.attributes]
    return transferred, Provenance(
        model=pair.target.name,
        fingerprint=pair.target.head.fingerprint(),
        commit=pair.target.commit,
        meaning={name: provenance.meaning.get(name, "") for name in names},
        corpus=provenance.corpus,
        seed=provenance.seed,
        versions={name: importlib.metadata.version(name) for name in VERSIONS_OF},
        derivation=derivation | ({"derivation": provenance.derivation} if provenance.derivation else {}),
    )


def evaluate_maps(
    pair: ModelPair, steer: Steer, kind: Kind, *, damping: float = DAMPING, seed: int = 0
) -> dict[str, Any]:
    """Measure R² of the maps, and the agreement of the effects by dimension, on held-out texts and tokens."""
    test_N = pair.states.text_N % HELD_OUT == 0
    test_S = torch.arange(len(pair.anchors.weight_S)) % HELD_OUT == 0
    anchors, states = pair.anchors, pair.states.select(test_N).at_most(MEASURED_POSITIONS)
    maps = fit_maps(kind, anchors.select(~test_S), pair.states.select(~test_N), damping=damping, seed=seed)
    transferred = apply_maps(steer, maps, scale=_scale(pair, kind))
    return {
        "r2": reconstruction(maps, anchors.select(test_S), states),
        "effect": {
            name: asdict(agreement(*pair.heads, steer, transferred, states, name=name))
            for name in transferred.dimensions
        },
    }


def _scale(pair: ModelPair, kind: Kind) -> float:
    """Return the factor of the effects: the ratio of the heads' scales, reduced for "legacy" as in the paper."""
    return pair.source.head.scale / pair.target.head.scale * (STRENGTH_SCALE if kind == "legacy" else 1.0)
