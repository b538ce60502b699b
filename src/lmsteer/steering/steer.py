"""The steer: K low-rank matrices that shift a hidden state, each with an optional bias vector.

Shapes: B batch rows, T tokens, N packed tokens, D width, K dimensions, R rank (D for a full steer), V vocabulary.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from lmsteer.errors import InputError
from lmsteer.models.head import Head
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Mixture
from lmsteer.steering.dimensions import DUMMY, check_dimensions, check_strengths
from lmsteer.steering.directions import Directions
from lmsteer.steering.fold import shifted_inputs, steered_mixture
from lmsteer.steering.schedule import Schedule, with_schedules

Factors = tuple[Tensor, Tensor | None]
"""P1 and P2 (D, R) of one dimension, or their product ``P1 P2^T`` (D, D) and None."""
Strength = float | Mapping[str, float] | Tensor
"""A number for the first dimension, numbers by name of dimension, or a tensor (B, K) with a row per sequence."""


class Steer(nn.Module):
    """Shift hidden states: ``h + epsilon * sum_k v_k h P1_k P2_k^T`` (Han et al., 2024, equation 2).

    Hidden states are row vectors throughout, so the matrix of a dimension is ``P1_k P2_k^T``. Parameters are float32
    whatever the dtype of the language model.

    Attributes:
        p1: P1 (K, D, R); the product ``P1 P2^T`` (K, D, D) for a full steer.
        p2: P2 (K, D, R); None for a full steer.
        schedules: Rules by name of dimension for how its strength changes with the text; see ``schedule.py``.
        bias: Vectors b (K, D) that shift every hidden state by the same ``epsilon * v_k b_k``, or None. A steer of
            rank 0 has only its bias.

    Raises:
        InputError: If the rank is not in [1, width] or "full" (nor 0 with a bias), epsilon is not positive, or names
            repeat.

    Example:
        >>> steer = Steer(8, dimensions=["tone"], rank=2)
        >>> hidden = torch.ones(1, 8)
        >>> torch.equal(steer(hidden, torch.zeros(1, 1)), hidden)
        True
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
        bias: bool = False,
    ) -> None:
        super().__init__()
        if rank != "full" and not (0 if bias else 1) <= rank <= width:
            raise InputError(f"steer.rank={rank}: an integer in [1, {width}] or 'full' expected")
        for name, value in (("epsilon", epsilon), ("init_std", init_std)):
            if not (value > 0 and math.isfinite(value)):
                raise InputError(f"steer.{name}={value}: a positive number expected")
        self.dimensions = check_dimensions(dimensions)
        self.rank, self.epsilon = rank, epsilon
        self.schedules: Mapping[str, Schedule] = {}
        noise = torch.Generator().manual_seed(seed)
        shape = (len(self.dimensions), width, width if rank == "full" else rank)
        self.p1 = nn.Parameter(torch.randn(shape, generator=noise) * init_std)
        self.p2 = None if rank == "full" else nn.Parameter(torch.randn(shape, generator=noise) * init_std)
        self.bias = nn.Parameter(torch.zeros(shape[:2])) if bias else None

    @classmethod
    def from_factors(
        cls, factors: Mapping[str, Factors], *, epsilon: float, biases: Mapping[str, Tensor | None] | None = None
    ) -> Steer:
        """Build a steer from factors by name of dimension, on the CPU.

        Factors are padded with zero columns to the largest rank; the steer is full if one matrix is, or if there are
        more columns than D.

        Args:
            biases: Vectors (D,); dimensions without one have 0. None: the steer has no bias.
        """
        width, columns = next(iter(factors.values()))[0].shape[0], max(p1.shape[1] for p1, _ in factors.values())
        low_rank = [(p1, p2) for p1, p2 in factors.values() if p2 is not None]
        full = columns > width or len(low_rank) < len(factors)
        parameters = [[product(pair) for pair in factors.values()]] if full else list(zip(*low_rank, strict=True))
        size: dict[str, Any] = {"rank": "full" if full else columns, "bias": biases is not None}
        steer = cls(width, dimensions=list(factors), epsilon=epsilon, **size)
        state = {
            name: torch.stack([F.pad(x, (0, steer.p1.shape[2] - x.shape[1])) for x in tensors])
            for name, tensors in zip(("p1", "p2"), parameters, strict=False)
        }
        if biases is not None:
            vectors = [biases.get(name) for name in factors]
            state["bias"] = torch.stack([torch.zeros(width) if b_D is None else b_D for b_D in vectors])
        steer.load_state_dict(state)
        return steer

    @property
    def width(self) -> int:
        """Width D of the hidden states."""
        return self.p1.shape[1]

    @property
    def attributes(self) -> list[int]:
        """Indices of the dimensions other than the dummy."""
        return [k for k, name in enumerate(self.dimensions) if name != DUMMY]

    def forward(self, hidden: Tensor, strength_BK: Tensor) -> Tensor:
        """Steer hidden states.

        Args:
            hidden: (B, D) or (B, T, D), any float dtype.
            strength_BK: One strength per row and dimension; a first axis of size 1 is broadcast over the rows.

        Returns:
            Steered hidden states, with the shape and dtype of ``hidden``; bitwise equal to it if all strengths are 0.
        """
        dtype, axes = self.p1.dtype, [1] * (hidden.dim() - 2)
        strength = strength_BK.to(dtype).reshape(strength_BK.shape[0], *axes, strength_BK.shape[1], 1)
        code = torch.einsum("b...d,kdr->b...kr", hidden.to(dtype), self.p1) * strength
        shift = code.sum(-2) if self.p2 is None else torch.einsum("b...kr,kdr->b...d", code, self.p2)
        if self.bias is not None:
            shift = shift + strength[..., 0] @ self.bias
        return (hidden.to(dtype) + self.epsilon * shift).to(hidden.dtype)

    @contextlib.contextmanager
    def apply(self, model: LanguageModel | PreTrainedModel, strength: Strength) -> Iterator[PreTrainedModel]:  # type: ignore[override]
        """Steer a transformers model inside a ``with`` block, including its ``generate``.

        The hook sits on the output embeddings, so any architecture works; on exit the model is plain again.

        Args:
            strength: A number for the first dimension, ``{name: number}``, or a tensor (B, K) with a row per sequence;
                a first axis of size 1 is broadcast over the sequences.

        Yields:
            The transformers model.

        Raises:
            InputError: If the width of the steer is not that of the model, or a strength is not of its dimensions.

        Example:
            >>> from lmsteer.models.random_models import tiny
            >>> model, steer = tiny(), Steer(32, dimensions=["tone"], rank=2)
            >>> with steer.apply(model, {"tone": 3}) as lm:
            ...     logits = lm(input_ids=torch.tensor([[1, 2, 3]])).logits
            >>> logits.shape
            torch.Size([1, 3, 384])
        """
        lm = model.lm if isinstance(model, LanguageModel) else model
        with shifted_inputs(lm, copy.deepcopy(self), self._rows(strength)):
            yield lm

    @property
    def trained_parameters(self) -> int:
        """Number of parameters, those of the dummy included."""
        return sum(parameter.numel() for parameter in self.parameters())

    def held_parameters(self, strength: Mapping[str, float]) -> int:
        """Return the number of parameters of the dimensions that a strength uses."""
        per_dimension = self.trained_parameters // len(self.dimensions)
        return per_dimension * sum(1 for name in self.dimensions if strength.get(name))

    def settings(self) -> dict[str, Any]:
        """Return the options by which tables distinguish steers."""
        schedule = {"schedule": ", ".join(f"{name}: {rule}" for name, rule in self.schedules.items())}
        settings = {"rank": self.rank, "epsilon": self.epsilon, "dummy": DUMMY in self.dimensions}
        return settings | (schedule if self.schedules else {})

    def at(self, model: LanguageModel, strength: Mapping[str, float]) -> Mixture:
        """Return the distribution of the next token at strengths by name: one source, its head folded if it can be."""
        return steered_mixture(model, self, self.strengths(strength))

    def _rows(self, strength: Strength) -> Tensor:
        """Return strengths as a tensor (1, K), or (B, K) if they are one already."""
        if isinstance(strength, Tensor):
            if strength.dim() != 2 or strength.shape[1] != len(self.dimensions):
                raise InputError(
                    f"strength of shape {tuple(strength.shape)}: a tensor (rows, {len(self.dimensions)}) expected"
                )
            return strength
        named = strength if isinstance(strength, Mapping) else {self.dimensions[0]: strength}
        return self.strengths(named)[None]

    def strengths(self, strength: Mapping[str, float]) -> Tensor:
        """Return strengths by name as a vector (K,); dimensions without a strength are 0.

        Raises:
            InputError: If a name is not a dimension of this steer, or a value is not finite.
        """
        check_strengths(strength, self.dimensions)
        return torch.tensor([float(strength.get(name, 0.0)) for name in self.dimensions], device=self.p1.device)

    def matrix(self, k: int) -> Tensor:
        """Return the matrix (D, D) of dimension ``k`` as it acts on row vectors, ``h + epsilon v h M``."""
        return self.p1[k] if self.p2 is None else self.p1[k] @ self.p2[k].T

    def factors(self, k: int) -> Factors:
        """Return P1 and P2 (D, R) of dimension ``k``, detached; the product (D, D) and None for a full steer."""
        return self.p1[k].detach(), None if self.p2 is None else self.p2[k].detach()

    def delta_logits(self, head: Head, hidden_ND: Tensor, k: int) -> Tensor:
        """Return the change of the logits (N, V) at strength 1 of dimension ``k``, before a soft-cap; float32.

        Args:
            hidden_ND: Hidden states on the device of the head.
        """
        p1, p2_VR, bias_V = self.logit_factors(head, k)
        return hidden_ND.float() @ p1 @ p2_VR.T + bias_V

    def logit_factors(self, head: Head, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return F (D, R), G (V, R) and g (V,) with ``delta_logits = h F G^T + g``, on the device of the head."""
        weight_VD, device = head.weight.float(), head.weight.device
        p1, p2 = self.factors(k)
        p1, p2_VR = p1.to(device), weight_VD if p2 is None else weight_VD @ p2.to(device)
        bias_D = p1.new_zeros(self.width) if self.bias is None else self.bias[k].detach().to(device)
        factor = head.scale * self.epsilon
        return p1, p2_VR * factor, weight_VD @ bias_D * factor

    @torch.no_grad()
    def scaled(self, k: int, factor: float) -> Steer:
        """Return a copy whose dimension ``k`` shifts ``factor`` times as far; its P1 and P2 get the same norm.

        Args:
            factor: Above 0.
        """
        scaled = copy.deepcopy(self)
        if scaled.bias is not None:
            scaled.bias[k] *= factor
        if scaled.p2 is None:
            scaled.p1[k] *= factor
        elif scaled.rank:
            balance = (scaled.p1[k].norm() / scaled.p2[k].norm()).item()
            scaled.p1[k] *= math.sqrt(factor / balance)
            scaled.p2[k] *= math.sqrt(factor * balance)
        return scaled

    @torch.no_grad()
    def with_epsilon(self, epsilon: float) -> Steer:
        """Return the same steer with another epsilon; P1 and the bias are rescaled."""
        rewritten, ratio = copy.deepcopy(self), self.epsilon / epsilon
        rewritten.epsilon = epsilon
        rewritten.p1.mul_(ratio)
        if rewritten.bias is not None:
            rewritten.bias.mul_(ratio)
        return rewritten

    def directions(self, k: int) -> Directions:
        """Return the singular value decomposition of the matrix of dimension ``k``; a zero one is an InputError."""
        try:
            return Directions.of(*self.factors(k), epsilon=self.epsilon)
        except ValueError as error:
            raise InputError(f"dimension {self.dimensions[k]}: {error}") from None

    def truncated(self, *, rank: int | None = None, energy: float | None = None) -> Steer:
        """Return the nearest steer of a lower rank, on the CPU, with the largest singular values of each matrix.

        Args:
            rank: Largest number of singular values per matrix, in [1, R].
            energy: Smallest remaining share of each matrix's squared Frobenius norm, in (0, 1]; sets the rank.

        Returns:
            A steer of one rank for all dimensions; each factor takes the root of the singular values. Biases stay.

        Raises:
            InputError: If not exactly one of the two is given, it is out of its range, or a matrix is zero.
        """
        if (rank is None) == (energy is None):
            raise InputError(f"rank={rank}, energy={energy}: one of the two expected")
        if rank is not None and not 1 <= rank <= self.p1.shape[2]:
            raise InputError(f"rank={rank}: an integer in [1, {self.p1.shape[2]}] expected")
        if energy is not None and not 0 < energy <= 1:
            raise InputError(f"energy={energy}: a number above 0, at most 1, expected")
        decomposed = [self.directions(k) for k in range(len(self.dimensions))]
        if energy is not None:
            rank = max(one.rank_holding(energy) for one in decomposed)
        factors = {name: one.factors(rank) for name, one in zip(self.dimensions, decomposed, strict=True)}
        biases = None if self.bias is None else dict(zip(self.dimensions, self.bias.detach().cpu(), strict=True))
        return with_schedules(Steer.from_factors(factors, epsilon=self.epsilon, biases=biases), self.schedules)


def product(factors: Factors) -> Tensor:
    """Return the matrix (D, D) of factors."""
    p1, p2 = factors
    return p1 if p2 is None else p1 @ p2.T
