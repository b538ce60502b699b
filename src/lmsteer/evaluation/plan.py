"""What a protocol asks of a model, checked before any long work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from lmsteer.evaluation.evaluator import GenerationMetadata
from lmsteer.evaluation.protocol import Protocol
from lmsteer.generation.decoding import Decoding
from lmsteer.generation.generation_files import ExpectedGeneration, expected_generations
from lmsteer.generation.generator import Generator
from lmsteer.models.language_model import LanguageModel
from lmsteer.steering.steer import DUMMY


class Plan:
    """Prompts, strengths, and texts kept from training.

    Attributes:
        dimension: The steer's dimension whose strength is set: its first.
        always: What else is on in every steered row: the dummy, where the steer has one and the protocol wants it.
        generators: By key of the prompt set.
        few: The same for the prompts on which strengths are calibrated; empty where none are.
        reserved: Text keys that no steer may be trained on.

    Raises:
        InputError: If a prompt is too long for the model.
    """

    def __init__(self, model: LanguageModel, dimensions: Sequence[str], protocol: Protocol, decoding: Decoding) -> None:
        self.model, self.protocol, self.decoding, self.dimension = model, protocol, decoding, dimensions[0]
        self.fixed_strengths = {DUMMY: protocol.dummy} if protocol.dummy and DUMMY in dimensions else {}
        self.sets = protocol.prompt_sets()
        self.generators = {key: self._generator(key, None) for key in self.sets}
        calibrated = self.sets if protocol.budgets() else {}
        self.calibration_generators = {key: self._generator(key, protocol.calibration_prompts) for key in calibrated}
        self.reserved = frozenset[str]().union(*(found.reserved for found in self.sets.values()), protocol.reserved())

    def _generator(self, key: str, most: int | None) -> Generator:
        found = self.sets[key]
        return Generator(
            self.model,
            found.prompts[:most],
            decoding=self.decoding,
            samples=self.protocol.samples,
            seed=self.protocol.seed,
            batch_size=self.protocol.batch_size,
            prompts_name=found.name,
            likelihoods=self.protocol.perplexity_model is None,
        )

    @cached_property
    def perplexity_model(self) -> LanguageModel:
        """The model whose perplexity is reported."""
        return self.protocol.perplexity_model_for(self.model)

    def calibration_generators_for(self, direction: int) -> Iterator[Generator]:
        """Generators of the calibrating prompts that are steered in a direction."""
        return (
            generator
            for key, generator in self.calibration_generators.items()
            if self.protocol.is_steered(key, direction)
        )

    def metadata(self, seed: int, settings: dict[str, Any], decoding: Any) -> GenerationMetadata:
        """Who writes: this model, trained with a seed and settings; ``decoding`` as it was configured."""
        return GenerationMetadata(
            model=self.model.name,
            seed=seed,
            settings=settings,
            decoding=decoding,
            batch_size=self.protocol.batch_size,
            noise_seed=self.protocol.seed,
            dtype=str(self.model.head.weight.dtype),
            duplicates={found.name: found.duplicates for found in self.sets.values()},
        )

    def identity(self) -> dict[str, Any]:
        """What a calibrated strength holds for, beside its budget and direction."""
        return {"protocol": self.protocol.name, "dimension": self.dimension, "fixed_strengths": self.fixed_strengths}

    def calibrated(self, calibration: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Those entries of a steer's calibrations that are for this plan."""
        budgets, own = {budget.label for budget in self.protocol.budgets()}, self.identity()
        return [
            entry
            for entry in calibration
            if entry["budget"] in budgets and all(entry[name] == value for name, value in own.items())
        ]

    def settings(self, key: str, calibration: Sequence[Mapping[str, Any]]) -> list[tuple[dict[str, float], str]]:
        """Strengths by name and the budget of each, for one prompt set: the given ones first, then the calibrated."""
        found = [(float(value), "") for value in sorted(self.protocol.strengths)]
        reached = [entry for entry in self.calibrated(calibration) if entry["strength"] is not None]
        found += [(float(entry["strength"]), str(entry["budget"])) for entry in reached]
        return [
            ({self.dimension: value} | self.fixed_strengths, budget)
            for value, budget in found
            if self.protocol.is_steered(key, value)
        ]

    def expected_generations(self, calibration: Sequence[Mapping[str, Any]]) -> list[ExpectedGeneration]:
        """All generations, in the order of the file: of each prompt set the plain ones first."""
        each = ((found.prompts, [({}, ""), *self.settings(key, calibration)]) for key, found in self.generators.items())
        return [one for prompts, settings in each for one in expected_generations(prompts, settings)]
