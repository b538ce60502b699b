"""Promises of a steer taken apart."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lmsteer.analysis.top_tokens import projections
from lmsteer.errors import InputError
from lmsteer.models.cross_entropy import loglik_gradient
from lmsteer.models.head import Head
from lmsteer.models.language_model import LanguageModel
from lmsteer.steering.directions import (
    Directions,
    directions_holding,
    effective_rank,
    participation_ratio,
    randomized,
)
from lmsteer.steering.steer import Steer


def dense(directions: Directions) -> Tensor:
    return directions.output_DR @ directions.sizes_R.diag() @ directions.context_DR.T


def contexts(tokens: int = 9, seed: int = 0) -> tuple[Tensor, Tensor]:
    noise = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(tokens, 32, generator=noise), torch.randint(384, (tokens,), generator=noise)


@pytest.mark.parametrize("rank", [1, 4, 32, "full"])
def test_the_directions_are_the_singular_value_decomposition_of_the_dense_matrix(rank: int | str) -> None:
    steer = Steer(32, dimensions=["a", "b"], rank=rank, epsilon=0.02, init_std=0.5, seed=1)  # type: ignore[arg-type]
    for k in range(2):
        directions, matrix = steer.directions(k), steer.matrix(k).T.detach().double()
        left, sizes, right = torch.linalg.svd(matrix)
        count = 32 if rank == "full" else int(rank)
        torch.testing.assert_close(directions.sizes_R, sizes[:count], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(dense(directions), matrix, rtol=1e-5, atol=1e-5)
        assert (left[:, 0] @ directions.output_DR[:, 0]).abs() == pytest.approx(1)
        assert (right[0] @ directions.context_DR[:, 0]).abs() == pytest.approx(1)
        assert directions.epsilon == 0.02


def test_columns_of_zeros_are_no_directions_and_a_zero_matrix_is_refused(steer: Steer) -> None:
    with torch.no_grad():
        steer.p1[0, :, 2:] = 0
        steer.p1[1] = 0
    assert len(steer.directions(0).sizes_R) == 2
    torch.testing.assert_close(dense(steer.directions(0)), steer.matrix(0).T.double(), rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="dimension dummy: its matrix is zero"):
        steer.directions(1)


def test_both_vectors_turned_are_the_same_matrix_and_the_same_evidence(steer: Steer, tiny_model: LanguageModel) -> None:
    directions = steer.directions(0)
    turned = directions.turned(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    hidden_ND, targets_N = contexts()
    pull_ND = loglik_gradient(tiny_model.head, hidden_ND, targets_N)
    torch.testing.assert_close(dense(turned), dense(directions))
    torch.testing.assert_close(turned.evidence(hidden_ND, pull_ND), directions.evidence(hidden_ND, pull_ND))
    assert turned.activations(hidden_ND)[:, 1].equal(-directions.activations(hidden_ND)[:, 1])


def test_the_measures_of_a_spectrum_are_those_counted_by_hand() -> None:
    equal, single, two = torch.full((8,), 1 / 8), torch.tensor([1.0, 0, 0]), torch.tensor([0.75, 0.25])
    assert (effective_rank(equal), participation_ratio(equal)) == (pytest.approx(8), pytest.approx(8))
    assert (effective_rank(single), participation_ratio(single)) == (pytest.approx(1), pytest.approx(1))
    assert effective_rank(two) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))
    assert participation_ratio(two) == pytest.approx(1.6)
    assert [directions_holding(equal, share) for share in (0.1, 0.51, 0.9)] == [1, 5, 8]
    assert directions_holding(two, 0.9) == 2


def test_energy_is_the_share_in_the_squared_norm(steer: Steer) -> None:
    directions = steer.directions(0)
    assert directions.energy_R.sum() == pytest.approx(1)
    assert directions.sizes_R[0] ** 2 / directions.energy_R[0] == pytest.approx(
        float(steer.matrix(0).T.detach().square().sum()), rel=1e-5
    )


def test_pull_is_the_gradient_of_the_log_probability(model: LanguageModel) -> None:
    hidden_ND, targets_N = contexts()
    naive_ND = hidden_ND.clone().requires_grad_()
    F.cross_entropy(model.head(naive_ND), targets_N, reduction="sum").backward()
    assert naive_ND.grad is not None
    torch.testing.assert_close(loglik_gradient(model.head, hidden_ND, targets_N), -naive_ND.grad, rtol=1e-4, atol=1e-5)


def test_evidence_adds_up_to_the_derivative_of_the_log_likelihood_in_the_strength(
    model: LanguageModel, steer: Steer
) -> None:
    hidden_ND, targets_N = contexts()
    for name in steer.dimensions:

        def log_likelihood(strength: Tensor, name: str = name) -> Tensor:
            strength_K = torch.stack([strength if other == name else torch.zeros(()) for other in steer.dimensions])
            return -F.cross_entropy(model.head(steer(hidden_ND, strength_K[None])), targets_N, reduction="sum")

        derivative = torch.func.grad(log_likelihood)(torch.zeros(()))
        directions = steer.directions(steer.dimensions.index(name))
        evidence_NR = directions.evidence(hidden_ND, loglik_gradient(model.head, hidden_ND, targets_N))
        assert evidence_NR.shape == (9, 4)
        torch.testing.assert_close(evidence_NR.sum(), derivative, rtol=1e-3, atol=1e-4)
        difference = (log_likelihood(torch.tensor(0.02)) - log_likelihood(torch.tensor(-0.02))) / 0.04
        torch.testing.assert_close(evidence_NR.sum(), difference.detach(), rtol=2e-2, atol=2e-2)


def test_the_shift_is_what_the_steer_adds_to_a_context(steer: Steer) -> None:
    mean_D = contexts()[0].mean(0)
    added = steer(mean_D[None], steer.strengths({"dummy": 1.0})[None])[0] - mean_D
    torch.testing.assert_close(steer.directions(1).shift(mean_D), added.detach(), rtol=1e-4, atol=1e-5)


def test_projections_are_differences_of_logits(model: LanguageModel) -> None:
    side_DR = contexts()[0].T.contiguous()
    centre = 7
    plain = Head(model.head.weight, scale=model.head.scale, vocabulary=model.head.vocabulary)  # no soft-cap, no bias
    logits_RV = plain(side_DR.T)[:, : plain.vocabulary]
    logits = projections(model.head, side_DR, model.head.weight[centre].float())
    assert logits.shape == (model.head.vocabulary, 9)
    torch.testing.assert_close(logits.T, logits_RV - logits_RV[:, [centre]], rtol=1e-4, atol=1e-4)


def test_a_random_matrix_has_the_singular_values_and_nothing_else_of_the_steer(steer: Steer) -> None:
    directions = steer.directions(0)
    first, again, other = randomized(directions, 1), randomized(directions, 1), randomized(directions, 2)
    torch.testing.assert_close(torch.linalg.svdvals(dense(first))[:4], directions.sizes_R)
    assert dense(first).equal(dense(again))
    for one, two in ((first, other), (first, directions)):
        cosine = (dense(one) * dense(two)).sum() / (dense(one).norm() * dense(two).norm())
        assert abs(cosine) < 0.2
