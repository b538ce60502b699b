"""Measure how far a controller moves the next-token distribution from the plain model's.

Shapes: N tokens, D width, V vocabulary, H tokens of the past.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.generation.decoding import Decoding
from lmsteer.generation.sampling import Nucleus
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Mixture, Source, TextsSoFar
from lmsteer.records import Generation
from lmsteer.scoring.perplexity import Encoded, batch_states, encode, states_by_batch
from lmsteer.steering.kl import divergence

MAX_TOKENS = 2048
"""Most tokens on which a divergence is measured, spread evenly over the continuations."""
TOKENS_PER_BLOCK = 256


class DivergenceMeter:
    """KL(controlled || plain) per token on the plain model's own continuations, teacher-forced, in nats.

    A source with a ``shift`` or ``shift_rows`` costs no pass through the body, as its hidden states are the plain
    model's; a schedule follows the continuation before each token. Every other mixture is computed through its own
    sources. The distributions are those before the nucleus; where the plain model's nucleus decides which tokens remain
    (``filter="base"``), the controlled one is measured after it.

    Args:
        plain: The plain model's generations.
        decoding: The decoding, of which the filter counts.

    Raises:
        InputError: If there are no continuations, or a continuation has no tokens.
    """

    def __init__(self, model: LanguageModel, plain: Sequence[Generation], decoding: Decoding) -> None:
        if not plain:
            raise InputError("a divergence needs continuations of the plain model; there are none")
        pairs = [(generation.prompt.content, text) for generation in plain for text in generation.texts]
        self.model, self.decoding = model, decoding
        self._prompts = [prompt for prompt, _ in pairs]
        texts = encode(model, self._prompts, [text for _, text in pairs])
        batches = list(states_by_batch(model, texts))
        self._texts, self._batches = texts, [batch for batch, _ in batches]
        states_ND = torch.cat([states_MD for _, states_MD in batches])
        self._stride = max(1, math.ceil(len(states_ND) / MAX_TOKENS))
        self.states_ND = states_ND[:: self._stride]
        self._so_far = self._texts_so_far(states_ND)
        self._after_prefix: dict[str, Tensor] = {}

    def nats(self, mixture: Mixture) -> Tensor:
        """Return the divergence (N,) at each token.

        Raises:
            InputError: If it is not finite.
        """
        (first, *others) = mixture.sources
        is_filtered = isinstance(self.decoding, Nucleus) and self.decoding.filter == "base"
        is_shifted = first.is_plain and not others and not is_filtered
        if is_shifted and first.shift:
            nats_N = divergence(self.model.head, first.shift(self.states_ND), self.states_ND)
        elif is_shifted and first.shift_rows:
            nats_N = divergence(self.model.head, first.shift_rows(self.states_ND, self._so_far), self.states_ND)
        else:
            nats_N = self._through_sources(mixture)
        if not nats_N.isfinite().all():
            raise InputError("the divergence from the plain model is not finite; take a smaller strength or budget")
        return nats_N.cpu().double()

    def _texts_so_far(self, states_ND: Tensor) -> TextsSoFar:
        """Return the continuations before each measured token; ``states_ND`` are those before all tokens."""
        texts = [self._texts[index] for batch in self._batches for index in batch]
        starts = itertools.accumulate((len(text.after) for text in texts), initial=0)
        starts_and_positions = [
            (row, start, position)
            for row, (start, text) in enumerate(zip(starts, texts, strict=False))
            for position in range(len(text.after))
        ][:: self._stride]
        row_N, start_N, _ = torch.tensor(starts_and_positions, device=self.model.device).T
        tokens = [texts[row].after[:position] for row, _, position in starts_and_positions]
        return TextsSoFar(self.model, row_N, states_ND[start_N], tokens)

    @torch.inference_mode()
    def _through_sources(self, mixture: Mixture) -> Tensor:
        """Compute the divergence from the logits of each source."""
        states = [self._states(source) for source in mixture.sources]
        past_NH = self._past(mixture.history)
        blocks = zip(
            self.states_ND.split(TOKENS_PER_BLOCK),
            past_NH.split(TOKENS_PER_BLOCK),
            *(states_ND.split(TOKENS_PER_BLOCK) for states_ND in states),
            strict=True,
        )
        return torch.cat([self._block(mixture, plain, past, of_sources) for plain, past, *of_sources in blocks])

    def _block(self, mixture: Mixture, plain_ND: Tensor, past_NH: Tensor, states: Sequence[Tensor]) -> Tensor:
        vocabulary = self.model.head.vocabulary
        plain_NV = self.model.head(plain_ND)[:, :vocabulary]
        logits = [source.readout(hidden_ND) for source, hidden_ND in zip(mixture.sources, states, strict=True)]
        mixed_NV = mixture.mix(logits, past_NH)[:, :vocabulary]
        if isinstance(self.decoding, Nucleus) and self.decoding.filter == "base":
            mixed_NV = mixed_NV.masked_fill(~self.decoding.kept(plain_NV), -torch.inf)
        log_p_NV, log_q_NV = mixed_NV.log_softmax(-1), plain_NV.log_softmax(-1)
        terms_NV = torch.where(log_p_NV.isneginf(), 0.0, log_p_NV.exp() * (log_p_NV - log_q_NV))
        return terms_NV.sum(-1).clamp(min=0.0)

    def _states(self, source: Source) -> Tensor:
        """Return the hidden states (N, D) of a source before the same tokens."""
        if source.is_plain and source.model is self.model:
            shift = source.shift_rows
            return shift(self.states_ND, self._so_far) if shift else self.states_ND
        if source.edit is not None or source.model is not self.model:
            return self._read(source)
        if source.prefix not in self._after_prefix:  # it is the same at every strength
            self._after_prefix[source.prefix] = self._read(source)
        return self._after_prefix[source.prefix]

    def _read(self, source: Source) -> Tensor:
        with source.editing():
            states = [batch_states(source.model, self._encoded(source, batch)) for batch in self._batches]
        return torch.cat(states)[:: self._stride]

    def _encoded(self, source: Source, batch: Sequence[int]) -> list[Encoded]:
        """Put what a source reads before each prompt in its place; the tokens of the continuation stay."""
        texts = [self._texts[index] for index in batch]
        if not source.prefix:
            return texts
        after = [len(text.after) for text in texts]
        prompts = [source.encode(self._prompts[index], length) for index, length in zip(batch, after, strict=True)]
        return [replace(text, before=tuple(ids)) for text, ids in zip(texts, prompts, strict=True)]

    def _past(self, length: int) -> Tensor:
        """Return the tokens (N, H) before each measured token, -1 before the text begins."""
        rows = [
            ([-1] * length + list(text.before + text.after[:position]))[len(text.before) + position :]
            for batch in self._batches
            for text in (self._texts[index] for index in batch)
            for position in range(len(text.after))
        ]
        return torch.tensor(rows, device=self.model.device).reshape(len(rows), length)[:: self._stride]
