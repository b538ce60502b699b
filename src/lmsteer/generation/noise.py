"""Counter-based sampling noise: a function of seed, prompt id, sample and step."""

import hashlib

import numpy as np
from numpy.typing import NDArray


def sample_key(seed: int, prompt_id: str, sample: int) -> int:
    """Return the 64-bit key of the noise of one continuation."""
    return int.from_bytes(hashlib.sha256(f"{seed}\t{sample}\t{prompt_id}".encode()).digest()[:8], "little")


def uniform(keys: NDArray[np.uint64], step: int, draw: int) -> NDArray[np.float64]:
    """Return uniform numbers in [0, 1), one per key, for draw ``draw`` of token ``step``."""
    counter = np.uint64((step << 32) + draw)
    with np.errstate(over="ignore"):
        bits = _mix(keys ^ _mix(np.full_like(keys, counter)))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Apply the finalizer of splitmix64 (Steele, Lea and Flood, 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
