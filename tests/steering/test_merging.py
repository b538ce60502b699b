"""Promises of merging: results of a hand-worked example, of PEFT's own functions, and of explicit matrices."""

import pytest
import torch
from peft.utils import merge_utils
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.models.random_models import tiny
from lmsteer.steering.composition import NONE, compose
from lmsteer.steering.merging import MERGED, add_factors_directly, dare, mean, merge, ties
from lmsteer.steering.steer import Steer

FIRST, SECOND = torch.tensor([[4.0, -1.0], [0.5, 2.0]]), torch.tensor([[-3.0, -2.0], [0.1, 5.0]])
STRENGTHS = [2.0, 0.5]


def steers(**options: object) -> list[Steer]:
    return [
        Steer(32, dimensions=[name, "dummy"], rank=4, init_std=0.5, seed=seed, **{"epsilon": 0.1} | options)  # type: ignore[arg-type]
        for seed, name in enumerate(("joy", "calm"))
    ]


def matrices() -> list[Tensor]:
    return [value * steer.matrix(0).detach() for steer, value in zip(steers(), STRENGTHS, strict=True)]


def test_ties_of_two_matrices_is_the_one_worked_by_hand() -> None:
    # Half of the entries remain: 4 and 2; -3 and 5. Signs of the sums: + . / . +. 4 stays alone, as -3 disagrees; the
    # mean of 2 and 5 is 3.5.
    assert ties(torch.stack([FIRST, SECOND]), density=0.5).tolist() == [[4.0, 0.0], [0.0, 3.5]]


def test_dare_keeps_the_sum_in_the_mean_and_every_remaining_entry_is_rescaled() -> None:
    noise = torch.Generator().manual_seed(0)
    draws = torch.stack([dare([FIRST], density=0.25, noise=noise) for _ in range(4000)])
    assert set(draws[:, 0, 0].tolist()) == {0.0, 16.0}
    torch.testing.assert_close(draws.mean(0), FIRST, rtol=0.15, atol=0.05)


@pytest.mark.parametrize("density", [0.2, 0.5, 0.9])
def test_rules_on_matrices_are_those_of_peft(density: float) -> None:
    weights = torch.ones(2)
    by_peft = merge_utils.ties(matrices(), weights, density)
    merged = merge(steers(), STRENGTHS, lambda x_KDD: ties(x_KDD, density=density))
    torch.testing.assert_close(merged.matrix(0).detach(), by_peft)
    torch.manual_seed(7)
    by_peft = merge_utils.dare_linear(matrices(), weights, density)
    noise = torch.Generator().manual_seed(7)
    merged = merge(steers(), STRENGTHS, lambda x_KDD: dare(list(x_KDD), density=density, noise=noise))
    torch.testing.assert_close(merged.matrix(0).detach(), by_peft)


def test_composed_strengths_and_the_mean_are_those_of_explicit_matrices() -> None:
    hidden = torch.randn(5, 32)
    together = compose(steers(), dummy=NONE)
    shift = 0.1 * hidden @ sum(matrices(), torch.zeros(32, 32))
    strength = together.strengths({"joy": 2.0, "calm": 0.5})[None]
    torch.testing.assert_close(together(hidden, strength).detach(), hidden + shift)
    averaged = merge(steers(), STRENGTHS, mean)
    torch.testing.assert_close(averaged(hidden, torch.ones(1, 1)).detach(), hidden + shift / 2)


def test_added_factors_are_the_sum_and_the_products_across_steers() -> None:
    (a1, a2), (b1, b2) = ([x for x in steer.factors(0) if x is not None] for steer in steers())
    products = a1 @ b2.T + b1 @ a2.T  # both times sqrt(2 * 0.5) = 1
    added = add_factors_directly(steers(), STRENGTHS).matrix(0).detach()
    torch.testing.assert_close(added, sum(matrices(), torch.zeros(32, 32)) + products)


def test_a_steer_of_another_epsilon_is_merged_by_what_it_does() -> None:
    first, second = steers()
    merged = merge([first, second.with_epsilon(0.7)], STRENGTHS, mean)
    torch.testing.assert_close(merged.matrix(0), merge([first, second], STRENGTHS, mean).matrix(0))


def test_a_merged_steer_controls_a_model_as_any_other() -> None:
    model, merged = tiny(), merge(steers(), STRENGTHS, mean)
    hidden = torch.randn(3, 32)
    (source,) = merged.at(model, {MERGED: 1.0}).sources
    shifted = hidden + 0.1 * hidden @ mean(torch.stack(matrices()))
    torch.testing.assert_close(source.readout(hidden), model.head(shifted), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: merge(steers(), [1.0], mean), "2 steers and 1 strengths: one for each expected"),
        (lambda: merge([], [], mean), "0 steers and 0 strengths"),
        (lambda: merge(steers(bias=True), STRENGTHS, mean), "a steer with a bias"),
        (lambda: merge([*steers()[:1], Steer(8, dimensions=["x"], rank=2)], [1, 1], mean), "steers of widths 32, 8"),
        (lambda: add_factors_directly(steers(), [1.0, -1.0]), "strengths 1.0, -1.0: none below 0 expected"),
        (lambda: add_factors_directly([merge(steers(), STRENGTHS, mean)], [1.0]), "factors of ranks full"),
        (
            lambda: add_factors_directly([*steers()[:1], Steer(32, dimensions=["x"], rank=2)], [1, 1]),
            "factors of ranks 4, 2",
        ),
        (lambda: ties(torch.ones(2, 2, 2), density=0.0), "density=0.0: a number above 0"),
        (lambda: dare([torch.ones(2)], density=1.5), "density=1.5: a number above 0, at most 1"),
    ],
)
def test_what_cannot_be_merged_is_refused(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        call()  # type: ignore[operator]
