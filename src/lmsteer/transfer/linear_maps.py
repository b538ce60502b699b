"""Fit linear maps from the vectors of one model to those of another, in closed form.

Shapes: N pairs of vectors, D width of the source, E width of the target. A map (E, D) acts on row vectors of the
target: ``y ≈ x T``.
"""

import torch
from torch import Tensor

from lmsteer.errors import InputError

DAMPING = 1e-3


def ridge(x_NE: Tensor, y_ND: Tensor, weight_N: Tensor | None = None, *, damping: float = DAMPING) -> Tensor:
    """Fit the map (E, D) by weighted ridge regression, ``sum_n weight_n |x_n T - y_n|²`` plus a penalty.

    Args:
        weight_N: Weights of the pairs, 0 or more; None: all equal.
        damping: The penalty, as a share of the mean eigenvalue of the moments of ``x``; 0 or more.

    Raises:
        InputError: If the damping is negative or not finite, or too small to determine the map.
    """
    if not 0 <= damping < float("inf"):
        raise InputError(f"damping={damping}: 0 or a larger number expected")
    x, y = _exact(x_NE), _exact(y_ND)
    weighted = x if weight_N is None else x * weight_N.to(x)[:, None]
    moments_EE, mixed_ED = (weighted.T @ x).double(), (weighted.T @ y).double()
    moments_EE += damping * moments_EE.diagonal().mean() * torch.eye(len(moments_EE), dtype=moments_EE.dtype)
    factor_EE, failed = torch.linalg.cholesky_ex(moments_EE)
    if failed:
        raise InputError(f"damping={damping}: {len(x)} pairs do not determine a map; larger damping expected")
    map_ED: Tensor = torch.cholesky_solve(mixed_ED, factor_EE)
    return map_ED


def procrustes(x_NE: Tensor, y_ND: Tensor, weight_N: Tensor) -> Tensor:
    """Fit a scaled (semi-)orthogonal map (E, D) by weighted least squares (Schönemann, 1966)."""
    x, y = _exact(x_NE), _exact(y_ND)
    weight_N1 = weight_N.to(x)[:, None]
    left, sizes, right = torch.linalg.svd(((x * weight_N1).T @ y).double(), full_matrices=False)
    rotation_ED = left @ right
    scaled_ED: Tensor = rotation_ED * (sizes.sum() / ((x @ rotation_ED.to(x.dtype)).square() * weight_N1).sum())
    return scaled_ED


def centered(x_ND: Tensor, weight_N: Tensor) -> Tensor:
    """Return the vectors minus their weighted mean; the weights sum to 1."""
    x = _exact(x_ND)
    return x - weight_N.to(x) @ x


def explained(x_NE: Tensor, y_ND: Tensor, map_ED: Tensor, weight_N: Tensor) -> float:
    """Return R², the share of the variance of ``y`` that ``x T`` explains; the weights sum to 1."""
    y = centered(y_ND, weight_N)
    weight_N1 = weight_N.to(y)[:, None]
    residual = y - centered(x_NE, weight_N) @ map_ED.to(y.dtype)
    return float(1 - (residual.square() * weight_N1).sum() / (y.square() * weight_N1).sum())


def _exact(x: Tensor) -> Tensor:
    """Return vectors in float32 at least, and on the CPU, which suffices for small systems."""
    return x.detach().to("cpu", torch.promote_types(x.dtype, torch.float32))
