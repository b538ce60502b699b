"""Plan the generations of a protocol for one model, and check them before any long work."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from lmsteer.errors import InputError
from lmsteer.evaluation.cost import Setting
from lmsteer.evaluation.evaluator import GenerationMetadata
from lmsteer.evaluation.protocol import Protocol
from lmsteer.evaluation.results import Cost, Unreached
from lmsteer.generation.decoding import Decoding
from lmsteer.generation.generation_files import ExpectedGeneration, expected_generations
from lmsteer.generation.generator import Generator
from lmsteer.models.language_model import LanguageModel
from lmsteer.steering.dimensions import DUMMY

YOUNGER_OPTIONS = {"stop_at_end": False, "temperature": 1.0, "top_k": 0, "filter": "mixed"}


class Plan:
    """The prompts, strengths and generators of a protocol for one model.

    Attributes:
        dimension: The dimension whose strength the protocol sets: the steer's first.
        fixed_strengths: Strengths of every steered row: the dummy's, if the steer has one and the protocol uses it.
        generators: Generators by key of the prompt set, for the plain model.
        measured_generators: Generators of the measured prompts; with ``held_out`` not those of the calibration.
        calibration_generators: Generators of the calibration prompts, by key; empty without budgets.
        reserved: Keys of texts that no steer may be trained on.

    Raises:
        InputError: If a prompt is too long for the model.
    """

    def __init__(self, model: LanguageModel, dimensions: Sequence[str], protocol: Protocol, decoding: Decoding) -> None:
        self.model, self.protocol, self.decoding, self.dimension = model, protocol, decoding, dimensions[0]
        self.fixed_strengths = {DUMMY: protocol.dummy} if protocol.dummy and DUMMY in dimensions else {}
        self.sets = protocol.prompt_sets()
        self.generators = {key: self._generator(key, slice(None)) for key in self.sets}
        keys, limit = self.sets if protocol.budgets() else (), protocol.calibration_prompts
        self.calibration_generators = {key: self._generator(key, slice(limit)) for key in keys}
        self.measured_generators = self.generators
        if protocol.held_out and protocol.budgets():
            self._check_held_out()
            self.measured_generators = {key: self._generator(key, slice(limit, None)) for key in self.sets}
        self.reserved = frozenset[str]().union(
            *(prompts.reserved for prompts in self.sets.values()), protocol.reserved()
        )

    def _check_held_out(self) -> None:
        for key, prompt_set in self.sets.items():
            if len(prompt_set.prompts) <= self.protocol.calibration_prompts:
                raise InputError(
                    f"protocol.calibration_prompts={self.protocol.calibration_prompts}: the prompt set {key} has "
                    f"{len(prompt_set.prompts)}; fewer expected, as protocol.held_out measures on the others"
                )

    def _generator(self, key: str, chosen: slice) -> Generator:
        prompt_set = self.sets[key]
        return Generator(
            self.model,
            prompt_set.prompts[chosen],
            decoding=self.decoding,
            samples=self.protocol.samples,
            seed=self.protocol.seed,
            batch_size=self.protocol.batch_size,
            prompts_name=prompt_set.name,
            likelihoods=self.protocol.perplexity_model is None,
        )

    @cached_property
    def perplexity_model(self) -> LanguageModel:
        """The model whose perplexity is reported."""
        return self.protocol.perplexity_model_for(self.model)

    def calibration_generators_for(self, direction: int) -> Iterator[Generator]:
        """Return the generators of the calibration prompts that are steered in a direction."""
        return (
            generator
            for key, generator in self.calibration_generators.items()
            if self.protocol.is_steered(key, direction)
        )

    def metadata(
        self,
        seed: int | None,
        settings: dict[str, Any],
        decoding: dict[str, Any],
        *,
        method: str = "lm-steer",
        costs: Mapping[Setting, Cost] | None = None,
        unreached: Sequence[Unreached] = (),
    ) -> GenerationMetadata:
        """Describe the generations of this plan, by a method fitted with a seed and settings.

        Options of the decoding that younger versions added are left out at their defaults, so that results of all
        versions can share a table.
        """
        decoding = {name: value for name, value in decoding.items() if YOUNGER_OPTIONS.get(name, ...) != value}
        return GenerationMetadata(
            method=method,
            costs=costs or {},
            unreached=unreached,
            model=self.model.name,
            seed=seed,
            settings=settings,
            decoding=decoding,
            batch_size=self.protocol.batch_size,
            noise_seed=self.protocol.seed,
            dtype=str(self.model.head.weight.dtype),
            duplicates={prompts.name: prompts.duplicates for prompts in self.sets.values()},
        )

    def identity(self) -> dict[str, Any]:
        """Return the entries that identify a calibration, together with its budget and direction."""
        return {"protocol": self.protocol.name, "dimension": self.dimension, "fixed_strengths": self.fixed_strengths}

    def calibrated(self, calibration: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Select the calibrations of a steer that belong to this plan."""
        budgets, identity = {budget.label for budget in self.protocol.budgets()}, self.identity()
        return [
            entry
            for entry in calibration
            if entry["budget"] in budgets and all(entry[name] == value for name, value in identity.items())
        ]

    def settings(self, key: str, calibration: Sequence[Mapping[str, Any]]) -> list[tuple[dict[str, float], str]]:
        """Return strengths by name and their budgets for one prompt set, the calibrated strengths last."""
        strengths = [(float(value), "") for value in sorted(self.protocol.strengths)]
        reached = [entry for entry in self.calibrated(calibration) if entry["strength"] is not None]
        strengths += [(float(entry["strength"]), str(entry["budget"])) for entry in reached]
        return [
            ({self.dimension: value} | self.fixed_strengths, budget)
            for value, budget in strengths
            if self.protocol.is_steered(key, value)
        ]

    def unreached(self, calibration: Sequence[Mapping[str, Any]], method: str) -> list[Unreached]:
        """List the budgets of this plan that a method does not reach, which have no row."""
        return [
            Unreached(method=method, budget=entry["budget"], direction=entry["direction"], reason=entry["unreachable"])
            for entry in self.calibrated(calibration)
            if entry["strength"] is None
        ]

    def expected_generations(self, calibration: Sequence[Mapping[str, Any]]) -> list[ExpectedGeneration]:
        """List all generations in the order of the file: those of the plain model first in each prompt set."""
        return [
            generation
            for key, generator in self.measured_generators.items()
            for generation in expected_generations(generator.prompts, [({}, ""), *self.settings(key, calibration)])
        ]
