"""A text-classification model of transformers as a scorer."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from lmsteer.errors import InputError
from lmsteer.models.device import resolve_device
from lmsteer.models.device_options import Device
from lmsteer.models.language_model import INCIDENTAL
from lmsteer.scoring.scorer import check_scores, in_length_order
from lmsteer.storage.hub_errors import LONGEST_REASON
from lmsteer.storage.hub_repository import HubRepository
from lmsteer.storage.required_files import requires

INSTEAD = "a text-classification model by hub id, or a local folder of one; size=offline needs no hub"


def _repository(id: str, revision: str | None) -> HubRepository:
    return HubRepository(id, revision=revision, noun="classifier", instead=INSTEAD)


@requires(lambda *, id, revision=None, **_: [_repository(id, revision)])
class HubClassifierScorer:
    """Probability of one label of a text-classification model.

    It is a softmax over the labels, or a sigmoid if the model has one logit or several labels may apply at once.

    Args:
        id: Hub id (``ORG/NAME``) or local folder in the hub's layout.
        label: Label whose probability is the score, as in the model's config.
        revision: Branch, tag or commit on the hub.
        device: Device of the model.
        batch_size: Texts of similar length per forward pass.
        max_length: Longer texts are truncated to as many tokens, or to the limit of the tokenizer.
        name: Name in tables; by default the last part of the id.

    Raises:
        InputError: If the model cannot be loaded, is not a trained classifier, or has no such label.
    """

    reserved: frozenset[str] = frozenset()

    def __init__(
        self,
        *,
        id: str,
        label: str,
        revision: str | None = None,
        device: Device = "cpu",
        batch_size: int = 32,
        max_length: int = 512,
        name: str | None = None,
    ) -> None:
        self.name = name or id.rstrip("/").rsplit("/", 1)[-1]
        self.batch_size = batch_size
        self._model, self._tokenizer = _load(id, revision)
        config: Any = self._model.config
        labels = {str(known): int(index) for index, known in config.id2label.items()}
        if label not in labels:
            raise InputError(f"label={label}: classifier {id} has the labels {', '.join(labels)}")
        if config.problem_type == "regression":
            raise InputError(f"classifier {id} is a regression model; its output is not a probability")
        self._column = labels[label]
        self._exclusive = config.problem_type != "multi_label_classification" and len(labels) > 1
        self._max_length = min(max_length, self._tokenizer.model_max_length)
        digest = _digest(self._model, self._tokenizer)
        self.revision = f"model sha256 {digest}, label {label}, {self._max_length} tokens"
        nn.Module.to(self._model, resolve_device(device))

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return scores (N,) in [0, 1]."""
        lengths = [len(text) for text in texts]
        scores_N = in_length_order(
            lengths,
            lambda batch: self._batch([texts[index] for index in batch]),
            batch_size=self.batch_size,
            description=self.name,
        )
        return check_scores(scores_N, texts, scorer=self.name)

    @torch.inference_mode()
    def _batch(self, texts: list[str]) -> Tensor:
        inputs = self._tokenizer(
            texts, padding=len(texts) > 1, truncation=True, max_length=self._max_length, return_tensors="pt"
        )
        logits = self._model(**inputs.to(self._model.device)).logits.float()
        scores: Tensor = logits.softmax(-1) if self._exclusive else logits.sigmoid()
        return scores[:, self._column]


def _load(id: str, revision: str | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    transformers_logging.disable_progress_bar()
    folder = _repository(id, revision).fetch().folder
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder, trust_remote_code=False, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:LONGEST_REASON]
        raise InputError(f"classifier {id} cannot be loaded ({reason}); allowed are {INSTEAD}") from error
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"])[:3])
        raise InputError(f"classifier {id} is not trained to classify: its files lack {missing}; choose another model")
    return model.eval(), tokenizer


def _digest(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the sha256 of configuration, tokenizer and weights, on which the scores depend."""
    config = {name: value for name, value in model.config.to_diff_dict().items() if name not in INCIDENTAL}
    vocabulary = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else tokenizer.get_vocab()
    state = hashlib.sha256(json.dumps([config, vocabulary], sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        state.update(name.encode())
        state.update(tensor.contiguous().numpy().data)
    return state.hexdigest()[:12]
