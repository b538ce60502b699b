"""Write a language model with a folded head as a plain checkpoint of transformers.

Shapes: T tokens, D width, V vocabulary.
"""

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
from lmsteer.models.quantization import is_quantized

PROBE = 16
"""Number of tokens, evenly spaced in the vocabulary, on which a checkpoint is compared with the model in memory."""


def write_checkpoint(folder: Path, model: LanguageModel, head: Head) -> None:
    """Write weights, configuration, generation settings and tokenizer of ``model``, with ``head`` as its head.

    The file has output embeddings of its own, even if the model ties them to the input embeddings. The model in memory
    does not change.

    Raises:
        InputError: If transformers cannot write the model or does not read back the same one, a device map spreads it,
            or it is quantized.
    """
    if is_quantized(model.lm):
        raise InputError(
            f"model {model.name}: its weights are quantized, and no checkpoint is written of them; export from the "
            "unquantized model, whose head is the same, or give form=factors, adapter, gguf or processor"
        )
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
    """Copy a model; the copy shares all tensors except the output embeddings."""
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
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", trust_remote_code=False)
    nn.Module.to(loaded, model.device)
    pairs = {
        "input embeddings": (loaded.get_input_embeddings().weight, model.lm.get_input_embeddings().weight),
        "output embeddings": (loaded.get_output_embeddings().weight, head.weight),
        "output bias": (loaded.get_output_embeddings().bias, head.bias),
    }
    wrong = [name for name, (read, expected) in pairs.items() if not _same(read, expected)]
    ids = torch.linspace(0, head.vocabulary - 1, PROBE, device=model.device).long()[None]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    logits = loaded(**inputs, use_cache=False).logits.float()
    expected = head(model.lm.base_model(**inputs, use_cache=False).last_hidden_state)
    tolerance = 1e-4 if head.weight.dtype == torch.float32 else 3e-2
    if logits.shape != expected.shape or (logits - expected).abs().max() > tolerance * expected.abs().max().clamp(
        min=1.0
    ):
        wrong.append("logits")
    if wrong:
        raise InputError(
            f"model {model.name} ({type(model.lm).__name__}): transformers reads back other {', '.join(wrong)} "
            "than were written, so no checkpoint is left; form=factors exports the steer alone"
        )


def _same(read: Tensor | None, expected: Tensor | None) -> bool:
    if read is None or expected is None:
        return read is expected
    return read.dtype == expected.dtype and torch.equal(read, expected)


@dataclass(frozen=True)
class NextToken:
    """A next token with its log-probabilities, in nats, under the folded and under the plain head."""

    id: int
    text: str
    steered: float
    plain: float


@torch.inference_mode()
def next_tokens(model: LanguageModel, head: Head, prompt: str, *, count: int = 5) -> tuple[list[int], list[NextToken]]:
    """Return the token ids of a prompt, and the likeliest next tokens under ``head`` in descending order.

    They serve to check an engine that loads the checkpoint: one that ignores the output embeddings returns those of
    the plain head.
    """
    (ids,) = model.tokenize([prompt])
    hidden_TD = model.hidden(torch.tensor([ids], device=model.device))[0]
    steered_V, plain_V = (readout(hidden_TD[-1]).log_softmax(-1) for readout in (head, model.head))
    return ids, [
        NextToken(token, _text(model, token), float(steered_V[token]), float(plain_V[token]))
        for token in steered_V.topk(count).indices.tolist()
    ]


def _text(model: LanguageModel, token: int) -> str:
    return str(model.tokenizer.decode([token], clean_up_tokenization_spaces=False))
