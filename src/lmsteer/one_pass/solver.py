"""The one-pass solver: texts with labels in, a steer out, of a rank and in a unit of strength found by themselves.

Shapes: B texts, N packed tokens, D width, K attributes, R directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lmsteer.data.feature_store import FeatureStore, FeatureStoreConfig
from lmsteer.data.features import FeatureExtractor
from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError
from lmsteer.models.head import Head
from lmsteer.models.language_model import LanguageModel
from lmsteer.one_pass.corpus_pass import contexts, statistics
from lmsteer.one_pass.natural_gradient import Estimate, Space, Step
from lmsteer.one_pass.permutation_test import above, check_permutations, permuted, threshold
from lmsteer.one_pass.residual_store import ResidualStore
from lmsteer.one_pass.statistics import Statistics
from lmsteer.steering.budget import Budget
from lmsteer.steering.kl import divergence
from lmsteer.steering.steer import Steer
from lmsteer.steering.strength_search import calibrate

UNIT_STRENGTH, UNIT_KL = 5.0, 0.3
"""The unit of strength: ±5, the strengths of the paper's protocols, cost 0.3 nats per token on average."""
OUT_OF_RANGE = "its weights are beyond float32; steer.damping and steer.epsilon nearer to their defaults are needed"
UNIT_TOKENS = 1024
"""Contexts on which the cost is measured, at most."""
START = 0.3
"""Where the search for the unit begins: the shift at that strength as a share of the hidden state."""
NULL_NUMBERS = 2**29
"""Numbers of the null's sums that are held at once, 2 GiB; permutations beyond take further passes."""
Form = Literal["matrix", "add", "both"]
Factors = tuple[Tensor, Tensor]
"""P1 and P2 (D, R), float64."""


@dataclass(frozen=True, kw_only=True)
class OnePassConfig:
    """How a steer is made of one pass.

    Attributes:
        rank: Most directions that are kept, or "full": as many as stand above the null.
        damping: Share of the mean eigenvalue that is added to both covariances.
        context_damping: The same for the covariance of contexts alone; None: as ``damping``.
        permutations: Permutations of the labels that make the null; 0: no null, ``rank`` directions are kept.
        apart: Make the steers of several attributes orthogonal to one another, see ``orthogonal``.
        form: "matrix": a matrix, as in the paper. "add": a constant vector, added to every hidden state alike. "both":
            their sum, of one joint step.

    Raises:
        InputError: If a damping is not above 0, the permutations are few but not 0, or more than matrices shall be
            made orthogonal.
    """

    rank: int | Literal["full"] = 64
    epsilon: float = 1e-3
    damping: float = 1.0
    context_damping: float | None = None
    permutations: int = 199
    apart: bool = False
    form: Form = "matrix"

    def __post_init__(self) -> None:
        self.step()
        if self.permutations < 0:
            raise InputError(f"steer.permutations={self.permutations}: 0 or a number above it expected")
        check_permutations(self.permutations)
        if self.apart and self.form != "matrix":
            raise InputError(f"form={self.form}, apart=True: only matrices are made orthogonal; form=matrix expected")

    def step(self) -> Step:
        """The step that the estimate takes."""
        return Step(damping=self.damping, context_damping=self.context_damping, centred=self.form == "both")


def solve(
    model: LanguageModel,
    texts: Sequence[str],
    label_BK: Tensor,
    names: Sequence[str],
    settings: OnePassConfig | None = None,
    *,
    unit_texts: Sequence[str],
    max_length: int = 256,
    seed: int = 0,
    store: FeatureStoreConfig | None = None,
    process_group: ProcessGroup | None = None,
) -> tuple[Steer, dict[str, Any]]:
    """Make one steer of one pass over texts, with a dimension for each of K attributes.

    Args:
        label_BK: GenerationMetadata in [-1, 1], NaN where a text has none for an attribute.
        unit_texts: Other texts, on which the unit of strength is measured.
        seed: Of the permutations; nothing else is random.
        store: Where hidden states and residuals are kept for later runs; None: nowhere.
        world: The processes that share the texts, all of which call this; None: one.

    Returns:
        The steer, on the CPU, and by attribute the spectrum with its null, the rank and the unit.

    Raises:
        InputError: If labels do not fit the texts, are all alike for an attribute, or texts are too short.
    """
    settings, store = settings or OnePassConfig(), store or FeatureStoreConfig(where="off")
    extract = store.wrap(FeatureExtractor(model, max_length=max_length))
    kept = None
    if isinstance(extract, FeatureStore) and store.everything:
        extract.add([*texts, *unit_texts])
        kept = ResidualStore(extract)
    null_BKP = permuted(label_BK, 0 if settings.form == "add" else settings.permutations, seed=seed)
    first_BKP, *further = null_BKP.split(max(1, NULL_NUMBERS // (len(names) * model.width**2)), dim=-1)
    sums = statistics(extract, texts, label_BK, null_BKP=first_BKP, store=kept, process_group=process_group)
    rest_KP = torch.empty(len(names), 0, dtype=torch.double)
    for some_BKP in further:
        again = statistics(extract, texts, label_BK, null_BKP=some_BKP, store=kept, process_group=process_group)
        own = [Space.of(again, k, settings.step()).null(again) for k in range(len(names))]
        rest_KP = torch.cat([rest_KP, torch.stack(own)], dim=1)
    steer, found = steer_of(sums, names, settings, null_KP=rest_KP)
    states_ND = contexts(extract, unit_texts, most=UNIT_TOKENS)
    for k, name in enumerate(steer.dimensions):
        found[name]["unit"] = set_unit(steer, k, model.head, states_ND)
    return steer, found


def steer_of(
    sums: Statistics, names: Sequence[str], settings: OnePassConfig, *, null_KP: Tensor | None = None
) -> tuple[Steer, dict[str, Any]]:
    """The steer of some statistics, in no unit of strength yet, and by attribute what is known of its spectrum.

    Args:
        null_KP: ``Estimate.null_P`` of further permutations, that are not among the sums.
    """
    parts, constants, found = list[Factors](), list[Tensor](), dict[str, Any]()
    for k, name in enumerate(names):
        estimate = Estimate.of(sums, k, settings.step())
        null_P = estimate.null_P if null_KP is None else torch.cat([estimate.null_P, null_KP[k]])
        rank, null = _rank(name, estimate.sizes_R, null_P, settings)
        parts.append(estimate.factors(rank))
        constants.append(estimate.bias(rank))
        found[name] = {"rank": rank, "spectrum": estimate.sizes_R[: rank + 8].tolist(), "null": null}
    if settings.apart:
        parts = orthogonal(parts, sums, settings.step())
    return _built(parts, names, settings.epsilon, None if settings.form == "matrix" else constants), found


def _rank(name: str, sizes_R: Tensor, null_P: Tensor, settings: OnePassConfig) -> tuple[int, dict[str, Any]]:
    """How many directions are kept, and what the null says of them."""
    if settings.form == "add":
        return 0, {}
    most = len(sizes_R) if settings.rank == "full" else min(settings.rank, len(sizes_R))
    if not len(null_P):
        return most, {}
    standing = above(sizes_R, null_P)
    if not standing:
        print(f"{name}: no direction stands above the label-permutation null; the largest is kept", flush=True)
    null = {"permutations": len(null_P), "above": standing, "threshold": threshold(null_P)}
    return max(1, min(most, standing)), null


def orthogonal(parts: Sequence[Factors], sums: Statistics, step: Step) -> list[Factors]:
    """Combinations of the matrices that are orthogonal in the whitened space, and as near to the old ones as can be.

    The inner product is the approximated Fisher information, ``<M, M'> = tr(A M S M'^T)`` with A averaged over the
    attributes, so that the divergences of orthogonal steers add up: none costs or undoes what another one does. The
    combinations are those of Löwdin (1950), which no order of the attributes changes.

    Raises:
        InputError: If the matrices are not independent.
    """
    a_DD = (sums.context_KDD / sums.known_K[:, None, None]).mean(0)
    a_DD, s_DD = _damped(a_DD, step.on_contexts), _damped(sums.spread_DD / sums.tokens, step.damping)
    products = [((p.T @ a_DD @ q) * (left.T @ s_DD @ right)).sum() for p, left in parts for q, right in parts]
    gram_KK = torch.stack(products).reshape(len(parts), len(parts))
    size_K = gram_KK.diagonal().sqrt()
    values_K, vectors_KK = torch.linalg.eigh(gram_KK / size_K / size_K[:, None])
    if not values_K[0] > 1e-6:
        raise InputError("the steers of these attributes are not independent; they cannot be made orthogonal")
    mix_KK = vectors_KK * values_K.rsqrt() @ vectors_KK.T * size_K[:, None] / size_K
    second_DR = torch.cat([second for _, second in parts], dim=1)
    return [
        (torch.cat([first * share for (first, _), share in zip(parts, mix_K, strict=True)], dim=1), second_DR)
        for mix_K in mix_KK
    ]


def _damped(matrix_DD: Tensor, damping: float) -> Tensor:
    return matrix_DD + damping * matrix_DD.diagonal().mean() * torch.eye(len(matrix_DD), dtype=matrix_DD.dtype)


def _built(parts: Sequence[Factors], names: Sequence[str], epsilon: float, constants: Sequence[Tensor] | None) -> Steer:
    """A low-rank steer of factors, padded with zero columns to one rank; a full one where that is not lower."""
    width, rank = parts[0][0].shape[0], max(first.shape[1] for first, _ in parts)
    bias = constants is not None
    steer = Steer(width, dimensions=names, rank=rank if rank < width else "full", epsilon=epsilon, bias=bias)
    with torch.no_grad():
        if steer.bias is not None and constants is not None:
            steer.bias.copy_(torch.stack(list(constants)) / epsilon)
        for k, (first, second) in enumerate(parts):
            if steer.p2 is None:
                steer.p1[k] = (first @ second.T / epsilon).float()
            else:
                steer.p1[k] = F.pad(first / epsilon, (0, rank - first.shape[1])).float()
                steer.p2[k] = F.pad(second, (0, rank - second.shape[1])).float()
    return steer


def set_unit(steer: Steer, dimension: int, head: Head, states_ND: Tensor) -> dict[str, float]:
    """Scale one dimension so that strengths of ±5 cost 0.3 nats per token on average; what was measured at the end.

    Raises:
        InputError: If there are no contexts, no scale reaches the cost, or the steer is out of float32's range.
    """
    if not len(states_ND):
        raise InputError("dev rows: no text is longer than one token; the unit of strength is measured on them")
    place_K = F.one_hot(torch.tensor(dimension), len(steer.dimensions)).float()
    states = states_ND.cpu().float()
    shift = states @ steer.matrix(dimension).detach()
    if steer.bias is not None:
        shift += steer.bias[dimension].detach()
    gain = float(shift.norm() / states.norm()) * steer.epsilon * UNIT_STRENGTH
    if not 0 < gain < math.inf:
        raise InputError(f"steer of {steer.dimensions[dimension]}: {OUT_OF_RANGE}")
    _scale(steer, dimension, START / gain)

    def cost(strength: float) -> float:
        """Mean over both directions."""
        both = [divergence(head, steer, sign * strength * place_K, states_ND).cpu().double().mean() for sign in (1, -1)]
        return float(sum(both)) / 2

    reached = calibrate(cost, Budget("kl", UNIT_KL), direction=1, start=UNIT_STRENGTH, at_zero=0.0)
    _scale(steer, dimension, reached.strength / UNIT_STRENGTH)
    if not math.isfinite(reached.reached) or not all(part.isfinite().all() for part in steer.parameters()):
        raise InputError(f"steer of {steer.dimensions[dimension]}: {OUT_OF_RANGE}")
    return {"strength": UNIT_STRENGTH, "kl": reached.reached, "tokens": len(states_ND)}


@torch.no_grad()
def _scale(steer: Steer, dimension: int, factor: float) -> None:
    if steer.bias is not None:
        steer.bias[dimension] *= factor
    if steer.p2 is None:
        steer.p1[dimension] *= factor
        return
    if not steer.rank:
        return
    # Evenly between the factors, however unlike their sizes were.
    first, second = steer.p1[dimension], steer.p2[dimension]
    balance = (first.norm() / second.norm()).item()
    first *= math.sqrt(factor / balance)
    second *= math.sqrt(factor * balance)
