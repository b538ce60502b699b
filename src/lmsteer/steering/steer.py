"""The steer: K low-rank matrices that move a hidden state, with a constant vector beside each if wanted.

Shapes: B batch rows, T tokens, D width, K dimensions, R rank (D for a full steer).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from lmsteer.errors import InputError

DUMMY = "dummy"
"""Name of the dimension that is always on in training and absorbs the corpus' own style (paper, section 3)."""


def is_strength(value: float) -> bool:
    """Whether float32 holds a number."""
    return abs(value) <= torch.finfo(torch.float32).max


def check_dimensions(dimensions: Sequence[str]) -> tuple[str, ...]:
    """Return the names as a tuple; they must be non-empty and distinct."""
    names = tuple(dimensions)
    if not names or len(set(names)) != len(names) or not all(isinstance(name, str) and name for name in names):
        raise InputError(f"steer dimensions {list(names)}: one or more distinct non-empty names expected")
    return names


class Steer(nn.Module):
    """``h + epsilon * sum_k v_k h P1_k P2_k^T`` on row vectors ``h`` (Han et al., 2024, equation 2).

    Parameters are float32 whatever the language model's dtype. ``first`` is P1 (K, D, R), ``second`` is P2
    (K, D, R); a full steer holds the product itself in ``first`` (K, D, D) and has no ``second``. A steer with a
    constant part moves by ``epsilon * v_k b_k`` too, whatever the context: ``constant`` is b (K, D), 0 at first, and
    None for a steer without. One of rank 0 is that part alone.

    Raises:
        InputError: If the rank is not in [1, width] or "full" (nor 0 with a constant part), epsilon is not positive, or
            names repeat.
    """

    def __init__(
        self,
        width: int,
        *,
        dimensions: Sequence[str],
        rank: int | Literal["full"] = 64,
        epsilon: float = 1e-3,
        init_std: float = 1e-2,
        seed: int = 0,
        constant: bool = False,
    ) -> None:
        super().__init__()
        if rank != "full" and not (0 if constant else 1) <= rank <= width:
            raise InputError(f"steer.rank={rank}: an integer in [1, {width}] or 'full' expected")
        if not (epsilon > 0 and math.isfinite(epsilon)):
            raise InputError(f"steer.epsilon={epsilon}: a positive number expected")
        if not (init_std > 0 and math.isfinite(init_std)):
            raise InputError(f"steer.init_std={init_std}: a positive number expected")
        self.dimensions = check_dimensions(dimensions)
        self.rank, self.epsilon = rank, epsilon
        noise = torch.Generator().manual_seed(seed)
        shape = (len(self.dimensions), width, width if rank == "full" else rank)
        self.first = nn.Parameter(torch.randn(shape, generator=noise) * init_std)
        self.second = None if rank == "full" else nn.Parameter(torch.randn(shape, generator=noise) * init_std)
        self.constant = nn.Parameter(torch.zeros(shape[:2])) if constant else None

    @property
    def width(self) -> int:
        """Size D of the hidden states it steers."""
        return self.first.shape[1]

    def forward(self, hidden: Tensor, strength_BK: Tensor) -> Tensor:
        """Steer hidden states.

        Args:
            hidden: (B, D) or (B, T, D), any float dtype.
            strength_BK: One strength per row and dimension; a first axis of 1 serves every row.

        Returns:
            Steered hidden states, shape and dtype of ``hidden``; ``hidden`` bit for bit where all strengths are 0.
        """
        strength = strength_BK.float().reshape(strength_BK.shape[0], *[1] * (hidden.dim() - 2), strength_BK.shape[1], 1)
        code = torch.einsum("b...d,kdr->b...kr", hidden.float(), self.first) * strength
        shift = code.sum(-2) if self.second is None else torch.einsum("b...kr,kdr->b...d", code, self.second)
        if self.constant is not None:
            shift = shift + strength[..., 0] @ self.constant
        return (hidden.float() + self.epsilon * shift).to(hidden.dtype)

    def matrix(self, dimension: int) -> Tensor:
        """``W_k`` (D, D) as it acts on a column vector, ``c + epsilon v W c``: ``P2 P1^T``."""
        first = self.first[dimension]
        return first.T if self.second is None else self.second[dimension] @ first.T

    def strengths(self, strength: Mapping[str, float]) -> Tensor:
        """Strengths by name as a vector (K,); dimensions not named are 0.

        Raises:
            InputError: If a name is not a dimension of this steer, or a value is not finite.
        """
        for name, value in strength.items():
            if name not in self.dimensions:
                raise InputError(f"strength {name}={value}: the steer's dimensions are {', '.join(self.dimensions)}")
            if not is_strength(value):
                raise InputError(f"strength {name}={value}: a finite number that float32 holds expected")
        values = [float(strength.get(name, 0.0)) for name in self.dimensions]
        return torch.tensor(values, device=self.first.device)
