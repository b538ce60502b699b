"""Seconds against tokens for several sizes of work."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tqdm.auto import tqdm

from experiments.speed.bench import DECODING, Bench
from experiments.speed.generation import write_folded
from experiments.speed.perplexity import Pair, score
from lmsteer.data.features import FeatureExtractor
from lmsteer.steering.steer import Steer

SHARES = (0.25, 0.5, 0.75, 1.0)
EXTRACTED = 4  # a quarter of the sentences is enough to see
Series = dict[str, dict[str, list[float]]]


def measure_scaling(bench: Bench, steer: Steer, pairs: Sequence[Pair]) -> Series:
    """Tokens and median seconds of each kind of work at a quarter, half, three quarters and the whole of it."""
    extract = FeatureExtractor(bench.ours)
    texts = [row.text for row in bench.corpus.train]
    texts = bench.work.some(texts, max(1, len(texts) // EXTRACTED), seed=bench.seed)

    def generation(size: int) -> int:
        write_folded(bench, steer, bench.prompts[:size])
        return size * bench.work.samples * DECODING.max_new_tokens

    lengths = [len(ids) for ids in bench.ours.tokenizer([prompt + text for prompt, text in pairs])["input_ids"]]

    def perplexity(size: int) -> int:
        score(bench, pairs[:size])
        return sum(lengths[:size])

    kinds: dict[str, tuple[int, Callable[[int], int]]] = {
        "extraction": (len(texts), lambda size: int(extract(texts[:size]).lengths.sum())),
        "generation": (len(bench.prompts), generation),
        "perplexity": (len(pairs), perplexity),
    }
    return {name: _series(bench, name, whole, work) for name, (whole, work) in kinds.items()}


def _series(bench: Bench, name: str, whole: int, work: Callable[[int], int]) -> dict[str, list[float]]:
    sizes = sorted({max(1, round(share * whole)) for share in SHARES})
    tokens: dict[int, int] = {}
    for _ in range(bench.work.repeats):
        for size in tqdm(sizes, desc=f"sizes of {name}", unit="size"):
            tokens[size] = bench.meter.time(f"{name} {size}", work, size)
    return {
        "tokens": [tokens[size] for size in sizes],
        "seconds": [bench.meter.median(f"{name} {size}") for size in sizes],
    }
