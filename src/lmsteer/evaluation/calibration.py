"""Calibrate strengths to budgets, so that methods are compared at equal cost."""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError
from lmsteer.evaluation.divergence import DivergenceMeter
from lmsteer.evaluation.evaluator import generation_nll
from lmsteer.evaluation.plan import Plan
from lmsteer.generation.generator import Generator
from lmsteer.metrics.functional import perplexity
from lmsteer.models.mixture import Controller, mixture_at
from lmsteer.records import Generation
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.strength_search import Unreachable, find_strength

logger = logging.getLogger(__name__)


class StrengthCost(ABC):
    """The cost of a strength of the plan's dimension, in the units of a budget, the same in all processes.

    Args:
        generators: Generators of the calibration prompts.
        plain: The plain model's texts for these prompts.
    """

    plain_cost: float
    """Cost of the plain model."""

    def __init__(
        self,
        plan: Plan,
        generators: Sequence[Generator],
        plain: Sequence[Generation],
        controller: Controller,
        group: ProcessGroup,
    ) -> None:
        self.plan, self.generators, self.plain, self.process_group = plan, generators, plain, group
        self.controller = controller
        self._measured: dict[float, float] = {}

    def __call__(self, strength: float) -> float:
        """Return the cost of a strength, which is measured once."""
        if strength not in self._measured:
            strengths = {self.plan.dimension: strength} | self.plan.fixed_strengths
            self._measured[strength] = self.process_group.broadcast(self.measure(strengths))
        return self._measured[strength]

    def at_zero(self) -> float:
        """Return the cost of strength 0, at which fixed strengths such as the dummy's remain."""
        return self(0.0) if self.plan.fixed_strengths else self.plain_cost

    @abstractmethod
    def measure(self, strengths: dict[str, float]) -> float:
        """Measure the cost of strengths by name, in this process."""


class DivergenceCost(StrengthCost):
    """Nats per token between the steered and the plain model."""

    plain_cost = 0.0

    @cached_property
    def _meter(self) -> DivergenceMeter:
        return DivergenceMeter(self.plan.model, self.plain, self.plan.decoding)

    def measure(self, strengths: dict[str, float]) -> float:
        """Measure the divergence on the plain model's texts."""
        return float(self._meter.nats(mixture_at(self.plan.model, strengths, self.controller)).mean())


class PerplexityCost(StrengthCost):
    """Mean perplexity of steered texts, as a multiple of the plain model's."""

    plain_cost = 1.0

    @cached_property
    def _plain_perplexity(self) -> float:
        return self._perplexity(self.plain)

    def measure(self, strengths: dict[str, float]) -> float:
        """Generate texts and measure the ratio of perplexities."""
        plain = self._plain_perplexity
        texts = [
            generation
            for generator in self.generators
            for batch in self.process_group.gather_in_order(
                list(generator.run([strengths], self.controller, self.process_group))
            )
            for generation in batch
        ]
        return self._perplexity(texts) / plain

    def _perplexity(self, texts: Sequence[Generation]) -> float:
        limit = self.plan.protocol.legacy_perplexity_limit
        ((nll, tokens),) = generation_nll(self.plan.perplexity_model, [list(texts)], None)
        value = perplexity(nll, tokens, limit=limit).nanmean().item()
        if not math.isfinite(value):
            raise InputError(f"protocol.legacy_perplexity_limit={limit}: no sample is below it")
        return value


COSTS: dict[str, type[StrengthCost]] = {"kl": DivergenceCost, "perplexity": PerplexityCost}
"""Cost by kind of budget."""


def calibrate(
    plan: Plan, plain: Sequence[Generation], controller: Controller, process_group: ProcessGroup | None = None
) -> list[dict[str, Any]]:
    """Find the strengths that reach the protocol's budgets in each of its directions.

    Args:
        plain: The plain model's texts for the prompts of the plan.
        process_group: Processes that search together; all of them call this. None: this process alone.

    Returns:
        An entry for each direction and budget, with the data that it was measured on. The strength is None where the
        budget cannot be reached; the reason is logged.
    """
    process_group = process_group or ProcessGroup()
    return [
        entry for direction in plan.protocol.directions()
        for entry in _calibrate_direction(plan, plain, controller, direction, process_group)
    ]  # fmt: skip


def _calibrate_direction(
    plan: Plan, plain: Sequence[Generation], controller: Controller, direction: int, process_group: ProcessGroup
) -> Iterator[dict[str, Any]]:
    protocol = plan.protocol
    start = max(abs(value) for value in protocol.strengths)
    generators = list(plan.calibration_generators_for(direction))
    prompts = {(generator.prompts_name, prompt.id) for generator in generators for prompt in generator.prompts}
    texts = [generation for generation in plain if (generation.prompts, generation.prompt.id) in prompts]
    costs = {kind: of_kind(plan, generators, texts, controller, process_group) for kind, of_kind in COSTS.items()}
    for budget in protocol.budgets():  # those of a kind share what was measured
        cost = costs[budget.kind]
        entry: dict[str, Any] = {
            "budget": budget.label,
            "direction": direction,
            **plan.identity(),
            "prompts": {generator.prompts_name: len(generator.prompts) for generator in generators},
            "samples": protocol.samples,
            "perplexity_model": plan.perplexity_model.name if budget.kind == "perplexity" else None,
        }
        try:
            point = asdict(find_strength(cost, budget, direction=direction, start=start, at_zero=cost.at_zero()))
        except Unreachable as error:
            logger.info("%s; it gets no row", error)
            point = {"strength": None, "unreachable": str(error)}
        yield entry | point


def with_calibrations(provenance: Provenance, entries: Sequence[dict[str, Any]]) -> Provenance:
    """Add calibrations; they replace those of the same protocol, budget, dimension and direction."""

    def key(entry: dict[str, Any]) -> tuple[object, ...]:
        return tuple(entry[name] for name in ("protocol", "budget", "dimension", "direction"))

    replaced = {key(entry) for entry in entries}
    remaining = [entry for entry in provenance.calibration if key(entry) not in replaced]
    return replace(provenance, calibration=[*remaining, *entries])
