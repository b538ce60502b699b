"""The parts of an exported steer, and the log-probabilities of next tokens by which anyone checks an engine.

Shapes: T tokens, D width, K dimensions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from lmsteer.models.language_model import LanguageModel
from lmsteer.steering.steer import Steer

PROMPTS = ("In my opinion, this film", "The chicken is", "Last night I heard that")
RUN_TIME_STRENGTH = 3.0
"""Strength of the table and the examples where the strength is left to run time."""


@dataclass(frozen=True)
class CheckedToken:
    """A next token with its log-probability at each strength, in nats."""

    id: int
    text: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Check:
    """The likeliest next token at each strength after a prompt, whose token ids are ``ids``."""

    prompt: str
    ids: Sequence[int]
    tokens: Sequence[CheckedToken]


@dataclass(frozen=True)
class Part:
    """One dimension of an exported steer.

    Attributes:
        path: Its file or folder.
        size: Bytes in words, such as ``12.7 MB``.
        kept: Share of the squared change of the output embeddings that a lower rank leaves; 1 if it was not cut.
        error: Largest difference of a logit from the whole steer at strength ``shown``, after the prompts.
        shown: Strength of the table and the examples.
    """

    dimension: str
    path: str
    rank: int
    size: str
    kept: float
    error: float
    shown: float
    checks: Sequence[Check] = ()

    @property
    def strengths(self) -> tuple[float, float, float]:
        """Strengths of the columns of the table."""
        return columns(self.shown)


@dataclass(frozen=True)
class Parts:
    """A steer that is exported next to its base model.

    Attributes:
        form: adapter, gguf or processor.
        strength: The exported strength by dimension; empty: left to run time.
        is_tied: Whether the output embeddings of the base model are its input embeddings.
        has_constant: Whether a dimension shifts logits by a constant part.
    """

    form: str
    strength: Mapping[str, float]
    dtype: str
    is_tied: bool
    has_constant: bool
    files: Sequence[Part]


def columns(strength: float) -> tuple[float, float, float]:
    """Return the three strengths of a table."""
    return -strength, 0.0, strength


@torch.inference_mode()
def check_tokens(model: LanguageModel, steer: Steer, dimension: str, strength: float) -> list[Check]:
    """Compute the table of one dimension, by the formula: the head on steered hidden states."""
    strengths = columns(strength)
    rows = torch.stack([steer.strengths({dimension: value}) for value in strengths]).to(model.device)
    checks = []
    for prompt, ids in zip(PROMPTS, model.tokenize(PROMPTS), strict=True):
        hidden_D = model.hidden(torch.tensor([ids], device=model.device))[0, -1]
        shifted = steer.to(model.device)(hidden_D.expand(len(rows), -1), rows)
        logprobs = model.head(shifted)[:, : model.head.vocabulary].log_softmax(-1)
        likeliest = dict.fromkeys(logprobs.argmax(-1).tolist())
        tokens = [CheckedToken(token, _text(model, token), tuple(logprobs[:, token].tolist())) for token in likeliest]
        checks.append(Check(prompt, ids, tokens))
    return checks


def prompt_states(model: LanguageModel) -> torch.Tensor:
    """Return the hidden states (N, D) of the plain model at every token of the prompts."""
    return torch.cat([model.hidden(torch.tensor([ids], device=model.device))[0] for ids in model.tokenize(PROMPTS)])


def _text(model: LanguageModel, token: int) -> str:
    return str(model.tokenizer.decode([token], clean_up_tokenization_spaces=False))
