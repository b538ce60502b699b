"""Promises of the original implementation's map between embeddings."""

import torch

from lmsteer.reference.descent_map import descent_map


def test_the_map_takes_the_first_words_alone_and_has_rows_of_length_1() -> None:
    x, y = torch.randn(4100, 3), torch.randn(4100, 2)
    result = descent_map(x, y, seed=3)
    changed = torch.cat([y[:4000], 100 + y[4000:]])
    assert torch.equal(result, descent_map(x, changed, seed=3))
    torch.testing.assert_close(result.norm(dim=1), torch.ones(3, dtype=result.dtype))


def test_the_map_is_where_descent_through_autograd_comes_to() -> None:
    x, y = torch.randn(60, 3), torch.randn(60, 2)
    plain = torch.randn(3, 2, generator=torch.Generator().manual_seed(5)).requires_grad_()
    optimizer = torch.optim.Adam([plain], lr=1e-2)
    for _ in range(1000):
        optimizer.zero_grad()
        (x @ plain - y).pow(2).mean().backward()
        optimizer.step()
    naive = plain.detach() / plain.detach().norm(dim=1)[:, None]
    torch.testing.assert_close(descent_map(x, y, seed=5).float(), naive, rtol=1e-3, atol=1e-3)
