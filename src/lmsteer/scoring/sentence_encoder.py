"""The sentence encoder all-MiniLM-L6-v2.

Shapes: N texts, B of a batch, T tokens, D width.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from lmsteer.embedded.archives import minilm_folder
from lmsteer.errors import InputError
from lmsteer.scoring.scorer import in_length_order

MAX_TOKENS = 256
"""Longer texts are truncated, as by the authors of the encoder."""


class SentenceEncoder:
    """Mean of a text's last hidden states, scaled to length 1.

    Args:
        device: Device of the model.
        batch_size: Texts of similar length per forward pass.

    Raises:
        InputError: If the embedded stack has not been fetched, or a file of it is damaged.
    """

    def __init__(self, *, device: torch.device, batch_size: int) -> None:
        folder = minilm_folder()
        transformers_logging.disable_progress_bar()
        try:
            self._model = AutoModel.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False).eval()
            self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{folder} cannot be loaded ({reason}); run `python -m src.fetch force=true`") from error
        nn.Module.to(self._model, device)
        self._batch_size = batch_size

    def __call__(self, texts: Sequence[str], *, description: str) -> Tensor:
        """Return vectors (N, D), float32 on the CPU; ``description`` is the label of the progress bar."""
        return in_length_order(
            [len(text) for text in texts],
            lambda batch: self._batch([texts[index] for index in batch]),
            batch_size=self._batch_size,
            description=description,
        )

    @torch.inference_mode()
    def _batch(self, texts: list[str]) -> Tensor:
        inputs = self._tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        inputs = inputs.to(self._model.device)
        states_BTD = self._model(**inputs).last_hidden_state
        mask_BT1 = inputs["attention_mask"][..., None]
        return F.normalize((states_BTD * mask_BT1).sum(1) / mask_BT1.sum(1), dim=-1)
