"""Compute one value per prompt from scores, log-probabilities or texts, in float64 on the CPU.

Shapes: ``scores``, ``nats`` and ``tokens`` are (prompts, samples); results are (prompts,) unless said otherwise.
"""

import math
import sys
from collections.abc import Sequence

import torch
from torch import Tensor

THRESHOLD = 0.5
"""Scores above this value are positive, as in Han et al. (2024); 0.5 itself is not."""

_LARGEST_EXPONENT = math.log(sys.float_info.max)


def share_above(scores: Tensor) -> Tensor:
    """Return the share of each prompt's samples whose score is above 0.5.

    Raises:
        ValueError: If ``scores`` are not (prompts, samples), are empty, or hold a value outside [0, 1] or NaN.
    """
    return (_checked_scores(scores) > THRESHOLD).double().mean(dim=1)


def maximum_score(scores: Tensor) -> Tensor:
    """Return the highest score among each prompt's samples.

    Raises:
        ValueError: If ``scores`` are not (prompts, samples), are empty, or hold a value outside [0, 1] or NaN.
    """
    return _checked_scores(scores).amax(dim=1)


def exceedance(scores: Tensor) -> Tensor:
    """Return 1 for a prompt with any sample above 0.5, else 0.

    Raises:
        ValueError: If ``scores`` are not (prompts, samples), are empty, or hold a value outside [0, 1] or NaN.
    """
    return (_checked_scores(scores) > THRESHOLD).any(dim=1).double()


def perplexity(nats: Tensor, tokens: Tensor, *, limit: float | None = None) -> Tensor:
    """Return the mean over each prompt's samples of ``exp(nats / tokens)``.

    Args:
        nats: Negative log-probability of each sample, summed over its tokens; >= 0.
        tokens: Number of tokens of each sample; >= 1.
        limit: Samples above it are left out, as the reference of Han et al. (2024) leaves out those above 1e4; a prompt
            without other samples is NaN.

    Raises:
        ValueError: If the shapes differ or are not (prompts, samples), a value is out of its range or not finite, or
            a perplexity overflows.
    """
    nats, tokens = _checked_nats(nats, tokens)
    values = (nats / tokens).exp()
    return values.mean(dim=1) if limit is None else values.where(values < limit, torch.nan).nanmean(dim=1)


def totals(nats: Tensor, tokens: Tensor) -> Tensor:
    """Return the sums of nats and of tokens over each prompt's samples, (prompts, 2).

    Arguments and errors are those of ``perplexity``.
    """
    return torch.stack(_checked_nats(nats, tokens), dim=-1).sum(dim=1)


def distinct_ngrams(texts: Sequence[Sequence[str]], n: int) -> Tensor:
    """Return the distinct n-grams over all words of each prompt's samples (dist-n).

    Words are split at white space, n-grams are within one sample, and the divisor is the number of *words*, not of
    n-grams, as in the results of Han et al. (2024). Samples without words (greedy decoding may write only line ends)
    have 0, the worst value.

    Args:
        texts: One sequence of samples per prompt.
        n: Words per n-gram; >= 1.

    Raises:
        ValueError: If ``n`` < 1, there is no prompt, or a prompt has no samples; names the prompt's index.
    """
    if n < 1:
        raise ValueError(f"n is {n}; at least 1 is expected")
    if isinstance(texts, str) or not texts:
        raise ValueError("texts must be one sequence of samples per prompt, for at least one prompt")
    shares = [_distinct_share(samples, n, prompt) for prompt, samples in enumerate(texts)]
    return torch.tensor(shares, dtype=torch.float64)


def _distinct_share(samples: Sequence[str], n: int, prompt: int) -> float:
    if isinstance(samples, str):
        raise ValueError(f"prompt {prompt}: a sequence of samples is expected, not one string")
    if not samples:
        raise ValueError(f"prompt {prompt}: it has no samples; at least one is expected")
    sentences = [sample.split() for sample in samples]
    total = sum(map(len, sentences))
    distinct = {tuple(words[i : i + n]) for words in sentences for i in range(len(words) - n + 1)}
    return len(distinct) / total if total else 0.0


def _checked_scores(scores: Tensor) -> Tensor:
    scores = _matrix("scores", scores)
    _refuse("scores", scores, ~((scores >= 0) & (scores <= 1)), "a value in [0, 1]")
    return scores


def _checked_nats(nats: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    nats, tokens = _matrix("nats", nats), _matrix("tokens", tokens)
    if nats.shape != tokens.shape:
        raise ValueError(f"nats are {tuple(nats.shape)} but tokens are {tuple(tokens.shape)}; one shape is expected")
    _refuse("nats", nats, ~((nats >= 0) & nats.isfinite()), "a finite value >= 0")
    _refuse("tokens", tokens, ~((tokens >= 1) & tokens.isfinite()), "a finite value >= 1")
    rate = nats / tokens
    _refuse("nats / tokens", rate, rate > _LARGEST_EXPONENT, f"at most {_LARGEST_EXPONENT:.0f}")
    return nats, tokens


def _matrix(name: str, values: Tensor) -> Tensor:
    if values.ndim != 2 or values.numel() == 0:
        raise ValueError(f"{name} have shape {tuple(values.shape)}; (prompts, samples), both at least 1, is expected")
    return values.detach().cpu().double()  # some accelerators have no float64


def _refuse(name: str, values: Tensor, bad: Tensor, allowed: str) -> None:
    if bad.any():
        prompt, sample = (int(index) for index in bad.nonzero()[0])
        raise ValueError(f"{name}: {values[prompt, sample]:g} at prompt {prompt}, sample {sample}; expected {allowed}")
