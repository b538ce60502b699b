"""Rules that choose the next token from logits.

Shapes: B rows, V vocabulary, G blocks of the vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.models.cross_entropy import exp_

Noise = Callable[[NDArray[np.int64], int], NDArray[np.float64]]
"""(rows, draw) -> one uniform number in [0, 1) per row."""

BLOCK = 256


def _check_length(max_new_tokens: int) -> None:
    if max_new_tokens < 1:
        raise InputError(f"decoding.max_new_tokens={max_new_tokens}: an integer of 1 or more expected")


@dataclass(frozen=True, kw_only=True)
class Greedy:
    """Always choose the likeliest token.

    Example:
        >>> Greedy().choose(torch.tensor([[0.0, 2.0, 1.0]]), noise=lambda rows, draw: np.zeros(len(rows))).tolist()
        [1]
    """

    max_new_tokens: int = 20

    def __post_init__(self) -> None:
        _check_length(self.max_new_tokens)

    def choose(self, logits_BV: Tensor, noise: Noise) -> Tensor:
        """Choose token ids (B,)."""
        return logits_BV.argmax(-1)


@dataclass(frozen=True, kw_only=True)
class Nucleus:
    """Nucleus sampling (Holtzman et al., 2020), exact and without sorting the vocabulary.

    A token drawn from the full softmax is accepted if it lies in the nucleus: the tokens strictly likelier than it hold
    less than ``p`` of the mass. Otherwise another is drawn, at most ``1 / p`` times on average.

    Example:
        >>> logits = torch.tensor([[0.0, 5.0, 0.0]])  # the second token holds .99 of the mass
        >>> Nucleus(p=0.5).choose(logits, noise=lambda rows, draw: np.full(len(rows), 0.5)).tolist()
        [1]
    """

    p: float = 0.9
    max_new_tokens: int = 20

    def __post_init__(self) -> None:
        _check_length(self.max_new_tokens)
        if not 0 < self.p <= 1:
            raise InputError(f"decoding.p={self.p}: a share in (0, 1] expected")

    def choose(self, logits_BV: Tensor, noise: Noise) -> Tensor:
        """Choose token ids (B,); the logits are overwritten."""
        if logits_BV.device.type == "mps":  # which has no float64
            return self.choose(logits_BV.cpu(), noise).to(logits_BV.device)
        weights_BV = exp_(logits_BV.sub_(logits_BV.amax(-1, keepdim=True)))
        padding = -weights_BV.shape[1] % BLOCK
        padded_BV = F.pad(weights_BV, (0, padding)) if padding else weights_BV  # padding by 0 would copy
        blocks_BGv = padded_BV.unflatten(1, (-1, BLOCK))
        sums_BG = blocks_BGv.sum(-1).double().cumsum(-1)
        chosen = torch.zeros(len(logits_BV), dtype=torch.long, device=logits_BV.device)
        rows, draw = torch.arange(len(logits_BV), device=logits_BV.device), 0
        while len(rows):
            uniform = torch.from_numpy(noise(rows.cpu().numpy(), draw)).to(logits_BV.device)
            token = _inverse_cdf(blocks_BGv, sums_BG, rows, uniform)
            accepted = self._in_nucleus(weights_BV, sums_BG[rows, -1], rows, token)
            chosen[rows[accepted]] = token[accepted]
            rows, draw = rows[~accepted], draw + 1
        return chosen

    def _in_nucleus(self, weights_BV: Tensor, total: Tensor, rows: Tensor, token: Tensor) -> Tensor:
        weight = weights_BV[rows, token]
        accepted = weight > (1 - self.p) * total  # then all others together hold less than p
        unsure = (~accepted & (weight > 0)).nonzero()[:, 0]
        if len(unsure):
            others_BV = weights_BV[rows[unsure]]
            likelier = torch.where(others_BV > weight[unsure, None], others_BV, weight.new_zeros(())).sum(-1)
            accepted[unsure] = likelier < self.p * total[unsure]
        return accepted


def _inverse_cdf(blocks_BGv: Tensor, sums_BG: Tensor, rows: Tensor, uniform: Tensor) -> Tensor:
    """Return the tokens at which the cumulative weights of ``rows`` exceed ``uniform`` times their totals."""
    sums = sums_BG[rows]
    target = (uniform * sums[:, -1])[:, None]
    block = torch.searchsorted(sums, target, right=True).clamp(max=sums.shape[1] - 1)
    rest = target - torch.where(block > 0, sums.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks_BGv[rows, block[:, 0]].double().cumsum(-1)
    offset = torch.searchsorted(inside, rest, right=True).clamp(max=BLOCK - 1)
    return (block * BLOCK + offset)[:, 0]
