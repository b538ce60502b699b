"""The row that adds a trained constant to each word's logit.

Shapes: N rows or tokens, K dimensions, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.methods.learned_method import FitJob, Learned, LearnedMethod, check_positive
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Mixture, Source
from lmsteer.training.offset_module import OFFSET, OffsetModule
from lmsteer.training.weights import Weights


@dataclass(frozen=True, kw_only=True)
class LogitOffset(LearnedMethod):
    """Add ``epsilon v b`` to the logits, with ``b`` (V,) trained by the loss of a steer: a shift of single words.

    It shows what the matrix of a steer adds to such a shift. One pass a token.

    Attributes:
        epsilon: Factor of the offset, above 0.
        dummy: Whether to train an always-on offset too, which absorbs the corpus' own words; it is off in generation.
    """

    name: ClassVar[str] = "logit_offset"
    epsilon: float = 3.0
    dummy: bool = True

    def __post_init__(self) -> None:
        check_positive(epsilon=self.epsilon)

    def learn(self, job: FitJob) -> Learned:
        """Train the offsets."""
        dimensions, head = 1 + self.dummy, job.model.head
        data = job.data.with_dimensions(dimensions)
        weights = Weights({OFFSET: torch.zeros(dimensions, head.vocabulary)})
        module = OffsetModule(weights, head, epsilon=self.epsilon, **job.module_options())
        module.to(job.model.device)
        job.solver.run(module, data, data, folder=job.folder, loggers=job.loggers)
        return Learned(module.best().detached(), training={"curve": module.curve, **job.settings()})

    def check_learned(self, model: LanguageModel, learned: Learned, path: Path) -> None:
        """Refuse offsets for another vocabulary.

        Raises:
            InputError: Naming the file.
        """
        shape, offset = (1 + self.dummy, model.head.vocabulary), learned.tensors.get(OFFSET)
        if offset is None or offset.shape != shape:
            raise InputError(f"{path}: offsets of shape {shape} expected, which {model.name} needs")

    def held_parameters(self, learned: Learned, strength: float) -> int:
        """Return the size of the vocabulary, that of one offset."""
        return int(learned.tensors[OFFSET].shape[1])

    def mixture(self, model: LanguageModel, learned: Learned, strength: float) -> Mixture:
        """Return the plain model with shifted logits."""
        offset_V = learned.tensors[OFFSET][0].to(model.device) * (self.epsilon * strength)
        shift_V = torch.nn.functional.pad(offset_V, (0, len(model.head.weight) - len(offset_V)))

        def readout(hidden_ND: Tensor) -> Tensor:
            logits_NV: Tensor = model.head(hidden_ND)
            return logits_NV + shift_V

        return Mixture((Source(model, readout),))
