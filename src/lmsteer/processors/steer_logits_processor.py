"""A steer as a ``LogitsProcessor`` of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import LogitsProcessor

from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.processors.logit_steer import LogitSteer
from lmsteer.steering.steer import Steer, Strength


class SteerLogitsProcessor(LogitsProcessor):
    """Steer ``generate`` of transformers by its logits, with no change to the model.

    It must be the first that changes logits. What ``generate`` adds by options such as ``suppress_tokens`` or
    ``min_new_tokens`` comes before it and is refused; give such processors after it in the list. A temperature,
    ``top_k`` and ``top_p`` come later by themselves. In bfloat16 the logits are rounded; ``Steer.apply`` is exact.

    Args:
        logit_steer: The function of the logits.
        strength: A number for the first dimension, numbers by name, or a tensor (B, K) with a row for each text.

    Raises:
        InputError: If the strength is of another dimension, or not finite.

    Example:
        >>> from transformers import LogitsProcessorList
        >>> from lmsteer.models.random_models import tiny
        >>> model, steer = tiny(), Steer(32, dimensions=["tone"], rank=2, epsilon=1.0)
        >>> processor = SteerLogitsProcessor.of(model, steer, {"tone": 3})
        >>> ids, options = torch.tensor([[1, 2, 3]]), {"max_new_tokens": 4, "do_sample": False}
        >>> model.lm.generate(ids, logits_processor=LogitsProcessorList([processor]), **options).shape
        torch.Size([1, 7])
    """

    def __init__(self, logit_steer: LogitSteer, strength: Strength) -> None:
        self.logit_steer = logit_steer
        if isinstance(strength, Tensor):
            self.strength_BK = strength
        else:
            named = strength if isinstance(strength, Mapping) else {logit_steer.dimensions[0]: strength}
            self.strength_BK = logit_steer.strengths(named)[None]

    @classmethod
    def of(cls, model: LanguageModel, steer: Steer, strength: Strength) -> SteerLogitsProcessor:
        """Make the processor of a steer and its model."""
        return cls(LogitSteer.of(model.head, steer), strength)

    @classmethod
    def load(cls, folder: str | Path, strength: Strength | None = None) -> SteerLogitsProcessor:
        """Make the processor of a folder that ``python -m src.export form=processor`` wrote.

        Args:
            strength: None: the strength that was exported.

        Raises:
            InputError: If the folder has no such file, or it is damaged.
        """
        return cls(LogitSteer.load(Path(folder)), {} if strength is None else strength)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> torch.FloatTensor:
        """Return steered scores (rows, V).

        Raises:
            InputError: If a score of a word is infinite: it was changed before, and the hidden state is lost.
        """
        if self.logit_steer.read.device != scores.device:
            self.logit_steer = self.logit_steer.to(scores.device)
        if not scores[:, : len(self.logit_steer.offset)].isfinite().all():
            raise InputError(
                "a steer needs the logits of all words, but some were masked before it: leave out options such as "
                "suppress_tokens and min_new_tokens, and give their processors after the steer in logits_processor"
            )
        return self.logit_steer(scores, self.strength_BK.expand(len(scores), -1))  # type: ignore[return-value]
