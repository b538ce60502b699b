"""The strength that reaches a budget, so that steers compare at equal cost.

Shapes: N packed tokens, D width, K dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lmsteer.budget import Budget
from lmsteer.errors import InputError
from lmsteer.evaluation import nats_of
from lmsteer.generation.generate import Generator
from lmsteer.metrics.functional import perplexity
from lmsteer.plan import Plan
from lmsteer.records import Generation
from lmsteer.scoring.perplexity import continuation_states
from lmsteer.steering.divergence import divergence
from lmsteer.steering.model import LanguageModel
from lmsteer.steering.steer import Steer
from lmsteer.steering.store import Origin
from lmsteer.world import World

Measure = Callable[[float], float]
"""Cost of a strength."""

TOKENS = 2048
"""Tokens on which a divergence is measured, at most: spread evenly over the continuations."""
TOLERANCE = {"kl": 0.01, "perplexity": 0.03}
"""Relative difference from the budget that is good enough; a perplexity is measured on few samples."""
NARROW = 0.02
"""Brackets narrower than this share of the strength are not parted: there the cost jumps, as one sample decides."""
LARGEST = 1e3
"""Strengths beyond it are not tried."""
TRIES = 12


class Unreachable(InputError):
    """No strength in reach costs what a budget allows."""


@dataclass(frozen=True)
class Calibrated:
    """A strength, the cost that was measured at it, and all ``(strength, cost)`` that were tried."""

    strength: float
    reached: float
    tried: tuple[tuple[float, float], ...]


def calibrate(measure: Measure, budget: Budget, *, direction: int, start: float, at_zero: float) -> Calibrated:
    """Find the strength whose cost is ``budget``, by false position (the Illinois variant) in a bracket.

    Both costs are made nearly straight in the strength first: the root of a divergence, the logarithm of a ratio.

    Args:
        measure: Cost of a strength in the kind of the budget: nats, or a multiple of the plain perplexity.
        direction: 1 or -1, the sign of the strength.
        start: Where to begin, above 0.
        at_zero: Cost at strength 0; above 0 nats or 1 where a dummy is on.

    Raises:
        Unreachable: If the cost at 0 is above the budget already, or no strength up to 1000 reaches it.
    """
    straight = math.sqrt if budget.kind == "kl" else math.log
    tried: list[tuple[float, float]] = []

    def error(size: float) -> float:
        tried.append((direction * size, measure(direction * size)))
        print(f"{budget.label}: strength {direction * size:+g} costs {tried[-1][1]:.4g}", flush=True)
        return straight(tried[-1][1]) - straight(budget.value)

    low, low_error = 0.0, straight(at_zero) - straight(budget.value)
    if low_error >= 0:
        raise Unreachable(f"budget {budget.label}: strength 0 costs {at_zero:.3g} already, as the dummy is on")
    high, high_error = start, error(start)
    while high_error < 0 and not _reached(tried[-1][1], budget):
        low, low_error = high, high_error
        if low >= LARGEST:
            raise Unreachable(f"budget {budget.label}: strength {direction * low:+g} costs {tried[-1][1]:.3g} only")
        progress = 1 + high_error / straight(budget.value)  # share of the straight line that is gone
        high = float(f"{min(LARGEST, low * min(8.0, 1.1 / max(progress, 0.1))):.4g}")
        high_error = error(high)
    last = 0
    while not _reached(tried[-1][1], budget) and len(tried) < TRIES:
        middle = float(f"{(low * high_error - high * low_error) / (high_error - low_error):.4g}")
        if middle in (low, high) or high - low < NARROW * high:
            break
        found = error(middle)
        side = 1 if found < 0 else -1
        if side > 0:
            low, low_error, high_error = middle, found, high_error / (2 if side == last else 1)
        else:
            high, high_error, low_error = middle, found, low_error / (2 if side == last else 1)
        last = side
    best = min(tried, key=lambda point: abs(straight(point[1]) - straight(budget.value)))
    if not _reached(best[1], budget):
        print(f"{budget.label}: the cost jumps; strength {best[0]:+g}, which costs {best[1]:.4g}, is the nearest")
    return Calibrated(*best, tuple(tried))


def _reached(cost: float, budget: Budget) -> bool:
    return abs(cost - budget.value) <= TOLERANCE[budget.kind] * budget.value


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
    plan: Plan, plain: Sequence[Generation], steer: Steer, world: World | None = None
) -> list[dict[str, Any]]:
    """Strengths that reach the budgets of a protocol, in each of its directions, with what they were measured on.

    A budget that is out of reach has the strength None, and a line is printed that says why.

    Args:
        plain: What the plain model wrote for the prompts of the plan.
        world: The processes that look for the same strengths, all of which call this; None: one.
    """
    protocol, start = plan.protocol, max(abs(value) for value in plan.protocol.strengths)
    world = world or World()
    found = []
    for direction in protocol.directions():
        few = list(plan.few_for(direction))
        known = {(generator.prompts_name, prompt.id) for generator in few for prompt in generator.prompts}
        texts = [g for g in plain if (g.prompts, g.prompt.id) in known]
        for budget in protocol.budgets():
            costs = _divergences if budget.kind == "kl" else _ratios
            measure, at_zero = costs(plan, few, texts, steer, world)
            entry: dict[str, Any] = {
                "budget": budget.label,
                "direction": direction,
                **plan.identity(),
                "prompts": {generator.prompts_name: len(generator.prompts) for generator in few},
                "samples": protocol.samples,
                "judge": plan.judge.name if budget.kind == "perplexity" else None,
            }
            try:
                reached = asdict(calibrate(measure, budget, direction=direction, start=start, at_zero=at_zero))
            except Unreachable as error:
                print(f"{error}; it gets no row")
                reached = {"strength": None, "unreachable": str(error)}
            found.append(entry | reached)
    return found


def noted(origin: Origin, found: Sequence[dict[str, Any]]) -> Origin:
    """The origin with calibrations added; those of the same protocol, budget, dimension and direction give way."""

    def key(entry: dict[str, Any]) -> tuple[object, ...]:
        return tuple(entry[name] for name in ("protocol", "budget", "dimension", "direction"))

    kept = [entry for entry in origin.calibration if key(entry) not in {key(entry) for entry in found}]
    return replace(origin, calibration=[*kept, *found])


def _divergences(
    plan: Plan, few: Sequence[Generator], texts: Sequence[Generation], steer: Steer, world: World
) -> tuple[Measure, float]:
    meter = DivergenceMeter(plan.model, texts)

    def measure(strength: float) -> float:
        return world.agreed(meter(steer, {plan.dimension: strength} | plan.always))

    return measure, measure(0.0) if plan.always else 0.0


def _ratios(
    plan: Plan, few: Sequence[Generator], texts: Sequence[Generation], steer: Steer, world: World
) -> tuple[Measure, float]:
    limit = plan.protocol.legacy_perplexity_limit
    plain = _perplexity(plan.judge, texts, limit)

    def measure(strength: float) -> float:
        named = {plan.dimension: strength} | plan.always
        batches = [world.merged(list(generator.run([named], steer, world))) for generator in few]
        written = [generation for some in batches for batch in some for generation in batch]
        return world.agreed(_perplexity(plan.judge, written, limit) / plain)

    return measure, measure(0.0) if plan.always else 1.0


def _perplexity(judge: LanguageModel, texts: Sequence[Generation], limit: float | None) -> float:
    """Mean perplexity, as it is reported."""
    ((nats, tokens),) = nats_of(judge, [list(texts)], None)
    value = perplexity(nats, tokens, limit=limit).nanmean().item()
    if not math.isfinite(value):
        raise InputError(f"protocol.legacy_perplexity_limit={limit}: no sample is below it")
    return value
