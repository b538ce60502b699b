"""A language model with a folded head as a plain checkpoint of transformers, which needs no code of ours.

Shapes: T tokens, D width, V vocabulary.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from lmsteer.errors import InputError
from lmsteer.models.device_map import is_spread
from lmsteer.models.head import Head
from lmsteer.models.language_model import LanguageModel

PROBE = 16
"""Tokens, evenly from the vocabulary, on which a written checkpoint is compared with the model in memory."""


def write_checkpoint(folder: Path, model: LanguageModel, head: Head) -> None:
    """Write weights, configuration, generation settings and tokenizer of ``model`` with ``head`` for its own.

    The output embeddings stand in the file by themselves, also where the model shares them with the input embeddings.
    The model in memory stays as it is.

    Raises:
        InputError: If transformers cannot write the model, or does not read back the same one, or parts of it are kept
            elsewhere.
    """
    if is_spread(model.lm):
        raise InputError(f"model {model.name}: spread by a device map; to write it leave model.device_map out")
    try:
        _with_head(model.lm, head).save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)
    except (ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"model {model.name}: cannot be written as a checkpoint ({reason})") from error
    _check_checkpoint(folder, model, head)


def _with_head(lm: PreTrainedModel, head: Head) -> PreTrainedModel:
    """A copy of a model that shares all its tensors but the output embeddings."""
    copied = deepcopy(lm, {id(tensor): tensor for tensor in (*lm.parameters(), *lm.buffers())})
    for config in (copied.config, copied.config.get_text_config()):
        config.tie_word_embeddings = False
    output = copied.get_output_embeddings()
    output.weight = nn.Parameter(head.weight, requires_grad=False)
    if head.bias is not None:
        output.bias = nn.Parameter(head.bias, requires_grad=False)
    copied.all_tied_weights_keys = copied.get_expanded_tied_weights_keys(all_submodels=True)
    return copied


@torch.inference_mode()
def _check_checkpoint(folder: Path, model: LanguageModel, head: Head) -> None:
    """Compare what transformers reads from ``folder`` with the body of ``model`` under ``head``."""
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    nn.Module.to(loaded, model.device)
    pairs = {
        "input embeddings": (loaded.get_input_embeddings().weight, model.lm.get_input_embeddings().weight),
        "output embeddings": (loaded.get_output_embeddings().weight, head.weight),
        "output bias": (loaded.get_output_embeddings().bias, head.bias),
    }
    wrong = [name for name, (read, meant) in pairs.items() if not _same(read, meant)]
    ids = torch.linspace(0, head.vocabulary - 1, PROBE, device=model.device).long()[None]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    logits = loaded(**inputs, use_cache=False).logits.float()
    meant = head(model.lm.base_model(**inputs, use_cache=False).last_hidden_state)
    tolerance = 1e-4 if head.weight.dtype == torch.float32 else 3e-2
    if logits.shape != meant.shape or (logits - meant).abs().max() > tolerance * meant.abs().max().clamp(min=1.0):
        wrong.append("logits")
    if wrong:
        raise InputError(
            f"model {model.name} ({type(model.lm).__name__}): transformers reads back other {', '.join(wrong)} "
            "than were written, so no checkpoint is left; form=factors keeps the steer beside the model"
        )


def _same(read: Tensor | None, meant: Tensor | None) -> bool:
    if read is None or meant is None:
        return read is meant
    return read.dtype == meant.dtype and torch.equal(read, meant)


@dataclass(frozen=True)
class NextToken:
    """A token that may come next, with its natural log-probabilities under the folded and under the plain head."""

    id: int
    text: str
    steered: float
    plain: float


@torch.inference_mode()
def next_tokens(model: LanguageModel, head: Head, prompt: str, *, count: int = 5) -> tuple[list[int], list[NextToken]]:
    """Token ids of a prompt, and what ``head`` finds likeliest behind it, the likeliest first.

    By these an engine that loads the checkpoint can be checked: one that leaves out the output embeddings says what
    the plain head does.
    """
    ids: list[int] = list(model.tokenizer(prompt)["input_ids"])
    hidden_TD = model.hidden(torch.tensor([ids], device=model.device))[0]
    steered_V, plain_V = (readout(hidden_TD[-1]).log_softmax(-1) for readout in (head, model.head))
    found = steered_V.topk(count).indices.tolist()
    return ids, [
        NextToken(token, _text(model, token), float(steered_V[token]), float(plain_V[token])) for token in found
    ]


def _text(model: LanguageModel, token: int) -> str:
    return str(model.tokenizer.decode([token], clean_up_tokenization_spaces=False))
