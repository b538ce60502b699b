"""The one-pass solver: a steer from labeled texts, its rank by a permutation test and its unit of strength by KL.

Shapes: B texts, N packed tokens, D width, P permutations of labels, R directions.
"""

import copy
import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lmsteer.data.datamodule import SteerDataModule
from lmsteer.errors import InputError
from lmsteer.models.head import Head
from lmsteer.one_pass.corpus_pass import sample_contexts, sum_statistics
from lmsteer.one_pass.natural_gradient import Estimate, WhitenedSpace
from lmsteer.one_pass.one_pass_solver import OnePassSolver, StepConfig
from lmsteer.one_pass.permutation_test import count_significant, permute_labels, threshold
from lmsteer.one_pass.statistics import Statistics
from lmsteer.steering.budget import Budget
from lmsteer.steering.kl import divergence
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.steering.strength_search import find_strength

logger = logging.getLogger(__name__)

UNIT_STRENGTH, UNIT_KL = 5.0, 0.3
"""The unit of strength: ±5, the strengths of the paper's protocols, cost 0.3 nats per token on average."""
OUT_OF_RANGE = "its weights are beyond float32; solver.damping and steer.epsilon nearer to their defaults are needed"
UNIT_TOKENS = 1024
"""Contexts on which the KL divergence is measured, at most."""
START_RATIO = 0.3
"""Where the search for the unit begins: the shift at that strength as a fraction of the hidden state."""
MOMENT_ELEMENTS = 2**29
"""Elements of the permuted moments that are held at once, 2 GiB; further permutations take further passes."""


def solve(steer_config: SteerConfig, solver: OnePassSolver, data: SteerDataModule) -> tuple[Steer, dict[str, Any]]:
    """Fit a steer of one dimension in one pass over the training texts.

    The permutations follow the seed of the data; nothing else is random.

    Returns:
        The steer, on the CPU, and the spectrum with its permutation test, the rank and the unit of strength.

    Raises:
        InputError: If the labels are all the same, or the texts are too short.
    """
    width, texts = data.extract.model.width, data.texts(data.corpus.train)
    label_B = torch.tensor([row.label for row in data.corpus.train])
    permutations = 0 if steer_config.form == "add" else solver.permutations
    permuted_BP = permute_labels(label_B, permutations, seed=data.seed)
    step, estimate, nulls = solver.step(steer_config.form), None, list[Tensor]()
    for chunk_BP in permuted_BP.split(max(1, MOMENT_ELEMENTS // width**2), dim=1):
        statistics = sum_statistics(
            data.extract, texts, label_B, permuted_BP=chunk_BP, process_group=data.process_group
        )
        if estimate is None:
            estimate = Estimate.from_statistics(statistics, step)
            nulls.append(estimate.null_P)
        else:
            nulls.append(WhitenedSpace.from_statistics(statistics, step).null_distribution(statistics))
    assert estimate is not None
    rank, test = _choose_rank(steer_config, estimate.singular_values_R, torch.cat(nulls))
    steer = _build_steer(estimate, rank, steer_config)
    unit_texts = data.texts(data.dev or data.corpus.train[: data.dev_rows])
    contexts_ND = sample_contexts(data.extract, unit_texts, limit=UNIT_TOKENS)
    steer, unit = set_unit(steer, data.extract.model.head, contexts_ND)
    spectrum = estimate.singular_values_R[: rank + 8].tolist()
    return steer, {"rank": rank, "spectrum": spectrum, "null": test, "unit": unit}


def solve_jointly(statistics: Sequence[Statistics], steer_config: SteerConfig, step: StepConfig) -> Steer:
    """Fit one steer to several corpora at once: their sums add up. Its unit of strength is arbitrary.

    Raises:
        InputError: If all labels are the same, or widths differ.
    """
    total = copy.deepcopy(statistics[0])
    for other in statistics[1:]:
        total.add_(other)
    width = len(total.context_D)
    steer = steer_config.for_width(width)
    return _build_steer(
        Estimate.from_statistics(total, step), width if steer.rank == "full" else int(steer.rank), steer
    )


def _choose_rank(steer_config: SteerConfig, singular_values_R: Tensor, null_P: Tensor) -> tuple[int, dict[str, Any]]:
    """Return the rank of the steer and the result of the permutation test, empty without one."""
    name, largest, rank = steer_config.name, len(singular_values_R), steer_config.rank
    if steer_config.form == "add":
        return 0, {}
    limit = min(rank, largest) if isinstance(rank, int) else largest
    if not len(null_P):
        return limit, {}
    significant = count_significant(singular_values_R, null_P)
    if not significant:
        logger.warning("%s: no direction is significant in the permutation test; the largest one is used", name)
    test = {"permutations": len(null_P), "above": significant, "threshold": threshold(null_P)}
    return max(1, min(limit, significant)), test


def _build_steer(estimate: Estimate, rank: int, steer_config: SteerConfig) -> Steer:
    """Build a low-rank steer of the estimate, in no unit of strength yet; a full one at rank D."""
    name, epsilon = steer_config.name, steer_config.epsilon
    p1_DR, p2_DR = estimate.factors(rank)
    full = rank >= len(p1_DR)
    factors = (p1_DR @ p2_DR.T / epsilon, None) if full else (p1_DR / epsilon, p2_DR)
    biases = None if steer_config.form == "matrix" else {name: estimate.bias(rank) / epsilon}
    return Steer.from_factors({name: factors}, epsilon=epsilon, biases=biases)


def set_unit(steer: Steer, head: Head, hidden_ND: Tensor) -> tuple[Steer, dict[str, float]]:
    """Scale a steer of one dimension so that strengths of ±5 cost 0.3 nats per token on average.

    Args:
        hidden_ND: Hidden states of the plain model, on which the KL divergence is measured.

    Returns:
        The scaled steer, and the KL divergence that was reached.

    Raises:
        InputError: If there are no hidden states, no scale reaches the cost, or the steer is out of float32's range.
    """
    if not len(hidden_ND):
        raise InputError("dev rows: no text is longer than one token; the unit of strength is measured on them")
    hidden = hidden_ND.cpu().float()
    shift = hidden @ steer.matrix(0).detach()
    if steer.bias is not None:
        shift += steer.bias[0].detach()
    ratio = float(shift.norm() / hidden.norm()) * steer.epsilon * UNIT_STRENGTH
    if not 0 < ratio < math.inf:
        raise InputError(f"steer of {steer.dimensions[0]}: {OUT_OF_RANGE}")
    start = steer.scaled(0, START_RATIO / ratio)

    @torch.inference_mode()
    def mean_kl(strength: float) -> float:
        """Mean over both directions."""
        shifting, device = start.to(hidden_ND.device), hidden_ND.device
        strengths = [torch.tensor([[sign * strength]], device=device) for sign in (1.0, -1.0)]
        steered = [shifting(hidden_ND, strength_1K) for strength_1K in strengths]
        return sum(float(divergence(head, states_ND, hidden_ND).cpu().double().mean()) for states_ND in steered) / 2

    reached = find_strength(mean_kl, Budget("kl", UNIT_KL), direction=1, start=UNIT_STRENGTH, at_zero=0.0)
    steer = start.scaled(0, reached.strength / UNIT_STRENGTH)
    if not math.isfinite(reached.reached) or not all(weights.isfinite().all() for weights in steer.parameters()):
        raise InputError(f"steer of {steer.dimensions[0]}: {OUT_OF_RANGE}")
    return steer, {"strength": UNIT_STRENGTH, "kl": reached.reached, "tokens": len(hidden_ND)}
