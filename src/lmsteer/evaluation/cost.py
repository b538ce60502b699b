"""The cost of a row: parameters, passes, training data, and the divergence from the plain model."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lmsteer.evaluation.divergence import MAX_TOKENS, DivergenceMeter
from lmsteer.evaluation.results import Cost
from lmsteer.generation.decoding import Decoding
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Controller
from lmsteer.records import Generation
from lmsteer.steering.provenance import Provenance

Setting = tuple[str, str, tuple[tuple[str, float], ...]]
"""Prompt set, budget, and strengths by name: what a row is about."""


def setting_of(generation: Generation) -> Setting:
    """Return the setting of a generation."""
    return generation.prompts, generation.budget, tuple(sorted(generation.strength.items()))


def measure_costs(
    model: LanguageModel,
    controller: Controller,
    provenance: Provenance,
    generations: Sequence[Generation],
    decoding: Decoding,
) -> dict[Setting, Cost]:
    """Measure the cost of every steered setting; the divergence is that on the plain texts of the same prompts.

    Args:
        generations: All generations of a run, those of the plain model among them.
    """
    costs: dict[Setting, Cost] = {}
    seen = provenance.training.get("seen", {})
    for prompts in dict.fromkeys(generation.prompts for generation in generations):
        rows = [generation for generation in generations if generation.prompts == prompts]
        meter = DivergenceMeter(model, _sparse([row for row in rows if not row.strength], decoding), decoding)
        settings = dict.fromkeys(setting_of(row) for row in rows if row.strength)
        for setting in settings:
            mixture = controller.at(model, dict(setting[2]))
            nats = meter.nats(mixture).numpy()
            plain = mixture.plain_source(model)
            costs[setting] = Cost(
                trained_parameters=controller.trained_parameters,
                inference_parameters=controller.held_parameters(dict(setting[2])),
                passes=len(mixture.sources) + (decoding.filter == "base" and plain is None),
                train_rows=seen.get("rows"),
                train_tokens=seen.get("tokens"),
                kl=round(float(nats.mean()), 6),
                kl_p95=round(float(np.quantile(nats, 0.95)), 6),
            )
    return costs


def _sparse(plain: Sequence[Generation], decoding: Decoding) -> list[Generation]:
    """Take every so many-th prompt, as many as the divergence is measured on."""
    tokens = sum(len(generation.texts) for generation in plain) * decoding.max_new_tokens
    return list(plain[:: max(1, math.floor(tokens / MAX_TOKENS))])
