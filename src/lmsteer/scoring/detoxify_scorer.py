"""Toxicity by Detoxify: transformers fine-tuned on Jigsaw's comments."""

import hashlib
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
from detoxify import Detoxify
from detoxify.detoxify import MODEL_URLS
from huggingface_hub import constants
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.models.device import resolve_device
from lmsteer.models.device_options import Device
from lmsteer.scoring.scorer import check_scores, in_length_order
from lmsteer.storage.download import RemoteFile
from lmsteer.storage.hub_errors import hub_reason
from lmsteer.storage.hub_repository import HubRepository
from lmsteer.storage.required_files import RequiredFiles, requires

COLUMN = "toxicity"
ENCODERS = {"original": "bert-base-uncased", "unbiased": "roberta-base"}
"""Repositories by whose names Detoxify loads configuration and tokenizer of its released weights."""
INSTEAD = (
    "give a local file in Detoxify's format as checkpoint=FILE (tokenizer and config come from the hub's cache), "
    "or use size=offline"
)


def _required(
    *, variant: Literal["original", "unbiased"] = "original", checkpoint: str | None = None, **_: object
) -> list[RequiredFiles]:
    """Return what the released weights need; the encoder of a local file is known only once it is read."""
    return [] if checkpoint or variant not in ENCODERS else [_released(variant), _encoder(variant)]


def _released(variant: str) -> RemoteFile:
    """Return the released weights, where torch.hub looks for them."""
    url = str(MODEL_URLS[variant])
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    return RemoteFile(url, path, sha256=None, instead=INSTEAD)


def _encoder(variant: str) -> HubRepository:
    return HubRepository(ENCODERS[variant], weights=False, noun="Detoxify's encoder", instead=INSTEAD)


@requires(_required)
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
    encoder = None if checkpoint else _encoder(variant)
    if not checkpoint:
        _released(variant).fetch()
    try:
        with _offline() if encoder and encoder.is_cached() else nullcontext():
            model = Detoxify(variant, checkpoint=checkpoint, device=device)
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError, TypeError, pickle.UnpicklingError) as error:
        reason = hub_reason(error, encoder.page if encoder else "")
        raise InputError(f"{weights} cannot be loaded ({type(error).__name__}: {reason}); {INSTEAD}") from error
    if COLUMN not in model.class_names:
        raise InputError(f"{weights}: has the outputs {', '.join(model.class_names)}; one named {COLUMN} expected")
    return model


def released_weights(variant: str) -> Path:
    """Return the path to which torch downloads the weights of a variant."""
    return _released(variant).path


@contextmanager
def _offline() -> Iterator[None]:
    """Keep transformers from asking the hub for files that are in its cache: Detoxify loads them by their names."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _digest(checkpoint: str | Path) -> str:
    with Path(checkpoint).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
