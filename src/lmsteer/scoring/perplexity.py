"""How likely a language model finds continuations, given their prompts.

Shapes: N texts, B rows of a batch, P prompts of a batch, T tokens read, M tokens that count, D width.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lmsteer.errors import InputError
from lmsteer.models.attention import fast_attention
from lmsteer.models.cross_entropy import nll
from lmsteer.models.language_model import LanguageModel
from lmsteer.scoring.scorer import in_batches

TOKENS = {"cpu": 2048}
MANY_TOKENS = 32768
"""Tokens of a batch by device, prompts and padding included. They bound the memory that the rows' caches take."""


@dataclass(frozen=True)
class Encoded:
    """Token ids before the first one that counts, and from it to the last one that does.

    ``offsets`` are the characters (from, to) of the text that the tokenizer says each token that counts stands for.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]


def continuation_nll(
    model: LanguageModel, prompts: Sequence[str], continuations: Sequence[str], *, tokens: int | None = None
) -> tuple[Tensor, Tensor]:
    """Nats and tokens of each continuation, given its prompt.

    Prompt and continuation are tokenized as one text. A token belongs to the continuation if it ends behind the
    prompt, so one that spans the joint counts. Where the very first token counts, BOS (else EOS) stands before it.
    Texts that begin with the same tokens, up to the first that counts, read these once.

    Args:
        model: The perplexity_model.
        prompts: N texts, which may be empty.
        continuations: N texts, leading space kept.
        tokens: Most tokens of a batch, prompts and padding included; by default what suits the device.

    Returns:
        Sum of ``-log p`` over the continuation's tokens in nats (N,) float32, and their number (N,) int64.
        Perplexity of one is ``exp(nats / tokens)``.

    Raises:
        InputError: If a continuation has no tokens or a text is beyond the model's context; names the text.
    """
    if len(prompts) != len(continuations):
        raise InputError(f"{len(prompts)} prompts and {len(continuations)} continuations; as many of each expected")
    if not prompts:
        return torch.empty(0), torch.empty(0, dtype=torch.int64)
    texts = encode(model, prompts, continuations)
    sharing = _can_share(model)
    nats_N = in_batches(
        _batches(texts, sharing, tokens or TOKENS.get(model.device.type, MANY_TOKENS), model.context),
        lambda batch: _nats(model, [texts[index] for index in batch], sharing),
        description=f"perplexity under {model.name}",
    )
    return nats_N, torch.tensor([len(text.after) for text in texts])


def continuation_states(model: LanguageModel, prompts: Sequence[str], continuations: Sequence[str]) -> Tensor:
    """Hidden states (M, D) before each token of the continuations, as ``continuation_nll`` counts them.

    They come in the order of the batches, not of the texts.

    Raises:
        InputError: As ``continuation_nll`` does.
    """
    texts = encode(model, prompts, continuations)
    return torch.cat([states_MD for _, states_MD in states_by_batch(model, texts)])


def states_by_batch(model: LanguageModel, texts: Sequence[Encoded]) -> Iterator[tuple[list[int], Tensor]]:
    """Batches of texts, by their indices, and the hidden states (M, D) before each of their tokens that count."""
    sharing = _can_share(model)
    for batch in _batches(texts, sharing, TOKENS.get(model.device.type, MANY_TOKENS), model.context):
        yield batch, _states(model, [texts[index] for index in batch], sharing)


def encode(
    model: LanguageModel, prompts: Sequence[str], continuations: Sequence[str], *, locations: Sequence[str] = ()
) -> list[Encoded]:
    """Texts as tokens, those that count told from those before them as ``continuation_nll`` says.

    Args:
        locations: Where each text stands, for messages.

    Raises:
        InputError: As ``continuation_nll`` does.
    """
    whole = [prompt + continuation for prompt, continuation in zip(prompts, continuations, strict=True)]
    rows = model.tokenizer(whole, return_offsets_mapping=True, verbose=False)
    encoded = []
    for index, (ids, offsets) in enumerate(zip(rows["input_ids"], rows["offset_mapping"], strict=True)):
        where = f"{locations[index]}: " if locations else ""
        # Special tokens have the offsets (0, 0) and so never count.
        counted = [place for place, (_, end) in enumerate(offsets) if end > len(prompts[index])]
        if not counted:
            raise InputError(
                f"{where}continuation {continuations[index]!r} of prompt {prompts[index]!r} has no tokens, "
                "so no perplexity"
            )
        first, behind = counted[0], counted[-1] + 1
        before = tuple(ids[:first]) or (_first_token(model),)
        text = Encoded(before, tuple(ids[first:behind]), tuple(offsets[first:behind]))
        if (length := len(text.before) + len(text.after)) > model.context:
            raise InputError(
                f"{where}text {whole[index][:40]!r}… has {length} tokens; "
                f"model {model.name} takes at most {model.context}"
            )
        encoded.append(text)
    return encoded


def _first_token(model: LanguageModel) -> int:
    for token in (model.tokenizer.bos_token_id, model.tokenizer.eos_token_id):
        if isinstance(token, int):
            return token
    raise InputError(f"model {model.name} has neither BOS nor EOS, so an empty prompt cannot be scored")


def _can_share(model: LanguageModel) -> bool:
    """Whether a prompt's cache can serve several continuations: no recurrent state, and positions can be told."""
    parameters = inspect.signature(model.lm.base_model.forward).parameters
    return not model.lm._is_stateful and {"position_ids", "past_key_values"} <= set(parameters)


def _batches(texts: Sequence[Encoded], sharing: bool, budget: int, context: int) -> list[list[int]]:
    """Indices of the texts of each batch: continuations of one prompt side by side, then texts that stand alone."""
    families: dict[object, list[int]] = {}
    for index, text in enumerate(texts):
        families.setdefault(text.before if sharing else index, []).append(index)
    for family in families.values():
        family.sort(key=lambda index: len(texts[index].after))

    def like(family: list[int]) -> tuple[bool, int, int]:
        before, after = len(texts[family[0]].before), len(texts[family[-1]].after)
        return (True, before + after, before) if len(family) == 1 else (False, after, before)

    batches: list[list[int]] = []
    prompt = rest = 0
    for family in sorted(families.values(), key=like):
        for index in family:
            own_prompt, own_rest = len(texts[index].before), len(texts[index].after)
            prompt, rest = max(prompt, own_prompt), max(rest, own_rest)
            # Beyond the context there may be no positions, not even for padding.
            if not batches or prompt + rest > min(context, budget // (len(batches[-1]) + 1)):
                batches.append([])
                prompt, rest = own_prompt, own_rest
            batches[-1].append(index)
    return batches


@torch.inference_mode()
def _nats(model: LanguageModel, batch: Sequence[Encoded], sharing: bool) -> Tensor:
    """Nats (B,) of a batch."""
    targets_M = torch.tensor([token for text in batch for token in text.after], device=model.device)
    nats_M = nll(model.head, _states(model, batch, sharing), targets_M)
    return torch.stack([nats.sum() for nats in nats_M.split([len(text.after) for text in batch])])


@torch.inference_mode()
def _states(model: LanguageModel, batch: Sequence[Encoded], sharing: bool) -> Tensor:
    """Hidden states (M, D) before each token that counts."""
    prompts = list(dict.fromkeys(text.before for text in batch))
    read = _read_shared if sharing and len(prompts) < len(batch) else _read_whole
    with fast_attention(model.lm):
        return read(model, prompts, batch)


def _read_whole(model: LanguageModel, _: Sequence[tuple[int, ...]], batch: Sequence[Encoded]) -> Tensor:
    """Hidden states (M, D) before each token that counts, every text by itself; its last token is not read."""
    ids_BT = _padded([text.before + text.after[:-1] for text in batch], "right").to(model.device)
    return _chosen(model.hidden(ids_BT), [len(text.before) - 1 for text in batch], batch)


def _read_shared(model: LanguageModel, prompts: Sequence[tuple[int, ...]], batch: Sequence[Encoded]) -> Tensor:
    """The same, each prompt read once."""
    ids_PT = _padded(prompts, "left").to(model.device)
    mask_PT = _padded([(1,) * len(prompt) for prompt in prompts], "left").to(model.device)
    position_PT = mask_PT.cumsum(-1).sub(1).clamp(min=0)
    output = model.body(input_ids=ids_PT, attention_mask=mask_PT, position_ids=position_PT, use_cache=True)
    place = {prompt: row for row, prompt in enumerate(prompts)}
    rows = torch.tensor([place[text.before] for text in batch])  # not on a device: the layers' caches may be on several
    states_BTD = output.last_hidden_state[:, -1:][rows]
    ids_BT = _padded([text.after[:-1] for text in batch], "right").to(model.device)
    if ids_BT.shape[1]:
        output.past_key_values.batch_select_indices(rows)
        further = torch.arange(1, ids_BT.shape[1] + 1, device=model.device)
        # No mask is needed for padding behind the texts: a causal model never looks ahead.
        output = model.body(
            input_ids=ids_BT,
            attention_mask=torch.cat([mask_PT[rows], torch.ones_like(ids_BT)], dim=1),
            position_ids=position_PT[rows, -1:] + further,
            past_key_values=output.past_key_values,
            use_cache=True,
        )
        states_BTD = torch.cat([states_BTD, output.last_hidden_state], dim=1)
    return _chosen(states_BTD, [0] * len(batch), batch)


def _padded(rows: Sequence[tuple[int, ...]], side: str) -> Tensor:
    return pad_sequence([torch.tensor(row, dtype=torch.long) for row in rows], batch_first=True, padding_side=side)


def _chosen(states_BTD: Tensor, first: Sequence[int], batch: Sequence[Encoded]) -> Tensor:
    """States (M, D) of each row from its ``first`` one on, as many as tokens count in it."""
    first_B1 = torch.tensor(first)[:, None]
    behind_B1 = first_B1 + torch.tensor([len(text.after) for text in batch])[:, None]
    place_T = torch.arange(states_BTD.shape[1])
    return states_BTD[((place_T >= first_B1) & (place_T < behind_B1)).to(states_BTD.device)]
