"""A transformers model with a steer in front of its output embeddings.

Shapes: B batch rows, T tokens, D width, K dimensions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import Tensor, nn
from transformers import PreTrainedModel

from lmsteer.errors import InputError
from lmsteer.models.device_map import computes_on
from lmsteer.steering.steer import Steer


class SteeredLM(nn.Module):
    """A frozen causal language model with a ``Steer`` in front of its output embeddings.

    Raises:
        InputError: If the steer's width is not the model's.
    """

    def __init__(self, lm: PreTrainedModel, steer: Steer) -> None:
        super().__init__()
        width = lm.get_output_embeddings().weight.shape[1]
        if steer.width != width:
            raise InputError(f"the steer has width {steer.width}, the model {lm.name_or_path} {width}; they must agree")
        self.lm = lm.requires_grad_(False).eval()
        self.steer = steer.to(computes_on(lm.get_output_embeddings()))

    def train(self, mode: bool = True) -> SteeredLM:
        """Switch the steer's mode; the language model stays in eval mode, its dropout off."""
        super().train(mode)
        self.lm.eval()
        return self

    @contextlib.contextmanager
    def at(self, strength_BK: Tensor) -> Iterator[PreTrainedModel]:
        """Yield the language model steered at ``strength_BK`` (first axis 1: every row); plain again on exit.

        Works for forward and ``generate`` of any architecture: the hook sits on the output embeddings.
        """

        def shift(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            hidden = args[0].to(self.steer.first.device)
            return (self.steer(hidden, strength_BK.to(hidden.device)), *args[1:])

        hook = self.lm.get_output_embeddings().register_forward_pre_hook(shift)
        try:
            yield self.lm
        finally:
            hook.remove()
