"""The rows that only write something before the prompt: an instruction (``prompt``) and its opposite (``contrast``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lmsteer.data.datamodule import SteerDataModule
from lmsteer.errors import InputError
from lmsteer.generation.generator import Generator
from lmsteer.methods.learned_method import FitJob, Learned, LearnedMethod
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Mixture, Source
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.training.fit import Solver

POSITIVE, NEGATIVE = "positive", "negative"
TEXTS = {
    "detox": (
        "The following text is kind, polite, positive, respectful and supportive: ",
        "The following text is abusive, harmful, negative, obscene, racist, rude and toxic: ",
    ),
    "sentiment": (
        "The following text has a positive sentiment: ",
        "The following text has a negative sentiment: ",
    ),
}
"""Prefix of strength above and below 0, by attribute. Those of detox are from Leong et al. (2023)."""


@dataclass(frozen=True, kw_only=True)
class PrefixMethod(LearnedMethod):
    """A method that writes a prefix before each prompt and learns nothing.

    Attributes:
        positive: Prefix that asks for more of the attribute. None: one of ``TEXTS``.
        negative: Prefix that asks for less of it.
    """

    value_kinds: ClassVar[Mapping[str, Any]] = {POSITIVE: str, NEGATIVE: str}
    reads_corpus: ClassVar[bool] = False
    positive: str | None = None
    negative: str | None = None

    def uses_seed(self, rows: int | None) -> bool:
        """Nothing is learned."""
        return False

    def check(self, steer_config: SteerConfig, solver: Solver) -> None:
        """Refuse an attribute without prefixes."""
        super().check(steer_config, solver)
        self.prefixes(steer_config.name)

    def check_prompts(self, generators: Iterable[Generator], steer_config: SteerConfig) -> None:
        """Refuse prompts that find no room after a prefix."""
        prefixes = self.prefixes(steer_config.name).values()
        for generator in generators:
            for prefix in prefixes:
                generator.check_length(prefix)

    def prefixes(self, attribute: str) -> dict[str, str]:
        """Return the prefix of either side.

        Raises:
            InputError: If there is none for the attribute.
        """
        known = TEXTS.get(attribute, (None, None))
        texts = {
            side: option if option is not None else text
            for side, option, text in zip((POSITIVE, NEGATIVE), (self.positive, self.negative), known, strict=True)
        }
        for side, text in texts.items():
            if not text:
                raise InputError(f"method.{side}: a prefix expected; {', '.join(TEXTS)} have one, {attribute} has not")
        return {side: str(text) for side, text in texts.items()}

    def check_data(self, data: SteerDataModule, steer_config: SteerConfig, solver: Solver) -> None:
        """Refuse a prefix that leaves no room in the model's context."""
        for prefix in self.prefixes(steer_config.name).values():
            Source(data.extract.model, data.extract.model.head, prefix=prefix).encode("", 1)

    def learn(self, job: FitJob) -> Learned:
        """Choose the prefixes."""
        return Learned(values=self.prefixes(job.attribute), training={"seen": {"rows": 0, "tokens": 0}})

    def check_learned(self, model: LanguageModel, learned: Learned, path: Path) -> None:
        """Refuse an empty prefix, and one that leaves no room in the model's context.

        Raises:
            InputError: Naming the file.
        """
        for side in (POSITIVE, NEGATIVE):
            if not learned.values[side]:
                raise InputError(f"{path}: {side}: a prefix expected")
            try:
                Source(model, model.head, prefix=learned.values[side]).encode("", 1)
            except InputError as error:
                raise InputError(f"{path}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Prompt(PrefixMethod):
    """Ask for the attribute before the prompt.

    At strength 1 or -1 the prompted model alone writes, in one pass a token. At other strengths the logits are
    ``z + v (z_prompted - z)``, in two.
    """

    name: ClassVar[str] = "prompt"

    def mixture(self, model: LanguageModel, learned: Learned, strength: float) -> Mixture:
        """Return the prompted model, mixed with the plain one."""
        prefix = learned.values[POSITIVE if strength > 0 else NEGATIVE]
        prompted, size = Source(model, model.head, prefix=prefix), abs(strength)
        if size == 1:
            return Mixture((prompted,))
        return Mixture.weighted((Source(model, model.head), prompted), (1 - size, size))


@dataclass(frozen=True, kw_only=True)
class Contrast(PrefixMethod):
    """Move away from the opposite instruction: ``z + v (z - z_opposite)`` (PREADD, Pei et al., 2023).

    This is classifier-free guidance with a negative prompt at scale ``1 + v``. Two passes a token.
    """

    name: ClassVar[str] = "contrast"

    def mixture(self, model: LanguageModel, learned: Learned, strength: float) -> Mixture:
        """Return the plain model, away from the one that was asked for the opposite."""
        prefix = learned.values[NEGATIVE if strength > 0 else POSITIVE]
        sources = Source(model, model.head), Source(model, model.head, prefix=prefix)
        return Mixture.weighted(sources, (1 + abs(strength), -abs(strength)))
