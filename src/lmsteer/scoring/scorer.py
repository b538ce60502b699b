"""The protocol of scorers, and the checks and loops that they share."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from tqdm import tqdm

from lmsteer.data.batching import length_sorted_groups
from lmsteer.errors import InputError

MIN_SHOWN_BATCHES = 11
"""Fewest batches for which progress is shown."""


@runtime_checkable
class Scorer(Protocol):
    """Maps texts to the probability (or a score in [0, 1]) of one attribute.

    Attributes:
        name: Name in tables, distinct within a protocol.
        revision: Version of the scores: package version, hub commit, or digest of the rows it was fitted on.
        reserved: ``text_key`` of each text it was fitted on, which a steer must not train on; empty if pretrained.
    """

    name: str
    revision: str
    reserved: frozenset[str]

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return scores (N,) of N texts, float32 in [0, 1]; no texts give an empty tensor.

        Raises:
            InputError: If a text cannot be scored.
        """
        ...


def check_scores(scores_N: Tensor, texts: Sequence[str], *, scorer: str) -> Tensor:
    """Check that all scores are numbers in [0, 1], and return them as float32 on the CPU.

    Raises:
        InputError: If a score is not in [0, 1]; names scorer and text.
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
    """Compute values (N,) or vectors (N, D) in batches of items of similar length; return them in order.

    Args:
        lengths: Length of each of the N items, in any unit.
        values: Maps the indices of one batch to its values (B,) or vectors (B, D).
        batch_size: Most items in a batch.
        description: Label of the progress bar.

    Raises:
        InputError: If ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise InputError(f"{description}: batch_size={batch_size}; an integer of 1 or more expected")
    return in_batches(length_sorted_groups(list(lengths), size=batch_size), values, description=description)


def in_batches(batches: Sequence[list[int]], values: Callable[[list[int]], Tensor], *, description: str) -> Tensor:
    """Compute values (N,) or vectors (N, D) batch by batch, with a progress bar.

    ``batches`` contain each index from 0 to N - 1 once.
    """
    if not batches:
        return torch.empty(0)
    bar = tqdm(batches, desc=description, disable=len(batches) < MIN_SHOWN_BATCHES, leave=False)
    computed = torch.cat([values(batch).detach().to("cpu", torch.float32) for batch in bar])
    result = torch.empty_like(computed)
    result[[index for batch in batches for index in batch]] = computed
    return result
