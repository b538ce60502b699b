"""A scorer fitted on rows of the corpus: logistic regression on sentence embeddings of a small transformer.

Shapes: N texts, D width.
"""

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
from lmsteer.embedded.required_archives import SENTENCE_ENCODER
from lmsteer.errors import InputError
from lmsteer.models.device import resolve_device
from lmsteer.models.device_options import Device
from lmsteer.scoring.scorer import check_scores
from lmsteer.scoring.scorer_rows import Examples
from lmsteer.scoring.sentence_encoder import MAX_TOKENS, SentenceEncoder
from lmsteer.storage.atomic_files import atomic_write
from lmsteer.storage.required_files import requires
from lmsteer.storage.user_cache import cache_folder

INVERSE_PENALTY = 3.0
"""``C`` of the regression. On held-out movie rows 1 has the same log loss, 10 and more a higher one."""
WEIGHT, BIAS = "weight", "bias"


@requires(lambda **_: [SENTENCE_ENCODER])
class EmbeddingScorer:
    """Probability that a text's label is positive, by all-MiniLM-L6-v2 and the scorer split of a corpus.

    The encoder is independent of the steered model, and shares only the rows with ``TfidfScorer``. The first call loads
    it and fits the regression (about a minute for 3,600 sentences on two cores), whose coefficients are stored in the
    user's cache for later scorers on the same rows. Texts are truncated to 256 tokens.

    Args:
        corpus: Corpus whose scorer split is used, label > 0 against label < 0.
        name: Name in tables.
        device: Device of the encoder.
        batch_size: Texts of similar length per forward pass.

    Raises:
        InputError: If fewer than 50 rows of the scorer split have a clear label, all have the same sign, or the
            embedded stack has not been fetched.
    """

    def __init__(self, *, corpus: Corpus, name: str = "minilm", device: Device = "cpu", batch_size: int = 64) -> None:
        if batch_size < 1:
            raise InputError(f"scorer {name}: batch_size={batch_size}; an integer of 1 or more expected")
        minilm_folder()  # raises early if the stack has not been fetched
        self._examples = Examples.of(corpus, scorer=name)
        self._device, self._batch_size = resolve_device(device), batch_size
        self.name = name
        self.reserved = self._examples.reserved()
        self.revision = (
            f"{MINILM.requirement} sha256 {MINILM.sha256[:12]}, {MAX_TOKENS} tokens, scikit-learn "
            f"{version('scikit-learn')} C {INVERSE_PENALTY}, rows {self._examples.digest()}"
        )

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return probabilities (N,) of a positive label."""
        if not texts:
            return torch.empty(0)
        weight_D, bias = self._coefficients
        scores_N = (self._encoder(texts, description=self.name) @ weight_D + bias).sigmoid()
        return check_scores(scores_N, texts, scorer=self.name)

    @cached_property
    def _encoder(self) -> SentenceEncoder:
        return SentenceEncoder(device=self._device, batch_size=self._batch_size)

    @cached_property
    def _coefficients(self) -> tuple[Tensor, Tensor]:
        """Weight (D,) and bias (), read from the cache, or fitted and stored there."""
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
        raise InputError(f"{path}: damaged; delete this file to fit the scorer again") from error
