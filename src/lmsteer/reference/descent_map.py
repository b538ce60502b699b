"""Fit the map between word embeddings that the original implementation uses to transfer a steer.

Shapes: N words, D width of the source, E width of the target.
"""

import torch
from torch import Tensor

WORDS = 4000
STEPS = 1000
LR = 1e-2
STRENGTH_SCALE = 0.1
"""Factor by which the original implementation reduces the strength of a transferred steer."""


def descent_map(x_NE: Tensor, y_ND: Tensor, *, seed: int = 0) -> Tensor:
    """Fit a map (E, D) by gradient descent on the first 4000 words, and scale its rows to length 1.

    Adam takes 1000 steps at 1e-2 on the mean squared error, starting from normal noise. The first words are those with
    the lowest token ids of the target; in the original implementation they depend on the order of a hash table.
    """
    x, y = (vectors[:WORDS].detach().cpu().float() for vectors in (x_NE, y_ND))
    noise = torch.Generator().manual_seed(seed)
    map_ED = torch.randn(x.shape[1], y.shape[1], generator=noise, requires_grad=True)
    optimizer = torch.optim.Adam([map_ED], lr=LR)
    # The gradient is linear in the map, so the moments of the words are computed once.
    moments_EE, mixed_ED = x.T @ x, x.T @ y
    for _ in range(STEPS):
        map_ED.grad = (2 / y.numel()) * (moments_EE @ map_ED.detach() - mixed_ED)
        optimizer.step()
    fitted_ED = map_ED.detach().double()
    unit_ED: Tensor = fitted_ED / fitted_ED.norm(dim=1, keepdim=True)
    return unit_ED
