"""A scorer fitted on the corpus' own rows: sentence embeddings of a small transformer, and logistic regression.

Shapes: N texts, D width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from lmsteer.data.corpus import Corpus
from lmsteer.embedded.archives import MINILM, minilm_folder
from lmsteer.errors import InputError
from lmsteer.models.language_model import Device, resolve_device
from lmsteer.scoring.scorer import checked
from lmsteer.scoring.scorer_rows import Examples
from lmsteer.scoring.sentence_encoder import MAX_TOKENS, SentenceEncoder
from lmsteer.storage.atomic_files import atomic_write
from lmsteer.storage.user_cache import cache_folder

INVERSE_PENALTY = 3.0
"""``C`` of the regression. By log loss on held-out movie rows 1 is as good, 10 and more are worse."""
WEIGHT, BIAS = "weight", "bias"


class EmbeddingScorer:
    """Probability that a text's label is positive, by all-MiniLM-L6-v2 and the ``scorer_split`` part of a corpus.

    The encoder shares nothing with the steered model, and nothing but the rows with ``TfidfScorer``. Nothing is read
    before the first call. The first of all fits (about a minute for 3,600 sentences on two cores) and leaves the
    coefficients in the cache, where later scorers on the same rows find them. Texts are cut at 256 tokens.

    Args:
        corpus: Its ``scorer_split`` rows are fitted, label > 0 against label < 0.
        name: What the scorer is called in tables.
        device: Where the encoder runs.
        batch_size: Texts per forward pass; texts of like length share one.

    Raises:
        InputError: If fewer than 50 rows of the scorer split have a clear label, all have the same sign, or the
            embedded stack has not been fetched.
    """

    def __init__(self, *, corpus: Corpus, name: str = "minilm", device: Device = "cpu", batch_size: int = 64) -> None:
        if batch_size < 1:
            raise InputError(f"scorer {name}: batch_size={batch_size}; an integer of 1 or more expected")
        minilm_folder()  # a stack that was not fetched is told before any long work
        self._examples = Examples.of(corpus, scorer=name)
        self._device, self._batch_size = resolve_device(device), batch_size
        self.name = name
        self.reserved = self._examples.reserved()
        self.revision = (
            f"{MINILM.requirement} sha256 {MINILM.sha256[:12]}, {MAX_TOKENS} tokens, scikit-learn "
            f"{version('scikit-learn')} C {INVERSE_PENALTY}, rows {self._examples.digest()}"
        )

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Probabilities (N,) of a positive label."""
        if not texts:
            return torch.empty(0)
        weight_D, bias = self._coefficients
        scores_N = (self._encoder(texts, description=self.name) @ weight_D + bias).sigmoid()
        return checked(scores_N, texts, scorer=self.name)

    @cached_property
    def _encoder(self) -> SentenceEncoder:
        return SentenceEncoder(device=self._device, batch_size=self._batch_size)

    @cached_property
    def _coefficients(self) -> tuple[Tensor, Tensor]:
        """Weight (D,) and bias (), read from the cache, or fitted and left there."""
        path = cache_folder() / "fitted" / f"{hashlib.sha256(self.revision.encode()).hexdigest()[:16]}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                fitted = save(self._fit())
                with atomic_write(path) as temporary:
                    temporary.write_bytes(fitted)
        return _read(path)

    def _fit(self) -> dict[str, Tensor]:
        vectors_ND = self._encoder(self._examples.texts, description=f"fitting {self.name}")
        model = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000)
        model.fit(vectors_ND.double().numpy(), self._examples.positive)
        weight_D, bias = (torch.as_tensor(values[0], dtype=torch.float32) for values in (model.coef_, model.intercept_))
        return {WEIGHT: weight_D, BIAS: bias}


def _read(path: Path) -> tuple[Tensor, Tensor]:
    try:
        tensors = load_file(path)
        return tensors[WEIGHT], tensors[BIAS]
    except (SafetensorError, KeyError, OSError) as error:
        raise InputError(f"{path}: damaged; delete this file, the scorer is fitted again") from error
