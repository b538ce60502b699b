"""Log-likelihood of continuations, given their prompts, under a language model.

Shapes: N texts, B rows of a batch, P prompts of a batch, T tokens, M continuation tokens, D width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lmsteer.errors import InputError
from lmsteer.models.attention import fast_attention
from lmsteer.models.cross_entropy import nll
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Turns
from lmsteer.scoring.scorer import in_batches

TOKENS = {"cpu": 2048}
GPU_TOKENS = 32768
"""Tokens of a batch by device, including prompts and padding; they bound the memory of the key-value caches."""


@dataclass(frozen=True)
class Encoded:
    """Token ids of the prompt (``before``) and of the continuation (``after``).

    ``offsets`` are the character offsets (start, end) of the continuation's tokens, from where it begins.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]


class PerplexityModel(Protocol):
    """A language model that may not be loaded yet, with its name and fingerprint."""

    @property
    def name(self) -> str:
        """Name of the model in files and tables."""
        ...

    def fingerprint(self) -> str:
        """Return the sha256 of weights, their dtype, configuration and tokenizer."""
        ...

    def loaded(self) -> LanguageModel:
        """Return the model, loaded if it was not."""
        ...


def continuation_nll(
    model: PerplexityModel, prompts: Sequence[str | Turns], continuations: Sequence[str], *, tokens: int | None = None
) -> tuple[Tensor, Tensor]:
    """Compute the negative log-likelihood and the number of tokens of each continuation, given its prompt.

    Prompt and continuation are tokenized as one text; a question is asked in the chat template of this model. A token
    belongs to the continuation if it ends after the prompt, even if it starts in it. BOS (else EOS) is put before a
    continuation that starts with the first token. Equal prompts are computed once per batch.

    Args:
        model: The perplexity model.
        prompts: N texts, which may be empty, or questions.
        continuations: N texts, including leading spaces.
        tokens: Most tokens of a batch, including prompts and padding; None: a value for the device.

    Returns:
        Sum of ``-log p`` over the continuation's tokens in nats (N,) float32, and their number (N,) int64.
        The perplexity of a continuation is ``exp(nats / tokens)``.

    Raises:
        InputError: If a continuation has no tokens, a text exceeds the model's context, or the model cannot be asked a
            question; names the text.
    """
    if len(prompts) != len(continuations):
        raise InputError(f"{len(prompts)} prompts and {len(continuations)} continuations; equal numbers expected")
    if not prompts:
        return torch.empty(0), torch.empty(0, dtype=torch.int64)
    lm = model.loaded()
    texts = encode(lm, prompts, continuations)
    sharing = _can_share(lm)
    nats_N = in_batches(
        _batches(texts, sharing, tokens or TOKENS.get(lm.device.type, GPU_TOKENS), lm.context),
        lambda batch: _nats(lm, [texts[index] for index in batch], sharing),
        description=f"perplexity under {model.name}",
    )
    return nats_N, torch.tensor([len(text.after) for text in texts])


def states_by_batch(model: LanguageModel, texts: Sequence[Encoded]) -> Iterator[tuple[list[int], Tensor]]:
    """Yield batches of texts by index, and the hidden states (M, D) before the tokens of their continuations."""
    sharing = _can_share(model)
    for batch in _batches(texts, sharing, TOKENS.get(model.device.type, GPU_TOKENS), model.context):
        yield batch, _states(model, [texts[index] for index in batch], sharing)


def encode(
    model: LanguageModel,
    prompts: Sequence[str | Turns],
    continuations: Sequence[str],
    *,
    locations: Sequence[str] = (),
) -> list[Encoded]:
    """Tokenize texts and split them into prompt and continuation, as ``continuation_nll`` does.

    Args:
        locations: Location of each text, for error messages.

    Raises:
        InputError: As ``continuation_nll`` does.
    """
    joined = [
        model.prompt(prompt, continuation=continuation)
        for prompt, continuation in zip(prompts, continuations, strict=True)
    ]
    encoded = []
    for index, (ids, offsets) in enumerate(zip(*model.tokenize_with_offsets(joined), strict=True)):
        where = f"{locations[index]}: " if locations else ""
        # Special tokens have the offsets (0, 0) and so never count.
        before = len(str(joined[index])) - len(continuations[index])
        counted = [token for token, (_, end) in enumerate(offsets) if end > before]
        if not counted:
            raise InputError(
                f"{where}continuation {continuations[index]!r} of prompt {prompts[index]!r} has no tokens, "
                "so no perplexity"
            )
        start, end = counted[0], counted[-1] + 1
        before_ids = tuple(ids[:start]) or (model.first_token(),)
        inside = tuple((max(first - before, 0), last - before) for first, last in offsets[start:end])
        text = Encoded(before_ids, tuple(ids[start:end]), inside)
        if (length := len(text.before) + len(text.after)) > model.context:
            raise InputError(
                f"{where}text {str(joined[index])[:40]!r}… has {length} tokens; "
                f"model {model.name} accepts at most {model.context}"
            )
        encoded.append(text)
    return encoded


def _can_share(model: LanguageModel) -> bool:
    """Return whether continuations can share a prompt's cache: no recurrent state, and positions can be given."""
    return not model.lm._is_stateful and model.accepts("position_ids") and model.accepts("past_key_values")


def _batches(texts: Sequence[Encoded], sharing: bool, budget: int, context: int) -> list[list[int]]:
    """Group the indices of texts into batches: continuations of one prompt together, then single texts."""
    by_prompt: dict[object, list[int]] = {}
    for index, text in enumerate(texts):
        by_prompt.setdefault(text.before if sharing else index, []).append(index)
    for group in by_prompt.values():
        group.sort(key=lambda index: len(texts[index].after))

    def order(group: list[int]) -> tuple[bool, int, int]:
        before, after = len(texts[group[0]].before), len(texts[group[-1]].after)
        return (True, before + after, before) if len(group) == 1 else (False, after, before)

    batches: list[list[int]] = []
    longest_before = longest_after = 0
    for group in sorted(by_prompt.values(), key=order):
        for index in group:
            before, after = len(texts[index].before), len(texts[index].after)
            longest_before, longest_after = max(longest_before, before), max(longest_after, after)
            # Beyond the context there may be no positions, not even for padding.
            if not batches or longest_before + longest_after > min(context, budget // (len(batches[-1]) + 1)):
                batches.append([])
                longest_before, longest_after = before, after
            batches[-1].append(index)
    return batches


@torch.inference_mode()
def _nats(model: LanguageModel, batch: Sequence[Encoded], sharing: bool) -> Tensor:
    """Compute the nats (B,) of a batch."""
    targets_M = torch.tensor([token for text in batch for token in text.after], device=model.device)
    nats_M = nll(model.head, _states(model, batch, sharing), targets_M)
    return torch.stack([nats.sum() for nats in nats_M.split([len(text.after) for text in batch])])


def batch_states(model: LanguageModel, batch: Sequence[Encoded]) -> Tensor:
    """Compute the hidden states (M, D) before the tokens of the continuations of one batch, in order."""
    return _states(model, batch, _can_share(model))


@torch.inference_mode()
def _states(model: LanguageModel, batch: Sequence[Encoded], sharing: bool) -> Tensor:
    """Compute the hidden states (M, D) before the tokens of the continuations of a batch."""
    prompts = list(dict.fromkeys(text.before for text in batch))
    with fast_attention(model.lm):
        if sharing and len(prompts) < len(batch):
            return _shared_prompt_states(model, prompts, batch)
        ids_BT = _padded([text.before + text.after[:-1] for text in batch], "right").to(model.device)
        return _continuation_positions(model.hidden(ids_BT), [len(text.before) - 1 for text in batch], batch)


def _shared_prompt_states(model: LanguageModel, prompts: Sequence[tuple[int, ...]], batch: Sequence[Encoded]) -> Tensor:
    """Compute the hidden states (M, D) of a batch with one forward pass per distinct prompt."""
    ids_PT = _padded(prompts, "left").to(model.device)
    mask_PT = _padded([(1,) * len(prompt) for prompt in prompts], "left").to(model.device)
    position_PT = mask_PT.cumsum(-1).sub(1).clamp(min=0)
    output = model.body(input_ids=ids_PT, attention_mask=mask_PT, position_ids=position_PT, use_cache=True)
    row_of = {prompt: row for row, prompt in enumerate(prompts)}
    rows = torch.tensor([row_of[text.before] for text in batch])  # on the CPU: layers may be on several devices
    states_BTD = output.last_hidden_state[:, -1:][rows]
    ids_BT = _padded([text.after[:-1] for text in batch], "right").to(model.device)
    if ids_BT.shape[1]:
        output.past_key_values.batch_select_indices(rows)
        steps = torch.arange(1, ids_BT.shape[1] + 1, device=model.device)
        # Padding on the right needs no mask: a causal model never looks ahead.
        output = model.body(
            input_ids=ids_BT,
            attention_mask=torch.cat([mask_PT[rows], torch.ones_like(ids_BT)], dim=1),
            position_ids=position_PT[rows, -1:] + steps,
            past_key_values=output.past_key_values,
            use_cache=True,
        )
        states_BTD = torch.cat([states_BTD, output.last_hidden_state], dim=1)
    return _continuation_positions(states_BTD, [0] * len(batch), batch)


def _padded(rows: Sequence[tuple[int, ...]], side: str) -> Tensor:
    return pad_sequence([torch.tensor(row, dtype=torch.long) for row in rows], batch_first=True, padding_side=side)


def _continuation_positions(states_BTD: Tensor, start: Sequence[int], batch: Sequence[Encoded]) -> Tensor:
    """Select the states (M, D) of each row from ``start`` on, one for each token of its continuation."""
    start_B1 = torch.tensor(start)[:, None]
    end_B1 = start_B1 + torch.tensor([len(text.after) for text in batch])[:, None]
    position_T = torch.arange(states_BTD.shape[1])
    return states_BTD[((position_T >= start_B1) & (position_T < end_B1)).to(states_BTD.device)]
