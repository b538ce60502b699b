"""What every part of the benchmark works with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from experiments.speed.meter import Meter
from experiments.speed.work import Work
from lmsteer.data.corpus import Corpus
from lmsteer.generation.sampling import Nucleus
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Prompt
from lmsteer.training.fit import SteerConfig

ATTRIBUTE = "sentiment"
STRENGTH = 5.0
DECODING = Nucleus()


@dataclass(frozen=True)
class Bench:
    """Models, texts, sizes of work, and the meter that all parts write to.

    Attributes:
        ours: The model in the dtype asked for.
        plain: The same model in float32.
        folder: Where feature stores go while they are needed.
    """

    work: Work
    corpus: Corpus
    prompts: tuple[Prompt, ...]
    ours: LanguageModel
    plain: LanguageModel
    seed: int
    folder: Path
    meter: Meter = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "meter", Meter(self.ours.device))

    @property
    def steer_settings(self) -> SteerConfig:
        """The steer that is fitted."""
        return SteerConfig(name=ATTRIBUTE, rank=self.work.rank)
