"""The decode loop: each prompt is read once, its cache serves all its samples.

Shapes: P prompts, S samples, B = P * S rows, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.generation.noise import uniform
from lmsteer.generation.sampling import Noise
from lmsteer.models.attention import fast_attention
from lmsteer.models.cross_entropy import nll
from lmsteer.models.language_model import LanguageModel

Readout = Callable[[Tensor], Tensor]
"""Hidden states (B, D) to logits (B, V): a head, folded or not, or a ``SteeredHead``."""


class DecodedTokens(NamedTuple):
    """What was written: token ids (B, T), and its nats (B,) under the unsteered model if they were asked for."""

    ids_BT: Tensor
    nats_B: Tensor | None


class Decoding(Protocol):
    """A rule for the next token and how many tokens to write."""

    @property
    def max_new_tokens(self) -> int:
        """Tokens of every continuation."""

    def choose(self, logits_BV: Tensor, noise: Noise) -> Tensor:
        """Token ids (B,); may overwrite the logits."""


def encode(model: LanguageModel, text: str, max_new_tokens: int) -> list[int]:
    """Token ids of a prompt; an empty one becomes the token that begins or ends texts.

    Raises:
        InputError: If prompt and continuation together are longer than the model's context.
    """
    tokenizer = model.tokenizer
    ids = list(tokenizer(text)["input_ids"])
    if not ids:
        ids = [tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id]
    if len(ids) + max_new_tokens > model.context:
        raise InputError(
            f"prompt {text[:40]!r}… has {len(ids)} tokens; with {max_new_tokens} new ones it exceeds the context of "
            f"{model.name}, {model.context}"
        )
    return ids


@torch.inference_mode()
def decode(
    model: LanguageModel,
    readout: Readout,
    prompts: Sequence[list[int]],
    keys_B: NDArray[np.uint64],
    decoding: Decoding,
    *,
    likelihoods: bool = False,
) -> DecodedTokens:
    """Continue prompts, the same number of samples each.

    Args:
        readout: What turns hidden states into logits; a folded head makes the model a steered one.
        prompts: Token ids of P prompts.
        keys_B: Noise keys, those of a prompt's samples side by side.
        likelihoods: Whether to give the nats of what is written under the unsteered model: its hidden states are at
            hand, whatever the readout.

    Returns:
        Exactly ``max_new_tokens`` tokens a row; special tokens and padded rows of the head never occur.

    Raises:
        InputError: If logits are infinite or NaN, as at a strength that is far too large.
    """
    with fast_attention(model.lm):
        hidden: list[Tensor] = []
        written: list[Tensor] = []
        for hidden_BD, token in _steps(model, readout, prompts, keys_B, decoding):
            written.append(token)
            hidden += [hidden_BD] * likelihoods
    ids_BT = torch.stack(written, dim=1)
    if not likelihoods:
        return DecodedTokens(ids_BT, None)
    nats = nll(model.head, torch.cat(hidden), torch.cat(written))
    return DecodedTokens(ids_BT, nats.view(len(written), -1).sum(0))


def _steps(
    model: LanguageModel,
    readout: Readout,
    prompts: Sequence[list[int]],
    keys_B: NDArray[np.uint64],
    decoding: Decoding,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Hidden states (B, D) and the tokens (B,) chosen from them, step by step."""
    ids_PT, mask = _left_padded(prompts, model.device)
    samples = len(keys_B) // len(prompts)
    barred = _barred(model)
    position = mask.cumsum(-1).sub(1).clamp(min=0)
    output = model.body(input_ids=ids_PT, attention_mask=mask, position_ids=position, use_cache=True)
    cache = output.past_key_values
    cache.batch_repeat_interleave(samples)
    mask, position = (x.repeat_interleave(samples, dim=0) for x in (mask, position[:, -1:]))
    hidden_BD = output.last_hidden_state[:, -1].repeat_interleave(samples, dim=0)
    for step in range(decoding.max_new_tokens):
        logits_BV = readout(hidden_BD).index_fill_(1, barred, -torch.inf)
        if not logits_BV.amax(-1).isfinite().all():
            raise InputError(f"{model.name}: logits are not finite at token {step + 1}; take a strength nearer to 0")
        token = decoding.choose(logits_BV, lambda rows, draw, step=step: uniform(keys_B[rows], step, draw))  # type: ignore[misc]
        yield hidden_BD, token
        if step + 1 == decoding.max_new_tokens:
            return
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        position = position + 1
        output = model.body(
            input_ids=token[:, None],
            attention_mask=mask,
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
        )
        hidden_BD = output.last_hidden_state[:, -1]


def _left_padded(prompts: Sequence[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    longest = max(len(ids) for ids in prompts)
    ids_PT = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask_PT = torch.zeros_like(ids_PT)
    for row, ids in enumerate(prompts):
        ids_PT[row, longest - len(ids) :] = torch.tensor(ids)
        mask_PT[row, longest - len(ids) :] = 1
    return ids_PT.to(device), mask_PT.to(device)


def _barred(model: LanguageModel) -> Tensor:
    """Ids of tokens never written: the special ones, EOS among them, and rows of the head that stand for no token."""
    rows = len(model.head.weight)
    end = model.lm.generation_config.eos_token_id if model.lm.generation_config is not None else None
    ends = end if isinstance(end, list) else [end]
    added = model.tokenizer.added_tokens_decoder
    # Reserved tokens, as Llama 3 has, are special without being among all_special_ids; their text would be lost.
    special = (token for token, entry in added.items() if entry.special)
    barred = {*range(model.head.vocabulary, rows), *ends, *model.tokenizer.all_special_ids, *special}
    return torch.tensor([token for token in barred if token is not None and token < rows], device=model.device)
