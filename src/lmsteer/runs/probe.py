"""How long a fit and a decoding will take, from their first moments; nothing of these is kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import torch

from lmsteer.data.datamodule import PREFETCH_BATCHES, SteerDataModule
from lmsteer.data.feature_store import FeatureStore
from lmsteer.data.features import FeatureExtractor
from lmsteer.generation.generator import Generator
from lmsteer.models.cross_entropy import nll
from lmsteer.steering.steer import Steer

PROBE = (1, 3)
"""Tokens that are written to tell the time of reading prompts from that of a step."""


def fit_seconds(data: SteerDataModule, extract: FeatureExtractor, steer: Steer, *, dev_every: int) -> float:
    """Seconds of a fit, from its first batch: hidden states that are not stored, steps, and looks at the dev loss.

    A batch alone is padded more than many together, so hidden states are reckoned by tokens with padding.
    """
    rows, head = [row.text for row in data.rows(0)], extract.model.head
    steer = steer.to(extract.model.device)
    start = time.perf_counter()
    features = (data.by_batch or extract)(rows)
    _ = features.hidden_ND.sum().item()  # waits for a GPU
    extraction, start = time.perf_counter() - start, time.perf_counter()
    strength_1K = torch.ones(1, len(steer.dimensions), device=features.hidden_ND.device)
    loss = nll(head, steer(features.hidden_ND, strength_1K), features.targets_N).sum()
    loss.backward()
    _ = loss.item()
    step = time.perf_counter() - start
    seen: list[str] = [row.text for t in range(data.steps) for row in data.rows(t)] + [row.text for row in data.dev]
    texts = len(data.extract.missing(seen)) if isinstance(data.extract, FeatureStore) else len(seen)
    looks = data.steps // dev_every * len(data.dev) / data.batch_size
    together = (
        rows if data.by_batch else [row.text for t in range(min(PREFETCH_BATCHES, data.steps)) for row in data.rows(t)]
    )
    share = padded(extract, together) / len(together) / padded(extract, rows)
    return texts * share * extraction + (data.steps + looks / 2) * step  # a look has no gradient


def padded(extract: FeatureExtractor, texts: Sequence[str]) -> int:
    """Tokens that go through the model for some texts together, padding included."""
    encoded = extract.encode(texts)
    return sum(len(group) * max(1, *(len(encoded[index]) - 1 for index in group)) for group in extract.groups(encoded))


def batch_seconds(generator: Generator) -> float:
    """Seconds of a batch of the middle length, from its first tokens; nothing of it is kept."""
    batch, whole = generator.batches[len(generator.batches) // 2], generator.decoding.max_new_tokens
    short, taken = copy(generator), []
    decoding: Any = generator.decoding
    for tokens in PROBE:
        short.decoding = replace(decoding, max_new_tokens=tokens)
        start = time.perf_counter()
        short.batch(short.model.head, [{}] * len(batch), batch)
        taken.append(time.perf_counter() - start)
    first, last = PROBE
    return taken[0] + max(0.0, taken[1] - taken[0]) / (last - first) * (whole - first)
