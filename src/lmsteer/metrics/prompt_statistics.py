"""Statistics of columns of per-prompt values; they need no torch."""

import numpy as np

from lmsteer.metrics.intervals import Array


def mean(*columns: Array, axis: int) -> Array:
    """Return the mean of the only column along ``axis``."""
    (values,) = columns
    return np.asarray(np.mean(values, axis=axis))


def corpus_perplexity(*columns: Array, axis: int) -> Array:
    """Return ``exp(sum of nats / sum of tokens)`` along ``axis``."""
    nats, tokens = columns
    return np.asarray(np.exp(np.sum(nats, axis=axis) / np.sum(tokens, axis=axis)))
