"""Rules that choose the next token from logits.

Shapes: B rows, V vocabulary, G blocks of the vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.models.cross_entropy import exp_

Filter = Literal["mixed", "base"]
Noise = Callable[[NDArray[np.int64], int], NDArray[np.float64]]
"""(rows, draw) -> one uniform number in [0, 1) per row."""

BLOCK = 256


@dataclass(frozen=True, kw_only=True)
class Length:
    """How long continuations are.

    Attributes:
        max_new_tokens: Number of tokens of every continuation, or the largest one with ``stop_at_end``.
        stop_at_end: Whether a text may end earlier, at a token that ends texts. By default none is written.
    """

    max_new_tokens: int = 20
    stop_at_end: bool = False

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise InputError(f"decoding.max_new_tokens={self.max_new_tokens}: an integer of 1 or more expected")


@dataclass(frozen=True, kw_only=True)
class Greedy(Length):
    """Always choose the likeliest token.

    Example:
        >>> Greedy().choose(torch.tensor([[0.0, 2.0, 1.0]]), noise=lambda rows, draw: np.zeros(len(rows))).tolist()
        [1]
    """

    filter: ClassVar[Filter] = "mixed"

    def choose(self, logits_BV: Tensor, noise: Noise, base_BV: Tensor | None = None) -> Tensor:
        """Choose token ids (B,)."""
        return logits_BV.argmax(-1)


@dataclass(frozen=True, kw_only=True)
class Nucleus(Length):
    """Nucleus sampling (Holtzman et al., 2020), exact and without sorting the vocabulary.

    A token drawn from the full softmax is accepted if it lies in the nucleus: the tokens strictly likelier than it hold
    less than ``p`` of the mass. Otherwise another is drawn, at most ``1 / p`` times on average.

    Attributes:
        p: Mass of the nucleus, in (0, 1].
        temperature: Divides the logits, above 0.
        top_k: Number of likeliest tokens that remain; 0: all.
        filter: Distribution whose nucleus and top k remain: the "mixed" one, from which tokens are drawn, or that of
            the plain "base" model at temperature 1 (DExperts, Liu et al., 2021, section 2.2).

    Example:
        >>> logits = torch.tensor([[0.0, 5.0, 0.0]])  # the second token holds .99 of the mass
        >>> Nucleus(p=0.5).choose(logits, noise=lambda rows, draw: np.full(len(rows), 0.5)).tolist()
        [1]
    """

    p: float = 0.9
    temperature: float = 1.0
    top_k: int = 0
    filter: Filter = "mixed"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.p <= 1:
            raise InputError(f"decoding.p={self.p}: a share in (0, 1] expected")
        if not 0 < self.temperature < float("inf"):
            raise InputError(f"decoding.temperature={self.temperature}: a finite number above 0 expected")
        if self.top_k < 0:
            raise InputError(f"decoding.top_k={self.top_k}: an integer of 0 or more expected")

    def choose(self, logits_BV: Tensor, noise: Noise, base_BV: Tensor | None = None) -> Tensor:
        """Choose token ids (B,); the logits are overwritten.

        Args:
            base_BV: Logits of the plain model, for ``filter="base"``.
        """
        if logits_BV.device.type == "mps":  # which has no float64
            base_BV = None if base_BV is None else base_BV.cpu()
            return self.choose(logits_BV.cpu(), noise, base_BV).to(logits_BV.device)
        if self.temperature != 1.0:
            logits_BV.div_(self.temperature)
        if self.filter == "base" and base_BV is not None:
            logits_BV.masked_fill_(~self.kept(base_BV), -torch.inf)
            return replace(self, p=1.0, temperature=1.0, top_k=0, filter="mixed").choose(logits_BV, noise)
        if self.top_k:
            logits_BV.masked_fill_(~_top(logits_BV, self.top_k), -torch.inf)
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

    def kept(self, logits_BV: Tensor) -> Tensor:
        """Return which tokens (B, V) are in the nucleus and among the top k."""
        logits_BV = logits_BV.masked_fill(~_top(logits_BV, self.top_k), -torch.inf) if self.top_k else logits_BV
        sorted_BV, order_BV = logits_BV.softmax(-1).sort(-1, descending=True)
        before_BV = sorted_BV.cumsum(-1) - sorted_BV
        # Tokens that are equally likely share a fate: only strictly likelier ones count.
        first_BV = torch.searchsorted(-sorted_BV, -sorted_BV)
        in_nucleus_BV = before_BV.gather(1, first_BV) < self.p
        return torch.zeros_like(in_nucleus_BV).scatter_(1, order_BV, in_nucleus_BV) & logits_BV.isfinite()

    def _in_nucleus(self, weights_BV: Tensor, total: Tensor, rows: Tensor, token: Tensor) -> Tensor:
        weight = weights_BV[rows, token]
        accepted = weight > (1 - self.p) * total  # then all others together hold less than p
        unsure = (~accepted & (weight > 0)).nonzero()[:, 0]
        if len(unsure):
            others_BV = weights_BV[rows[unsure]]
            likelier = torch.where(others_BV > weight[unsure, None], others_BV, weight.new_zeros(())).sum(-1)
            accepted[unsure] = likelier < self.p * total[unsure]
        return accepted


def _top(logits_BV: Tensor, k: int) -> Tensor:
    """Return which tokens (B, V) are among the k likeliest of their row, ties included."""
    return logits_BV >= logits_BV.topk(min(k, logits_BV.shape[1]), dim=-1).values[:, -1:]


def _inverse_cdf(blocks_BGv: Tensor, sums_BG: Tensor, rows: Tensor, uniform: Tensor) -> Tensor:
    """Return the tokens at which the cumulative weights of ``rows`` exceed ``uniform`` times their totals."""
    sums = sums_BG[rows]
    target = (uniform * sums[:, -1])[:, None]
    block = torch.searchsorted(sums, target, right=True).clamp(max=sums.shape[1] - 1)
    rest = target - torch.where(block > 0, sums.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks_BGv[rows, block[:, 0]].double().cumsum(-1)
    offset = torch.searchsorted(inside, rest, right=True).clamp(max=BLOCK - 1)
    return (block * BLOCK + offset)[:, 0]
