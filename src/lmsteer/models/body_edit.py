"""Edit what the body of a language model computes, inside a context: by hooks on its modules, or by other weights.

Shapes: B rows, T tokens, D width of a module's output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from lmsteer.errors import InputError

Edit = Callable[[Tensor, Tensor], Tensor]
"""Input (B, T, …) and output (B, T, D) of a module to its new output."""


@contextmanager
def edited(lm: PreTrainedModel, edits: Mapping[str, Edit]) -> Iterator[None]:
    """Replace the outputs of modules inside; on exit the model is as before.

    Args:
        edits: By the name of the module in the model, such as ``model.layers.3``.

    Example:
        >>> import torch
        >>> from lmsteer.models.random_models import tiny
        >>> lm, ids = tiny().lm, torch.tensor([[1, 2, 3]])
        >>> plain = lm(input_ids=ids).logits
        >>> with edited(lm, {layer_names(lm)[0]: lambda x, y: y + 1}):
        ...     print(torch.equal(lm(input_ids=ids).logits, plain))
        False
        >>> torch.equal(lm(input_ids=ids).logits, plain)
        True
    """
    with ExitStack() as stack:
        for name, edit in edits.items():
            stack.enter_context(lm.get_submodule(name).register_forward_hook(_hook(edit)))
        yield


def _hook(edit: Edit) -> Callable[..., Any]:
    def replace(_: nn.Module, args: tuple[Tensor, ...], output: Any) -> Any:
        if isinstance(output, tuple):
            return (edit(args[0], output[0]), *output[1:])
        return edit(args[0], output)

    return replace


@contextmanager
def reweighted(lm: PreTrainedModel, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Let a model compute with other weights inside; on exit it has its own again.

    Args:
        weights: By the name of the parameter in the model, of its shape.

    Example:
        >>> import torch
        >>> from lmsteer.models.random_models import tiny
        >>> lm, ids = tiny().lm, torch.tensor([[1, 2, 3]])
        >>> plain = lm(input_ids=ids).logits
        >>> with reweighted(lm, {name: 2 * weight for name, weight in body_weights(lm).items()}):
        ...     print(torch.equal(lm(input_ids=ids).logits, plain))
        False
        >>> torch.equal(lm(input_ids=ids).logits, plain)
        True
    """
    owners = [(lm.get_submodule(name.rpartition(".")[0])._parameters, name.rpartition(".")[2]) for name in weights]
    originals = [parameters[leaf] for parameters, leaf in owners]
    try:
        for (parameters, leaf), weight in zip(owners, weights.values(), strict=True):
            parameters[leaf] = weight  # type: ignore[assignment]  # no parameter, so that gradients pass
        yield
    finally:
        for (parameters, leaf), original in zip(owners, originals, strict=True):
            parameters[leaf] = original


def body_weights(lm: PreTrainedModel) -> dict[str, Tensor]:
    """Return all weights of a model by name, but for those of input and output embeddings."""
    embeddings = {id(module.weight) for module in (lm.get_input_embeddings(), lm.get_output_embeddings())}
    return {name: weight.detach() for name, weight in lm.named_parameters() if id(weight) not in embeddings}


def layer_names(lm: PreTrainedModel) -> list[str]:
    """Return the names of the decoder's layers, from the first to the last.

    Raises:
        InputError: If the model has no list of layers.
    """
    number = lm.config.get_text_config().num_hidden_layers
    for name, module in lm.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == number:
            return [f"{name}.{index}" for index in range(number)]
    raise InputError(f"model {lm.name_or_path}: no list of {number} layers found; methods that edit one need it")


def linear_names(lm: PreTrainedModel) -> list[str]:
    """Return the names of all linear modules of the layers, without the output embeddings.

    Raises:
        InputError: If there are none.
    """
    prefix = layer_names(lm)[0].removesuffix("0")
    modules = ((name, module) for name, module in lm.named_modules() if name.startswith(prefix))
    names = [name for name, module in modules if isinstance(module, nn.Linear | Conv1D)]
    if not names:
        raise InputError(f"model {lm.name_or_path}: its layers have no linear modules, so no adapter fits")
    return names


def widths(module: nn.Module) -> tuple[int, int]:
    """Return the input and output width of a linear module."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features  # the weights of a quantized one are packed
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.shape[0], weight.shape[1]
