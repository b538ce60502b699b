"""How the next token is distributed: the sources that read a text, and the rule that mixes their logits.

Shapes: N rows or tokens, D width, V vocabulary, H tokens of the past.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol

import torch
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.models.head import Head
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Turns

Readout = Callable[[Tensor], Tensor]
"""Hidden states (N, D) to logits (N, V)."""
Mix = Callable[[Sequence[Tensor], Tensor], Tensor]
"""Logits (N, V) of each source, and the last H token ids (N, H), -1 before the text begins, to logits (N, V)."""


def first_source(logits: Sequence[Tensor], past_NH: Tensor) -> Tensor:
    """Return the logits of the only source."""
    return logits[0]


@dataclass(frozen=True)
class TextsSoFar:
    """Rows of a batch before their next token.

    Attributes:
        row_N: Index of each row in its batch, as some rows may have left it.
        prompt_ND: Hidden states after the prompts, before the first token of each text.
        tokens: Token ids of each text so far, without its prompt.
    """

    model: LanguageModel
    row_N: Tensor
    prompt_ND: Tensor
    tokens: Sequence[Sequence[int]]

    @cached_property
    def texts(self) -> list[str]:
        """The texts so far, without their prompts."""
        return [self.model.detokenize(ids) for ids in self.tokens]

    def only(self, rows: Tensor) -> TextsSoFar:
        """Return some of the rows, by index."""
        tokens = [self.tokens[row] for row in rows.tolist()]
        return TextsSoFar(self.model, self.row_N[rows], self.prompt_ND[rows], tokens)


@dataclass(frozen=True)
class Source:
    """One reading of a text: a body, perhaps edited, what it reads before the text, and its readout.

    Attributes:
        readout: Function of the hidden states that returns logits, such as a folded head.
        prefix: Text that this source reads before each prompt.
        edit: Called for a context in which the body computes something else. None: the plain body.
        shift: Function of hidden states (N, D) with ``readout(h) = head(shift(h))``, up to rounding. None: unknown.
        shift_rows: Function of hidden states (N, D) and their rows that returns what the readout reads, where the rows
            differ or change with their texts. None: all are read alike.
    """

    model: LanguageModel
    readout: Readout
    prefix: str = ""
    edit: Callable[[], AbstractContextManager[object]] | None = None
    shift: Callable[[Tensor], Tensor] | None = None
    shift_rows: Callable[[Tensor, TextsSoFar], Tensor] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the hidden states are those of the unedited model without a prefix."""
        return self.edit is None and not self.prefix

    def editing(self) -> AbstractContextManager[object]:
        """Return the context of this source's passes through the body."""
        return self.edit() if self.edit else nullcontext()

    def encode(self, content: str | Turns, max_new_tokens: int) -> list[int]:
        """Tokenize a prompt after the prefix; an empty text becomes the token that begins or ends texts.

        For a question the prefix is a message of the system, or stands before it where the model takes none.

        Raises:
            InputError: If it is longer than the model's context, together with the continuation, or has a token without
                an embedding, or it is empty and no token begins or ends texts, or it is a question and the model has no
                chat template.
        """
        (ids,) = self.model.tokenize([self.model.prompt(content, prefix=self.prefix)])
        ids = ids or [self.model.first_token()]
        if len(ids) + max_new_tokens > self.model.context:
            text = content if isinstance(content, str) else content[-1][1]
            text_and_prefix = f"prompt {text[:40]!r}…" + (
                f" after the prefix {self.prefix[:40]!r}…" if self.prefix else ""
            )
            raise InputError(
                f"{text_and_prefix} has {len(ids)} tokens; with {max_new_tokens} new ones it exceeds the context of "
                f"{self.model.name}, {self.model.context}"
            )
        return ids


def _weighted_sum(weights: Sequence[float], values: Sequence[Tensor], past_NH: Tensor | None = None) -> Tensor:
    total = weights[0] * values[0]
    for weight, value in zip(weights[1:], values[1:], strict=True):
        total.add_(value, alpha=weight)
    return total


@dataclass(frozen=True)
class Mixture:
    """The distribution of the next token: sources and the rule that mixes their logits.

    Attributes:
        sources: Each costs a pass through its body for every token.
        mix: Called with the logits of the sources.
        history: Number H of past tokens that the rule sees.
        weights: Weights of the logits, of sum 1, if the rule is their sum; else empty.
    """

    sources: tuple[Source, ...]
    mix: Mix = first_source
    history: int = 0
    weights: tuple[float, ...] = ()

    @classmethod
    def weighted(cls, sources: tuple[Source, ...], weights: tuple[float, ...]) -> Mixture:
        """Return the distribution whose logits are a weighted sum; ``weights`` have the sum 1."""
        return cls(sources, partial(_weighted_sum, weights), weights=weights)

    def mixed_before_the_head(self, hidden: Sequence[Tensor]) -> Tensor | None:
        """Return the logits (N, V) of hidden states (N, D) of the sources, by one product instead of one for each.

        A weighted sum may be taken before the head where all sources have the same one, and it is linear.

        Returns:
            None where that is not so.
        """
        head = self.sources[0].readout
        is_shared = self.weights and all(s.readout is head and s.shift_rows is None for s in self.sources)
        if not is_shared or not isinstance(head, Head) or head.softcap is not None:
            return None
        exact = torch.promote_types(hidden[0].dtype, torch.float32)
        logits_NV: Tensor = head(_weighted_sum(self.weights, [states_ND.to(exact) for states_ND in hidden]))
        return logits_NV

    @classmethod
    def plain(cls, model: LanguageModel) -> Mixture:
        """Return the distribution of the unsteered model.

        Example:
            >>> from lmsteer.models.random_models import tiny
            >>> Mixture.plain(tiny()).sources[0].is_plain
            True
        """
        return cls((Source(model, model.head),))

    def plain_source(self, model: LanguageModel) -> int | None:
        """Return the index of a source that reads as the plain ``model``; None if there is none."""
        plain = (i for i, source in enumerate(self.sources) if source.is_plain and source.model is model)
        return next(plain, None)


class Controller(Protocol):
    """What controls a model at strengths by name: a ``Steer``, or any other fitted method."""

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the strengths; the attribute is the first."""
        ...

    @property
    def trained_parameters(self) -> int:
        """Number of parameters that the fit has set."""
        ...

    def held_parameters(self, strength: Mapping[str, float]) -> int:
        """Return the number of parameters that a strength needs beyond those of the language model."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return the options by which tables distinguish it from others of its kind."""
        ...

    def strengths(self, strength: Mapping[str, float]) -> Tensor:
        """Return strengths by name as a vector (K,).

        Raises:
            InputError: If a name is unknown or a value is not finite.
        """
        ...

    def at(self, model: LanguageModel, strength: Mapping[str, float]) -> Mixture:
        """Return the distribution of the next token at strengths by name; 0 is the plain model.

        Raises:
            InputError: As ``strengths`` does.
        """
        ...


def check_strength(strength: Mapping[str, float], controller: Controller | None) -> None:
    """Refuse strengths that a controller does not have.

    Raises:
        InputError: If a name is unknown, a value is not finite, or a strength is not 0 and there is no controller.
    """
    if controller is not None:
        controller.strengths(strength)
    elif any(strength.values()):
        raise InputError(f"strength {dict(strength)}: there is no steer; name one with steer_file=FILE")


def mixture_at(model: LanguageModel, strength: Mapping[str, float], controller: Controller | None) -> Mixture:
    """Return the distribution at a strength; that of the plain model if all strengths are 0.

    Raises:
        InputError: As ``check_strength`` does.
    """
    check_strength(strength, controller)
    return Mixture.plain(model) if controller is None else controller.at(model, strength)
