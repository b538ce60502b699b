"""Maps between models, against what is known or computed in another way."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.transfer.linear_maps import centered, explained, procrustes, ridge

RANDOM = torch.Generator().manual_seed(0)
X = torch.randn(200, 6, generator=RANDOM, dtype=torch.float64)
WEIGHT = torch.rand(200, generator=RANDOM, dtype=torch.float64)
WEIGHT /= WEIGHT.sum()


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=RANDOM, dtype=torch.float64)


def test_ridge_equals_least_squares_on_rows_scaled_by_the_root_of_their_weights_and_rows_of_the_ridge() -> None:
    y, damping = noise(200, 3), 0.3
    root = WEIGHT.sqrt()[:, None]
    size = damping * ((X * root).square().sum() / 6)
    rows = np.vstack([(X * root).numpy(), np.eye(6) * size.sqrt().item()])
    naive, *_ = np.linalg.lstsq(rows, np.vstack([(y * root).numpy(), np.zeros((6, 3))]), rcond=None)
    torch.testing.assert_close(ridge(X, y, WEIGHT, damping=damping), torch.from_numpy(naive))


def test_ridge_without_weights_takes_all_alike() -> None:
    y = noise(200, 3)
    torch.testing.assert_close(ridge(X, y), ridge(X, y, torch.ones(200)))


@pytest.mark.parametrize("damping", [-1.0, float("nan"), float("inf")])
def test_a_damping_out_of_range_is_refused(damping: float) -> None:
    with pytest.raises(InputError, match=r"damping=.*: 0 or a larger number"):
        ridge(X, X, damping=damping)


def test_too_few_pairs_without_damping_are_refused() -> None:
    with pytest.raises(InputError, match="damping=0: 3 pairs do not determine a map"):
        ridge(X[:3], X[:3], damping=0)


@pytest.mark.parametrize("width", [4, 6, 9])
def test_procrustes_finds_a_turn_and_its_scale_between_different_widths(width: int) -> None:
    turn = torch.linalg.qr(noise(max(width, 6), min(width, 6)))[0]
    known = turn if width <= 6 else turn.T
    y = 2.5 * X @ known
    result = procrustes(X, y, WEIGHT)
    if width >= 6:  # a map to fewer dimensions has no inverse: the scale is that of least squares
        torch.testing.assert_close(result, 2.5 * known)
    gram = result @ result.T if width >= 6 else result.T @ result
    torch.testing.assert_close(gram, gram[0, 0] * torch.eye(min(width, 6), dtype=gram.dtype), rtol=1e-6, atol=1e-9)


def test_no_other_turn_is_nearer_than_that_of_procrustes() -> None:
    y = noise(200, 6)
    result = procrustes(X, y, WEIGHT)
    scale = result.norm() / 6**0.5

    def error(map_ED: Tensor) -> float:
        return float(((X @ map_ED - y).square().sum(1) * WEIGHT).sum())

    others = [scale * torch.linalg.qr(noise(6, 6))[0] for _ in range(50)]
    assert min(error(other) for other in others) > error(result)
    assert min(error(result * factor) for factor in (0.9, 1.1)) > error(result)


def test_explained_is_1_for_the_true_map_0_for_none_and_a_hand_count_between() -> None:
    known = noise(6, 3)
    y = X @ known + 7.0  # what is common to all vectors is no variance
    assert explained(X, y, known, WEIGHT) == pytest.approx(1)
    assert explained(X, y, torch.zeros(6, 3), WEIGHT) == pytest.approx(0)
    assert explained(X, y, 0.5 * known, WEIGHT) == pytest.approx(0.75)


def test_centered_vectors_have_the_weighted_mean_0() -> None:
    torch.testing.assert_close(WEIGHT @ centered(X, WEIGHT), torch.zeros(6, dtype=torch.float64))
