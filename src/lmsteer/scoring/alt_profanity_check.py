"""Toxicity by alt-profanity-check: a linear SVM over words, trained on Jigsaw and other comments."""

from collections.abc import Sequence
from importlib.metadata import version

import profanity_check
import torch
from torch import Tensor

from lmsteer.scoring.scorer import check_scores


class ProfanityScorer:
    """Probability that a text is profane, by ``profanity_check.predict_prob``.

    It is fast enough to compare methods, but hardly detects toxicity without swear words and reacts to identity words,
    so its scores are not comparable to those of Detoxify or Perspective. Its weights are in a joblib file.
    """

    reserved: frozenset[str] = frozenset()

    def __init__(self, *, name: str = "alt-profanity-check") -> None:
        self.name = name
        self.revision = f"alt-profanity-check {version('alt-profanity-check')}"

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return scores (N,) in [0, 1]."""
        if not texts:
            return torch.empty(0)
        return check_scores(torch.as_tensor(profanity_check.predict_prob(list(texts))), texts, scorer=self.name)
