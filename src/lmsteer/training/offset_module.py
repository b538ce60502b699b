"""Train a constant offset of the logits, with the loss of a steer.

Shapes: N packed tokens, K dimensions, V vocabulary.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lmsteer.data.datamodule import Batch
from lmsteer.models.head import Head
from lmsteer.training.fit_module import FitModule
from lmsteer.training.weights import Weights

OFFSET = "offset"
TOKENS = 512
"""Tokens whose logits are in memory at once."""


class OffsetModule(FitModule[Weights]):
    """Fit ``logits + epsilon * sum_k v_k b_k``: the shift of every word's logit is the same in all contexts.

    Args:
        weights: Holds ``offset`` (K, V).
        options: Optimizer, scheduler and processes, see ``FitModule``.
    """

    def __init__(self, weights: Weights, head: Head, *, epsilon: float, **options: Any) -> None:
        super().__init__(weights, **options)
        self._head = [head]  # in a list: not a submodule, so no checkpoint holds the embeddings
        self.epsilon = epsilon

    def nll(self, batch: Batch) -> Tensor:
        """Return the negative log-likelihood (N,) of every target of the batch, in nats."""
        blocks = zip(*(x.split(TOKENS) for x in batch[:3]), strict=True)
        return torch.cat([self.weights.empty(), *(self._block(*block) for block in blocks)])

    def _block(self, hidden_ND: Tensor, targets_N: Tensor, strength_NK: Tensor) -> Tensor:
        (head,) = self._head
        with torch.no_grad():
            logits_NV = head(hidden_ND)[:, : head.vocabulary]
        shifted_NV = logits_NV + self.epsilon * strength_NK @ self.weights.tensors()[OFFSET]
        return F.cross_entropy(shifted_NV, targets_N, reduction="none")
