"""Train weights that edit the body of a language model, through its forward and backward pass.

Shapes: B texts, T tokens, N packed targets, D width.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import torch
from torch import Tensor

from lmsteer.data.text_datamodule import TextBatch
from lmsteer.models import cross_entropy
from lmsteer.models.language_model import LanguageModel
from lmsteer.training.fit_module import FitModule
from lmsteer.training.weights import Weights

BatchEdit = Callable[[Mapping[str, Tensor], Tensor], AbstractContextManager[object]]
"""The weights by name and the labels (B,) of a batch to the context in which the body is edited."""


class BodyModule(FitModule[Weights]):
    """Fit the weights of a body edit by the language modeling loss; the language model itself stays frozen.

    Args:
        edit: Called with the weights and the labels of a batch.
        options: Optimizer, scheduler and processes, see ``FitModule``.
    """

    needs_tokens: ClassVar[bool] = False  # a batch may have no row of a class

    def __init__(self, weights: Weights, model: LanguageModel, edit: BatchEdit, **options: Any) -> None:
        super().__init__(weights, **options)
        self._model = [model]  # in a list: not a submodule, so no checkpoint holds it
        self.edit = edit

    def nll(self, batch: TextBatch) -> Tensor:
        """Return the negative log-likelihood (N,) of every target of the batch, in nats."""
        if not len(batch.targets_N):
            return self.weights.empty()
        (model,) = self._model
        with self.edit(self.weights.tensors(), batch.label_B):
            states_BTD = model.body(input_ids=batch.ids_BT, use_cache=False).last_hidden_state
        positions_T = torch.arange(states_BTD.shape[1], device=states_BTD.device)
        first_B1, lengths_B1 = (
            column.to(states_BTD.device)[:, None] for column in (batch.starts_B - 1, batch.lengths_B)
        )
        states_ND = states_BTD[(positions_T >= first_B1) & (positions_T < first_B1 + lengths_B1)]
        return cross_entropy.nll(model.head, states_ND, batch.targets_N)
