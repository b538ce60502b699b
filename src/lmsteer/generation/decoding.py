"""The decode loop: each source reads each prompt once, and the samples of a prompt share its cache.

Shapes: P prompts, S samples, B = P * S rows, T tokens, D width, V vocabulary, H tokens of the past.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.generation.noise import uniform
from lmsteer.generation.prefix import read_prefix
from lmsteer.generation.sampling import Filter, Noise
from lmsteer.models.attention import fast_attention
from lmsteer.models.cross_entropy import nll
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Mixture, Source, TextsSoFar
from lmsteer.records import Turns

ENDED = -1
"""Stands after the last token of a text that ended before the others."""


REMAINING = 0.5
"""Texts that have ended leave the batch when at most this share of it remains: each time copies the caches."""


class DecodedTokens(NamedTuple):
    """New token ids (B, T), ``ENDED`` after the end of a text, and their nll (B,) under the plain model if known."""

    ids_BT: Tensor
    nll_B: Tensor | None


class Decoding(Protocol):
    """A rule for the next token and how many tokens to write."""

    @property
    def max_new_tokens(self) -> int:
        """Number of tokens of every continuation, or the largest one with ``stop_at_end``."""

    @property
    def stop_at_end(self) -> bool:
        """Whether a continuation may end at a token that ends texts."""

    @property
    def filter(self) -> Filter:
        """Whether the plain model's logits, "base", decide which tokens remain."""

    def choose(self, logits_BV: Tensor, noise: Noise, base_BV: Tensor | None = None) -> Tensor:
        """Choose token ids (B,); may overwrite the logits. ``base_BV`` are logits of the plain model."""


@torch.inference_mode()
def decode(
    model: LanguageModel,
    mixture: Mixture,
    prompts: Sequence[str | Turns],
    keys_B: NDArray[np.uint64],
    decoding: Decoding,
    *,
    likelihoods: bool = False,
) -> DecodedTokens:
    """Continue prompts, with the same number of samples each.

    Where texts may end, those that have ended leave the batch. The others stay as they are: their noise is a function
    of their keys.

    Args:
        model: The unsteered model.
        mixture: The distribution of the next token.
        prompts: P texts or questions, equally many tokens each if a model has no ``position_ids``.
        keys_B: Noise keys, the samples of a prompt next to each other.
        likelihoods: Whether to return the nll of the new tokens under the unsteered model. It is None where no source
            reads as that model.

    Returns:
        Exactly ``max_new_tokens`` tokens in each row, or fewer where texts may end; none of them is special or a padded
        row of the head.

    Raises:
        InputError: If logits are infinite or NaN, for instance at a strength that is far too large; if prompts would
            have to be padded for a model that numbers padding like text; if a prompt is too long for a source.
    """
    if decoding.filter == "base" and mixture.plain_source(model) is None:
        mixture = _with_plain_source(mixture, model)
    plain = mixture.plain_source(model)
    samples = len(keys_B) // len(prompts)
    with ExitStack() as stack:
        for body in {id(source.model): source.model for source in mixture.sources}.values():
            stack.enter_context(fast_attention(body.lm))
        streams = [_Stream(source, prompts, samples, decoding.max_new_tokens) for source in mixture.sources]
        hidden: list[Tensor] = []
        chosen: list[Tensor] = []
        rows: list[Tensor] = []
        for row_A, token_A in _steps(model, mixture, streams, keys_B, decoding):
            rows.append(row_A)
            chosen.append(token_A)
            if likelihoods and plain is not None:
                hidden.append(streams[plain].hidden_BD)
        del streams  # their caches are large, and the likelihoods need memory too
    token_N, row_N = torch.cat(chosen), torch.cat(rows)
    step_N = torch.arange(len(rows), device=row_N.device).repeat_interleave(
        torch.tensor(list(map(len, rows)), device=row_N.device)
    )
    ids_TB = token_N.new_full((len(rows), len(keys_B)), ENDED)
    ids_TB[step_N, row_N] = token_N
    if not hidden:
        return DecodedTokens(ids_TB.T, None)
    nll_TB = torch.zeros(ids_TB.shape, device=row_N.device)
    nll_TB[step_N, row_N] = nll(model.head, torch.cat(hidden), token_N.clamp(min=0)) * (token_N != ENDED)
    return DecodedTokens(ids_TB.T, nll_TB.sum(0))


def _with_plain_source(mixture: Mixture, model: LanguageModel) -> Mixture:
    """Add the plain model as a source that the rule does not see."""
    seen = len(mixture.sources)
    plain = Source(model, model.head)
    return Mixture(
        (*mixture.sources, plain), lambda logits, past_NH: mixture.mix(logits[:seen], past_NH), mixture.history
    )


def _steps(
    model: LanguageModel,
    mixture: Mixture,
    streams: "Sequence[_Stream]",
    keys_B: NDArray[np.uint64],
    decoding: Decoding,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rows of the batch by index, and the tokens chosen from the present hidden states, step by step."""
    ends, excluded = _ends(model), _excluded(model, but_ends=decoding.stop_at_end)
    past_BH = _last(streams[0].prompt_BT, mixture.history)
    row_B = torch.arange(len(keys_B), device=model.device)
    ended_B = torch.zeros_like(row_B, dtype=torch.bool)
    for step in range(decoding.max_new_tokens):
        barred = torch.cat([excluded, ends]) if step == 0 else excluded  # an empty text has no perplexity
        logits_BV, base_BV = _logits(model, mixture, streams, past_BH, barred, decoding)
        if not logits_BV.amax(-1).isfinite().all():
            raise InputError(f"{model.name}: logits are not finite at token {step + 1}; take a strength nearer to 0")
        noise = partial(_noise, keys_B, step)
        token_B = decoding.choose(logits_BV, noise, base_BV)
        if decoding.stop_at_end:
            ended_B = ended_B | torch.isin(token_B, ends)
        yield row_B, token_B.masked_fill(ended_B, ENDED)
        if step + 1 == decoding.max_new_tokens or (decoding.stop_at_end and bool(ended_B.all())):
            return
        if decoding.stop_at_end and int((~ended_B).sum()) <= REMAINING * len(ended_B):
            left = (~ended_B).nonzero()[:, 0]
            token_B, past_BH, row_B, ended_B = (x[left] for x in (token_B, past_BH, row_B, ended_B))
            keys_B = keys_B[left.cpu().numpy()]
            for stream in streams:
                stream.keep(left)
        past_BH = _last(torch.cat([past_BH, token_B[:, None]], dim=1), mixture.history)
        for stream in streams:
            stream.advance(token_B)


def _noise(keys_B: NDArray[np.uint64], step: int, rows: NDArray[np.int64], draw: int) -> NDArray[np.float64]:
    return uniform(keys_B[rows], step, draw)


def _logits(
    model: LanguageModel,
    mixture: Mixture,
    streams: "Sequence[_Stream]",
    past_BH: Tensor,
    barred: Tensor,
    decoding: Decoding,
) -> tuple[Tensor, Tensor | None]:
    """Return the logits (B, V) of the mixture, and of the plain model where it filters, without the barred tokens."""
    plain, base_BV = mixture.plain_source(model), None
    mixed_BV = mixture.mixed_before_the_head([stream.hidden_BD for stream in streams])
    if mixed_BV is None:
        mixed_BV = mixture.mix([stream.logits() for stream in streams], past_BH)
    if decoding.filter == "base" and plain is not None:  # its source may have a readout of its own
        base_BV = model.head(streams[plain].hidden_BD).index_fill_(1, barred, -torch.inf)
    return mixed_BV.index_fill_(1, barred, -torch.inf), base_BV


def _last(ids_BT: Tensor, length: int) -> Tensor:
    """Return the last tokens (B, H), -1 before the text begins."""
    last_BH = ids_BT[:, max(0, ids_BT.shape[1] - length) :]
    return torch.nn.functional.pad(last_BH, (length - last_BH.shape[1], 0), value=-1)


class _Stream:
    """The state of one source while a batch is decoded: its prompts, -1 before them, cache, mask and positions."""

    def __init__(self, source: Source, prompts: Sequence[str | Turns], samples: int, max_new_tokens: int) -> None:
        self.source, model = source, source.model
        encoded = [source.encode(prompt, max_new_tokens) for prompt in prompts]
        if len({len(ids) for ids in encoded}) > 1 and not model.accepts("position_ids"):
            raise InputError(
                f"model {model.name}: it has no position_ids; prompts with equal numbers of tokens expected"
            )
        ids_PT, mask_PT = _left_padded(encoded, model.device)
        position_PT = mask_PT.cumsum(-1).sub(1).clamp(min=0)
        with source.editing():
            prefix = read_prefix(source, encoded, mask_PT)
            seen = 0 if prefix is None else prefix.get_seq_length()
            output = model.body(
                input_ids=ids_PT[:, seen:],
                attention_mask=mask_PT,
                position_ids=position_PT[:, seen:],
                past_key_values=prefix,
                use_cache=True,
            )
        self.cache = output.past_key_values
        self.cache.batch_repeat_interleave(samples)
        prompt_PT = ids_PT.masked_fill(mask_PT == 0, -1)
        self.mask, self.position, self.prompt_BT = (
            x.repeat_interleave(samples, dim=0) for x in (mask_PT, position_PT[:, -1:], prompt_PT)
        )
        self.hidden_BD: Tensor = output.last_hidden_state[:, -1].repeat_interleave(samples, dim=0)
        row_B = torch.arange(len(self.hidden_BD), device=model.device)
        self.so_far = TextsSoFar(model, row_B, self.hidden_BD, [[]] * len(row_B))

    def logits(self) -> Tensor:
        """Return the logits (B, V) of the next token."""
        shift = self.source.shift_rows
        return self.source.readout(shift(self.hidden_BD, self.so_far) if shift else self.hidden_BD)

    def keep(self, left: Tensor) -> None:
        """Forget all rows but some, by index."""
        self.cache.batch_select_indices(left.cpu())  # layers may be on several devices
        self.mask, self.position, self.hidden_BD = (x[left] for x in (self.mask, self.position, self.hidden_BD))
        so_far, tokens = self.so_far, [self.so_far.tokens[row] for row in left.tolist()]
        self.so_far = replace(so_far, row_N=so_far.row_N[left], prompt_ND=so_far.prompt_ND[left], tokens=tokens)

    def advance(self, token_B: Tensor) -> None:
        """Read the chosen tokens (B,)."""
        if self.source.shift_rows:
            tokens = [[*ids, token] for ids, token in zip(self.so_far.tokens, token_B.tolist(), strict=True)]
            self.so_far = replace(self.so_far, tokens=tokens)
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
        self.position = self.position + 1
        with self.source.editing():
            output = self.source.model.body(
                input_ids=token_B[:, None],
                attention_mask=self.mask,
                position_ids=self.position,
                past_key_values=self.cache,
                use_cache=True,
            )
        self.hidden_BD = output.last_hidden_state[:, -1]


def _left_padded(prompts: Sequence[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    longest = max(len(ids) for ids in prompts)
    ids_PT = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask_PT = torch.zeros_like(ids_PT)
    for row, ids in enumerate(prompts):
        ids_PT[row, longest - len(ids) :] = torch.tensor(ids)
        mask_PT[row, longest - len(ids) :] = 1
    return ids_PT.to(device), mask_PT.to(device)


def _ends(model: LanguageModel) -> Tensor:
    """Return the ids of the tokens that end texts, or turns of a conversation."""
    end = model.lm.generation_config.eos_token_id if model.lm.generation_config is not None else None
    ends = {*(end if isinstance(end, list) else [end]), model.tokenizer.eos_token_id, *model.chat.ends}
    rows = len(model.head.weight)
    known = sorted(token for token in ends if token is not None and token < rows)
    return torch.tensor(known, device=model.device, dtype=torch.long)


def _excluded(model: LanguageModel, *, but_ends: bool = False) -> Tensor:
    """Return the ids of tokens that are never generated: special ones, such as EOS, and unused rows of the head."""
    rows = len(model.head.weight)
    ends = _ends(model).tolist()
    added = model.tokenizer.added_tokens_decoder
    # Reserved tokens, as Llama 3 has, are special without being among all_special_ids; their text would be lost.
    special = (token for token, entry in added.items() if entry.special)
    excluded = {*range(model.head.vocabulary, rows), *ends, *model.tokenizer.all_special_ids, *special}
    known = [token for token in excluded if token is not None and token < rows and not (but_ends and token in ends)]
    return torch.tensor(known, device=model.device, dtype=torch.long)
