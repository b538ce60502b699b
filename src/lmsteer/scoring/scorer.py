"""What every scorer promises, and the two checks and loops they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from tqdm import tqdm

from lmsteer.data.batching import length_sorted_groups
from lmsteer.errors import InputError

SHOWN_FROM = 10
"""Progress is shown where there are more batches than this."""


@runtime_checkable
class Scorer(Protocol):
    """Maps texts to the probability (or a score in [0, 1]) of one attribute.

    Attributes:
        name: What the scorer is called in tables; distinct within a protocol.
        revision: What pins the scores: package version, hub commit, or digest of the rows it was fitted on.
        reserved: ``text_key`` of each text it was fitted on, which a steer must not train on; empty if pretrained.
    """

    name: str
    revision: str
    reserved: frozenset[str]

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Scores (N,) of N texts, float32 in [0, 1]; no texts give an empty tensor.

        Raises:
            InputError: If a text cannot be scored; it never counts as clean.
        """
        ...


def checked(scores_N: Tensor, texts: Sequence[str], *, scorer: str) -> Tensor:
    """The same scores as float32 on the CPU, once each is known to be a number in [0, 1].

    Raises:
        InputError: If a score is not; names scorer and text.
    """
    scores_N = scores_N.detach().to("cpu", torch.float32)
    if scores_N.shape != (len(texts),):
        raise InputError(f"scorer {scorer}: {len(texts)} texts gave scores of shape {tuple(scores_N.shape)}")
    bad = (~((scores_N >= 0) & (scores_N <= 1))).nonzero().flatten().tolist()
    if bad:
        text, score = texts[bad[0]], scores_N[bad[0]].item()
        raise InputError(f"scorer {scorer}: text {text!r} has score {score}; a number in [0, 1] expected")
    return scores_N


def in_length_order(
    lengths: Sequence[int], values: Callable[[list[int]], Tensor], *, batch_size: int, description: str
) -> Tensor:
    """Compute values (N,), or vectors (N, D), in batches of items of like length; the order is the caller's.

    Args:
        lengths: Length of each of the N items, in any unit.
        values: Maps the indices of one batch to its values (B,) or vectors (B, D).
        batch_size: Most items in a batch.
        description: What the progress bar says.

    Raises:
        InputError: If ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise InputError(f"{description}: batch_size={batch_size}; an integer of 1 or more expected")
    return in_batches(length_sorted_groups(list(lengths), size=batch_size), values, description=description)


def in_batches(batches: Sequence[list[int]], values: Callable[[list[int]], Tensor], *, description: str) -> Tensor:
    """Compute values (N,), or vectors (N, D), batch by batch, with a progress bar.

    ``batches`` hold each index from 0 to N - 1 once.
    """
    if not batches:
        return torch.empty(0)
    bar = tqdm(batches, desc=description, disable=len(batches) <= SHOWN_FROM, leave=False)
    found = torch.cat([values(batch).detach().to("cpu", torch.float32) for batch in bar])
    result = torch.empty_like(found)
    result[[index for batch in batches for index in batch]] = found
    return result
