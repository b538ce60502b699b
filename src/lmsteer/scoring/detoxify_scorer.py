"""Toxicity by Detoxify: transformers fine-tuned on Jigsaw's comments."""

import hashlib
import pickle
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
from detoxify import Detoxify
from detoxify.detoxify import MODEL_URLS
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.models.device import resolve_device
from lmsteer.models.device_options import Device
from lmsteer.scoring.scorer import check_scores, in_length_order

COLUMN = "toxicity"


class DetoxifyScorer:
    """Probability that a text is toxic, by the ``toxicity`` output of ``detoxify.Detoxify``.

    Its weights are pickles of a third party that are not loaded with ``weights_only=True``: give ``checkpoint`` only a
    file that you trust. It was trained on Jigsaw's comments, as a detox steer may have been, so use a second scorer
    too. Texts are truncated to 512 tokens.

    Args:
        variant: Released weights; not used if ``checkpoint`` is given.
        checkpoint: Local file in Detoxify's format, for machines that cannot reach the release page.
        device: Device of the model.
        batch_size: Texts of similar length per forward pass.
        name: Name in tables; by default detoxify and the variant.

    Raises:
        InputError: If the weights cannot be loaded or have no toxicity output.
    """

    reserved: frozenset[str] = frozenset()

    def __init__(
        self,
        *,
        variant: Literal["original", "unbiased"] = "original",
        checkpoint: str | None = None,
        device: Device = "cpu",
        batch_size: int = 32,
        name: str | None = None,
    ) -> None:
        if variant not in ("original", "unbiased"):
            raise InputError(f"variant={variant}: Detoxify's original or unbiased expected")
        self.name = name or f"detoxify-{variant}"
        self.batch_size = batch_size
        self._model = _load(variant, checkpoint, resolve_device(device))
        self.revision = f"detoxify {version('detoxify')}, sha256 {_digest(checkpoint or released_weights(variant))}"

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return scores (N,) in [0, 1]."""

        def values(batch: list[int]) -> Tensor:
            # A list of one text gives a number, not a list.
            scores = self._model.predict([texts[index] for index in batch])[COLUMN]
            return torch.tensor(scores, dtype=torch.float32).reshape(len(batch))

        lengths = [len(text) for text in texts]
        scores_N = in_length_order(lengths, values, batch_size=self.batch_size, description=self.name)
        return check_scores(scores_N, texts, scorer=self.name)


def _load(variant: str, checkpoint: str | None, device: torch.device) -> Detoxify:
    weights = f"Detoxify's {variant} weights" if checkpoint is None else f"Detoxify checkpoint {checkpoint}"
    try:
        model = Detoxify(variant, checkpoint=checkpoint, device=device)
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError, TypeError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{weights} cannot be loaded ({type(error).__name__}: {reason}); give a local file in Detoxify's format as "
            "checkpoint=FILE (tokenizer and config come from the hub's cache), or use size=offline"
        ) from error
    if COLUMN not in model.class_names:
        raise InputError(f"{weights}: has the outputs {', '.join(model.class_names)}; one named {COLUMN} expected")
    return model


def released_weights(variant: str) -> Path:
    """Return the path to which torch downloads the weights of a variant."""
    return Path(torch.hub.get_dir()) / "checkpoints" / str(MODEL_URLS[variant]).rsplit("/", 1)[1]


def _digest(checkpoint: str | Path) -> str:
    with Path(checkpoint).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
