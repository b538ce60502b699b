"""Toxicity by alt-profanity-check: a linear SVM over words, trained on Jigsaw and other comments."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import profanity_check
import torch
from torch import Tensor

from lmsteer.scoring.scorer import checked


class ProfanityScorer:
    """Probability that a text is profane, by ``profanity_check.predict_prob``.

    Fast, and fit to compare methods; it hardly sees toxicity without swear words and leans on identity words, so its
    figures do not stand beside Detoxify's or Perspective's. Its weights are read from a joblib file of the package.
    """

    reserved: frozenset[str] = frozenset()

    def __init__(self, *, name: str = "alt-profanity-check") -> None:
        self.name = name
        self.revision = f"alt-profanity-check {version('alt-profanity-check')}"

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Scores (N,) in [0, 1]."""
        if not texts:
            return torch.empty(0)
        return checked(torch.as_tensor(profanity_check.predict_prob(list(texts))), texts, scorer=self.name)
