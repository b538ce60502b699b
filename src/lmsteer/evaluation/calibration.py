"""The strength that reaches a budget, so that steers compare at equal cost.

Shapes: N packed tokens, D width, K dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError
from lmsteer.evaluation.evaluator import generation_nll
from lmsteer.evaluation.plan import Plan
from lmsteer.generation.generator import Generator
from lmsteer.metrics.functional import perplexity
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Generation
from lmsteer.scoring.perplexity import continuation_states
from lmsteer.steering.kl import divergence
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import Provenance
from lmsteer.steering.strength_search import Measure, Unreachable, calibrate

TOKENS = 2048
"""Tokens on which a divergence is measured, at most: spread evenly over the continuations."""


class DivergenceMeter:
    """Mean KL(steered || plain) per token on the plain model's own continuations, in nats.

    Raises:
        InputError: If there are no continuations, or one has no tokens.
    """

    def __init__(self, model: LanguageModel, plain: Sequence[Generation]) -> None:
        if not plain:
            raise InputError("a divergence needs continuations of the plain model; there are none")
        pairs = [(generation.prompt.text, text) for generation in plain for text in generation.texts]
        states_ND = continuation_states(model, [prompt for prompt, _ in pairs], [text for _, text in pairs])
        self.model = model
        self.states_ND = states_ND[:: max(1, math.ceil(len(states_ND) / TOKENS))]

    def __call__(self, steer: Steer, strength: dict[str, float]) -> float:
        """Nats per token at a strength."""
        nats_N = divergence(self.model.head, steer, steer.strengths(strength), self.states_ND)
        value = nats_N.double().mean().item() if nats_N.device.type != "mps" else nats_N.mean().item()
        if not math.isfinite(value):
            raise InputError(f"strength {strength}: the divergence is {value}; take a smaller budget")
        return value


def calibrations(
    plan: Plan, plain: Sequence[Generation], steer: Steer, process_group: ProcessGroup | None = None
) -> list[dict[str, Any]]:
    """Strengths that reach the budgets of a protocol, in each of its directions, with what they were measured on.

    A budget that is out of reach has the strength None, and a line is printed that says why.

    Args:
        plain: What the plain model wrote for the prompts of the plan.
        world: The processes that look for the same strengths, all of which call this; None: one.
    """
    protocol, start = plan.protocol, max(abs(value) for value in plan.protocol.strengths)
    process_group = process_group or ProcessGroup()
    found = []
    for direction in protocol.directions():
        calibration_generators = list(plan.calibration_generators_for(direction))
        known = {
            (generator.prompts_name, prompt.id) for generator in calibration_generators for prompt in generator.prompts
        }
        texts = [g for g in plain if (g.prompts, g.prompt.id) in known]
        for budget in protocol.budgets():
            costs = _divergences if budget.kind == "kl" else _ratios
            measure, at_zero = costs(plan, calibration_generators, texts, steer, process_group)
            entry: dict[str, Any] = {
                "budget": budget.label,
                "direction": direction,
                **plan.identity(),
                "prompts": {generator.prompts_name: len(generator.prompts) for generator in calibration_generators},
                "samples": protocol.samples,
                "perplexity_model": plan.perplexity_model.name if budget.kind == "perplexity" else None,
            }
            try:
                reached = asdict(calibrate(measure, budget, direction=direction, start=start, at_zero=at_zero))
            except Unreachable as error:
                print(f"{error}; it gets no row")
                reached = {"strength": None, "unreachable": str(error)}
            found.append(entry | reached)
    return found


def with_calibrations(provenance: Provenance, found: Sequence[dict[str, Any]]) -> Provenance:
    """The origin with calibrations added; those of the same protocol, budget, dimension and direction give way."""

    def key(entry: dict[str, Any]) -> tuple[object, ...]:
        return tuple(entry[name] for name in ("protocol", "budget", "dimension", "direction"))

    kept = [entry for entry in provenance.calibration if key(entry) not in {key(entry) for entry in found}]
    return replace(provenance, calibration=[*kept, *found])


def _divergences(
    plan: Plan,
    calibration_generators: Sequence[Generator],
    texts: Sequence[Generation],
    steer: Steer,
    process_group: ProcessGroup,
) -> tuple[Measure, float]:
    meter = DivergenceMeter(plan.model, texts)

    def measure(strength: float) -> float:
        return process_group.broadcast(meter(steer, {plan.dimension: strength} | plan.fixed_strengths))

    return measure, measure(0.0) if plan.fixed_strengths else 0.0


def _ratios(
    plan: Plan,
    calibration_generators: Sequence[Generator],
    texts: Sequence[Generation],
    steer: Steer,
    process_group: ProcessGroup,
) -> tuple[Measure, float]:
    limit = plan.protocol.legacy_perplexity_limit
    plain = _perplexity(plan.perplexity_model, texts, limit)

    def measure(strength: float) -> float:
        named = {plan.dimension: strength} | plan.fixed_strengths
        batches = [
            process_group.gather_in_order(list(generator.run([named], steer, process_group)))
            for generator in calibration_generators
        ]
        written = [generation for some in batches for batch in some for generation in batch]
        return process_group.broadcast(_perplexity(plan.perplexity_model, written, limit) / plain)

    return measure, measure(0.0) if plan.fixed_strengths else 1.0


def _perplexity(perplexity_model: LanguageModel, texts: Sequence[Generation], limit: float | None) -> float:
    """Mean perplexity, as it is reported."""
    ((nats, tokens),) = generation_nll(perplexity_model, [list(texts)], None)
    value = perplexity(nats, tokens, limit=limit).nanmean().item()
    if not math.isfinite(value):
        raise InputError(f"protocol.legacy_perplexity_limit={limit}: no sample is below it")
    return value
