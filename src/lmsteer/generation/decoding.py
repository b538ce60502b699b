"""The decode loop: each prompt is read once, and its samples share its cache.

Shapes: P prompts, S samples, B = P * S rows, T tokens, D width, V vocabulary.
"""

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
    """New token ids (B, T), and their nll (B,) in nats under the unsteered model if requested."""

    ids_BT: Tensor
    nll_B: Tensor | None


class Decoding(Protocol):
    """A rule for the next token and how many tokens to write."""

    @property
    def max_new_tokens(self) -> int:
        """Number of tokens of every continuation."""

    def choose(self, logits_BV: Tensor, noise: Noise) -> Tensor:
        """Choose token ids (B,); may overwrite the logits."""


def encode(model: LanguageModel, text: str, max_new_tokens: int) -> list[int]:
    """Tokenize a prompt; an empty one becomes the token that begins or ends texts.

    Raises:
        InputError: If prompt and continuation together are longer than the model's context, the prompt has a token
            without an embedding, or it is empty and no token begins or ends texts.
    """
    (ids,) = model.tokenize([text])
    ids = ids or [model.first_token()]
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
    """Continue prompts, with the same number of samples each.

    Args:
        readout: Function of hidden states that returns logits; a folded head steers the model.
        prompts: Token ids of P prompts, equally many for each if the model has no ``position_ids``.
        keys_B: Noise keys, the samples of a prompt next to each other.
        likelihoods: Whether to return the nll of the new tokens under the unsteered model, whose hidden states are
            known at any readout.

    Returns:
        Exactly ``max_new_tokens`` tokens in each row, none of them special or a padded row of the head.

    Raises:
        InputError: If logits are infinite or NaN, for instance at a strength that is far too large; if prompts would
            have to be padded for a model that numbers padding like text.
    """
    if len({len(ids) for ids in prompts}) > 1 and not model.accepts("position_ids"):
        raise InputError(f"model {model.name}: it has no position_ids; prompts with equal numbers of tokens expected")
    with fast_attention(model.lm):
        hidden: list[Tensor] = []
        tokens: list[Tensor] = []
        for hidden_BD, token in _steps(model, readout, prompts, keys_B, decoding):
            tokens.append(token)
            hidden += [hidden_BD] * likelihoods
    ids_BT = torch.stack(tokens, dim=1)
    if not likelihoods:
        return DecodedTokens(ids_BT, None)
    nll_N = nll(model.head, torch.cat(hidden), torch.cat(tokens))
    return DecodedTokens(ids_BT, nll_N.view(len(tokens), -1).sum(0))


def _steps(
    model: LanguageModel,
    readout: Readout,
    prompts: Sequence[list[int]],
    keys_B: NDArray[np.uint64],
    decoding: Decoding,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield hidden states (B, D) and the tokens (B,) chosen from them, step by step."""
    ids_PT, mask = _left_padded(prompts, model.device)
    samples = len(keys_B) // len(prompts)
    excluded = _excluded(model)
    position = mask.cumsum(-1).sub(1).clamp(min=0)
    output = model.body(input_ids=ids_PT, attention_mask=mask, position_ids=position, use_cache=True)
    cache = output.past_key_values
    cache.batch_repeat_interleave(samples)
    mask, position = (x.repeat_interleave(samples, dim=0) for x in (mask, position[:, -1:]))
    hidden_BD = output.last_hidden_state[:, -1].repeat_interleave(samples, dim=0)
    for step in range(decoding.max_new_tokens):
        logits_BV = readout(hidden_BD).index_fill_(1, excluded, -torch.inf)
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


def _excluded(model: LanguageModel) -> Tensor:
    """Return the ids of tokens that are never generated: special ones, such as EOS, and unused rows of the head."""
    rows = len(model.head.weight)
    end = model.lm.generation_config.eos_token_id if model.lm.generation_config is not None else None
    ends = end if isinstance(end, list) else [end]
    added = model.tokenizer.added_tokens_decoder
    # Reserved tokens, as Llama 3 has, are special without being among all_special_ids; their text would be lost.
    special = (token for token, entry in added.items() if entry.special)
    excluded = {*range(model.head.vocabulary, rows), *ends, *model.tokenizer.all_special_ids, *special}
    return torch.tensor([token for token in excluded if token is not None and token < rows], device=model.device)
