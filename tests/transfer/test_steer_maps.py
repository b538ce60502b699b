"""A steer moves to a model that is a known linear image of its own, and its effect is measured as a plain count has it.

Shapes: S shared tokens, N places, D width of the source, E width of the target.
"""

from typing import get_args

import pytest
import torch
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.models.head import Head
from lmsteer.reference.descent_map import descent_map
from lmsteer.steering.steer import Steer
from lmsteer.transfer.effect_agreement import agreement, mean_probabilities
from lmsteer.transfer.steer_maps import (
    AlignedStates,
    Anchors,
    Kind,
    Maps,
    apply_maps,
    fit_maps,
    reconstruction,
    select_tokens,
)

WIDTH, TOKENS, N = 8, 60, 300


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


HIDDEN, WORDS = random(N, WIDTH, seed=1), random(TOKENS, WIDTH, seed=2)
WEIGHT = random(TOKENS, seed=3).softmax(0)
TEXTS = torch.arange(N) // 5


def image(width: int) -> tuple[Tensor, Tensor]:
    """Known maps from the source's hidden states and embeddings to those of a target."""
    return random(WIDTH, width, seed=4), random(WIDTH, width, seed=5)


def pair(width: int) -> tuple[Anchors, AlignedStates]:
    states, words = image(width)
    return Anchors(WORDS, WORDS @ words, WEIGHT), AlignedStates(HIDDEN, HIDDEN @ states, TEXTS)


def a_steer(rank: int | str = 3, names: tuple[str, ...] = ("mood", "dummy")) -> Steer:
    return Steer(WIDTH, dimensions=names, rank=rank, epsilon=0.1, init_std=0.5, seed=6)  # type: ignore[arg-type]


def effect(steer: Steer, name: str, hidden: Tensor, words: Tensor) -> Tensor:
    """``(h + epsilon W h) Eᵀ - h Eᵀ``, plainly."""
    return steer.epsilon * hidden @ steer.matrix(steer.dimensions.index(name)).detach().double() @ words.T


@pytest.mark.parametrize("width", [8, 13])
@pytest.mark.parametrize("rank", [3, "full"])
def test_in_a_linear_image_of_the_source_it_does_what_it_did(width: int, rank: int | str) -> None:
    anchors, aligned = pair(width)
    steer = a_steer(rank)
    maps = fit_maps("states", anchors, aligned, damping=1e-9)
    transferred = apply_maps(steer, maps)
    assert (transferred.width, transferred.rank, transferred.dimensions) == (width, rank, ("mood",))
    expected = effect(steer, "mood", HIDDEN, WORDS)
    got = effect(transferred, "mood", aligned.target_NE, anchors.target_SE)
    assert (got - expected).abs().max() < 1e-3 * expected.abs().max()
    assert list(reconstruction(maps, anchors, aligned).values()) == pytest.approx([1, 1], abs=1e-6)


def test_to_a_narrower_model_a_steer_of_higher_rank_becomes_a_full_one_with_the_same_product() -> None:
    maps = Maps(random(5, WIDTH, seed=7), random(5, WIDTH, seed=8))
    steer = a_steer(7)
    transferred = apply_maps(steer, maps, scale=2.0)
    assert transferred.rank == "full"
    product = maps.context_ED @ steer.matrix(0).detach().double() @ maps.output_ED.T
    torch.testing.assert_close(transferred.matrix(0).detach().double(), 2.0 * product, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", get_args(Kind)[1:])
def test_one_map_for_both_sides_is_the_papers_form(kind: str) -> None:
    anchors, aligned = pair(WIDTH)
    maps = fit_maps(kind, anchors, aligned)  # type: ignore[arg-type]
    assert torch.equal(maps.context_ED, maps.output_ED)
    h = maps.output_ED.T  # from the target's vectors to the source's, as columns
    steer = a_steer()
    transferred = apply_maps(steer, maps).matrix(0).T.detach().double()
    torch.testing.assert_close(transferred, h.T @ steer.matrix(0).T.detach().double() @ h, rtol=1e-4, atol=1e-6)


def test_the_seed_is_that_of_the_papers_descent() -> None:
    anchors, aligned = pair(WIDTH)
    maps = fit_maps("legacy", anchors, aligned, seed=3)
    assert torch.equal(maps.output_ED, descent_map(anchors.target_SE, anchors.source_SD, seed=3))
    assert not torch.equal(maps.output_ED, fit_maps("legacy", anchors, aligned, seed=4).output_ED)


def test_what_is_common_to_all_words_of_either_model_changes_no_map() -> None:
    anchors, aligned = pair(13)
    shifted = Anchors(anchors.source_SD + 5, anchors.target_SE - 3, anchors.weight_S)
    for one, other in zip(fit_maps("states", anchors, aligned), fit_maps("states", shifted, aligned), strict=True):
        torch.testing.assert_close(one, other)


def test_every_attribute_is_moved_and_the_dummy_is_left() -> None:
    maps = fit_maps("states", *pair(WIDTH))
    steer = a_steer(names=("mood", "dummy", "tone"))
    transferred = apply_maps(steer, maps)
    assert transferred.dimensions == ("mood", "tone")
    product = maps.output_ED @ steer.matrix(2).T.detach().double() @ maps.context_ED.T
    torch.testing.assert_close(transferred.matrix(1).T.detach().double(), product, rtol=1e-4, atol=1e-6)


def test_a_steer_that_is_a_dummy_alone_is_refused() -> None:
    with pytest.raises(InputError, match="steer of dummy: nothing to transfer"):
        apply_maps(a_steer(names=("dummy",)), fit_maps("states", *pair(WIDTH)))


def heads(width: int) -> tuple[Head, Head]:
    anchors, _ = pair(width)
    return Head(anchors.source_SD, scale=2.0), Head(0.1 * anchors.target_SE, scale=0.5)


def plain_agreement(
    steer: Steer, transferred: Steer, aligned: AlignedStates, source: Head, target: Head
) -> tuple[float, float]:
    """Place by place, word by word."""
    products = [0.0, 0.0, 0.0]
    for h1, h2 in zip(aligned.source_ND, aligned.target_NE, strict=True):
        p = target(h2[None])[0].softmax(0)
        expected = source.scale * effect(steer, "mood", h1[None], source.weight)[0]
        got = target.scale * effect(transferred, "mood", h2[None], target.weight)[0]
        expected, got = expected - (p * expected).sum(), got - (p * got).sum()
        for index, (a, b) in enumerate(((expected, expected), (got, got), (expected, got))):
            products[index] += float((p * a * b).sum())
    wanted2, got2, both = products
    return both / (wanted2 * got2) ** 0.5, both / got2


@pytest.mark.parametrize("rank", [3, "full"])
def test_agreement_equals_a_plain_count(rank: int | str) -> None:
    _, aligned = pair(13)
    steer = a_steer(rank)
    transferred = apply_maps(steer, fit_maps("states", *pair(13), damping=3.0))
    result = agreement(*heads(13), steer, transferred, aligned, name="mood")
    expected = plain_agreement(steer, transferred, aligned, *heads(13))
    assert (result.correlation, result.gain) == pytest.approx(expected, rel=1e-4)
    assert 0.1 < expected[0] < 0.99


def test_mean_probabilities_are_those_of_the_softmax_and_sum_to_1() -> None:
    _, target = heads(13)
    hidden = pair(13)[1].target_NE
    result = mean_probabilities(target, hidden)
    assert result.sum().item() == pytest.approx(1)
    torch.testing.assert_close(result, target(hidden).softmax(-1).mean(0), rtol=1e-5, atol=1e-9)


def test_a_part_of_a_head_gives_the_logits_of_its_tokens() -> None:
    head = Head(WORDS, bias=random(TOKENS, seed=3), scale=0.5, softcap=3.0)
    tokens = torch.tensor([7, 3, 59])
    torch.testing.assert_close(select_tokens(head, tokens)(HIDDEN), head(HIDDEN)[:, tokens])


@pytest.mark.parametrize(("n", "count"), [(300, 300), (1000, 300), (100, 100), (299, 150), (1, 1)])
def test_places_are_thinned_evenly_and_never_beyond_the_number(n: int, count: int) -> None:
    few = pair(WIDTH)[1].at_most(n)
    assert len(few.text_N) == count
    assert torch.equal(few.source_ND[0], HIDDEN[0])
