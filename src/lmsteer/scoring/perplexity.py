"""How likely a language model finds continuations, given their prompts.

Shapes: N texts, B batch rows, T tokens of a text, M continuation tokens of a batch, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lmsteer.errors import InputError
from lmsteer.scoring.scorer import in_length_order
from lmsteer.steering.model import LanguageModel


@dataclass(frozen=True)
class _Encoded:
    ids_T: Tensor
    counts_T: Tensor  # bool: is this token part of the continuation?


def conditional_nats(
    model: LanguageModel, prompts: Sequence[str], continuations: Sequence[str], *, batch_size: int = 32
) -> tuple[Tensor, Tensor]:
    """Nats and tokens of each continuation, given its prompt.

    Prompt and continuation are tokenized as one text. A token belongs to the continuation if it ends behind the
    prompt, so one that spans the joint counts. Where the very first token counts, BOS (else EOS) stands before it.

    Args:
        model: The judge.
        prompts: N texts, which may be empty.
        continuations: N texts, leading space kept.
        batch_size: Texts per forward pass; texts of like length share one.

    Returns:
        Sum of ``-log p`` over the continuation's tokens in nats (N,) float32, and their number (N,) int64.
        Perplexity of one is ``exp(nats / tokens)``.

    Raises:
        InputError: If a continuation has no tokens or a text is beyond the model's context; names its index.
    """
    if len(prompts) != len(continuations):
        raise InputError(f"{len(prompts)} prompts and {len(continuations)} continuations; as many of each expected")
    if not prompts:
        return torch.empty(0), torch.empty(0, dtype=torch.int64)
    encoded = _encode(model, prompts, continuations)
    nats_N = in_length_order(
        [len(item.ids_T) for item in encoded],
        lambda batch: _batch_nats(model, [encoded[index] for index in batch]),
        batch_size=batch_size,
        description=f"perplexity under {model.name}",
    )
    return nats_N, torch.stack([item.counts_T.sum() for item in encoded])


def _encode(model: LanguageModel, prompts: Sequence[str], continuations: Sequence[str]) -> list[_Encoded]:
    texts = [prompt + continuation for prompt, continuation in zip(prompts, continuations, strict=True)]
    rows = model.tokenizer(texts, return_offsets_mapping=True, verbose=False)
    encoded = []
    for index, (ids, offsets) in enumerate(zip(rows["input_ids"], rows["offset_mapping"], strict=True)):
        # Special tokens have the offsets (0, 0) and so never count.
        counts = [end > len(prompts[index]) for _, end in offsets]
        if not any(counts):
            raise InputError(f"continuation {index} ({continuations[index]!r}) has no tokens; it has no perplexity")
        if counts[0]:
            ids, counts = [_first_token(model), *ids], [False, *counts]
        if len(ids) > model.context:
            raise InputError(f"text {index} has {len(ids)} tokens; model {model.name} takes at most {model.context}")
        encoded.append(_Encoded(torch.tensor(ids), torch.tensor(counts)))
    return encoded


def _first_token(model: LanguageModel) -> int:
    for token in (model.tokenizer.bos_token_id, model.tokenizer.eos_token_id):
        if isinstance(token, int):
            return token
    raise InputError(f"model {model.name} has neither BOS nor EOS, so an empty prompt cannot be scored")


@torch.inference_mode()
def _batch_nats(model: LanguageModel, batch: Sequence[_Encoded]) -> Tensor:
    ids_BT = pad_sequence([item.ids_T for item in batch], batch_first=True).to(model.device)
    mask_BT = pad_sequence([torch.ones_like(item.ids_T) for item in batch], batch_first=True).to(model.device)
    counts_BT = pad_sequence([item.counts_T for item in batch], batch_first=True).to(model.device)
    hidden_MD = model.hidden(ids_BT, mask_BT)[:, :-1][counts_BT[:, 1:]]
    nats_M = model.head.nats(hidden_MD, ids_BT[counts_BT])
    return torch.stack([nats.sum() for nats in nats_M.split(counts_BT.sum(1).tolist())])
