"""Promises of the one-pass estimator, on a small synthetic language whose best steer is known."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.models.head import Head
from lmsteer.one_pass.natural_gradient import Estimate, Step, whitener
from lmsteer.one_pass.permutation_test import above, check_permutations, permuted, threshold
from lmsteer.one_pass.residuals import Residuals
from lmsteer.one_pass.statistics import Statistics

WIDTH, VOCABULARY, LENGTH = 12, 60, 10
CONSTANT = torch.linspace(1, -1, WIDTH) / 4


def language(
    texts: int, *, strength: float = 0.25, bias: float = 0.0, seed: int = 0
) -> tuple[Head, Tensor, Tensor, Tensor, Tensor]:
    """Texts of one label each, whose tokens are drawn from the model steered by ``label * (h M + constant * b)``.

    Returns:
        The head, hidden states and targets by token, labels by text, and M (rank 1, as it acts on row vectors): the
        optimum of the log-likelihood for ever more texts, by construction.
    """
    noise = torch.Generator().manual_seed(seed)
    head = Head(torch.randn(VOCABULARY, WIDTH, generator=noise) * torch.linspace(0.3, 1.2, WIDTH))
    left, right = torch.randn(2, WIDTH, generator=noise)
    matrix = strength * torch.outer(left, right) / left.norm() / right.norm()
    label_B = 2.0 * torch.randint(2, (texts,), generator=noise) - 1
    hidden_ND = torch.randn(texts * LENGTH, WIDTH, generator=noise) * torch.linspace(1.2, 0.4, WIDTH)
    label_N = label_B.repeat_interleave(LENGTH)
    chances = head(hidden_ND + label_N[:, None] * (hidden_ND @ matrix + bias * CONSTANT)).softmax(-1)
    targets_N = torch.multinomial(chances, 1, generator=noise)[:, 0]
    return head, hidden_ND, targets_N, label_B, matrix


def sums(texts: int, permutations: int = 0, *, strength: float = 0.25, seed: int = 0) -> tuple[Statistics, Tensor]:
    head, hidden, targets, label_B, matrix = language(texts, strength=strength, seed=seed)
    residuals = Residuals(head)
    found = residuals(hidden, targets)
    null = permuted(label_B[:, None], permutations, seed=seed)
    found = Statistics.of(
        hidden, found, lengths(label_B), label_B[:, None], spread_DD=residuals.spread(), null_BKP=null
    )
    return found, matrix


def lengths(label_B: Tensor) -> Tensor:
    return torch.full((len(label_B),), LENGTH)


def cosine(one: Tensor, other: Tensor) -> float:
    return float(torch.cosine_similarity(one.flatten().double(), other.flatten().double(), dim=0))


def test_the_estimate_nears_the_true_direction_as_texts_grow() -> None:
    found = []
    for texts in (30, 300, 3000):
        statistics, matrix = sums(texts, strength=0.5)
        first, second = Estimate.of(statistics, step=Step(damping=0.01)).factors(1)
        found.append(cosine(first @ second.T, matrix))
    assert found == sorted(found)
    assert found[-1] > 0.95


def test_few_directions_of_the_estimate_are_nearer_than_all_of_them() -> None:
    statistics, matrix = sums(3000, 39)
    estimate = Estimate.of(statistics, step=Step(damping=0.01))
    assert above(estimate.sizes_R, estimate.null_P) == 1, "the language was made of one direction"
    whole, first = ((p1 @ p2.T) for p1, p2 in (estimate.factors(), estimate.factors(1)))
    assert cosine(first, matrix) > max(0.9, cosine(whole, matrix))


def test_preconditioning_is_what_finds_the_direction() -> None:
    statistics, matrix = sums(3000, strength=0.5)
    left, _, right = torch.linalg.svd(statistics.pull_KDD[0])
    first, second = Estimate.of(statistics, step=Step(damping=0.01)).factors(1)
    assert cosine(first @ second.T, matrix) > cosine(torch.outer(left[:, 0], right[0]), matrix) + 0.05


def test_without_truncation_the_estimate_is_its_formula() -> None:
    statistics, _ = sums(200)
    n, damping = statistics.tokens, 0.3
    mean = statistics.label_K[0] / n
    pull = (statistics.pull_KDD[0] - mean * statistics.drift_KDD[0]) / n
    a, s = statistics.context_KDD[0] / n, statistics.spread_DD / n
    a, s = (x + damping * x.diagonal().mean() * torch.eye(WIDTH) for x in (a, s))
    first, second = Estimate.of(statistics, step=Step(damping=damping)).factors()
    torch.testing.assert_close(
        first @ second.T, torch.linalg.solve(a, pull) @ torch.linalg.inv(s), rtol=1e-6, atol=1e-9
    )


def test_the_constant_nears_the_true_one_as_texts_grow() -> None:
    found = []
    for texts in (30, 300, 3000):
        head, hidden, targets, label_B, _ = language(texts, strength=0.0, bias=1.0)
        residuals = Residuals(head)
        each = residuals(hidden, targets)
        spread = residuals.spread()
        sums = Statistics.of(hidden, each, lengths(label_B), label_B[:, None], spread_DD=spread)
        found.append(Estimate.of(sums, step=Step(damping=0.01)).bias().float())
    distances = [float((b - CONSTANT).norm() / CONSTANT.norm()) for b in found]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.15, "its size too, as one step reaches an optimum that is near"


def test_the_constant_is_the_gradient_of_the_log_likelihood_through_the_spread() -> None:
    head, hidden, targets, label_B, _ = language(60)
    labels = (label_B * torch.linspace(0.2, 1, 60))[:, None]
    residuals, label_N = Residuals(head), labels[:, 0].repeat_interleave(LENGTH)
    each = residuals(hidden, targets)
    sums = Statistics.of(hidden, each, lengths(label_B), labels, spread_DD=residuals.spread())
    b = torch.zeros(WIDTH, requires_grad=True)
    centered = label_N - label_N.mean()
    log_p = head(hidden + centered[:, None] * b).log_softmax(-1)[range(len(targets)), targets]
    (gradient,) = torch.autograd.grad(log_p.mean(), b)
    spread = residuals.spread() / len(targets)
    spread += 0.3 * spread.diagonal().mean() * torch.eye(WIDTH)
    expected = torch.linalg.solve(spread, gradient.double()) / label_N.square().mean()
    torch.testing.assert_close(Estimate.of(sums, step=Step(damping=0.3)).bias(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("context_damping", [None, 3.0])
def test_a_joint_step_is_that_of_contexts_with_a_one_beside_them(context_damping: float | None) -> None:
    """The oracle: one matrix of width D + 1 on ``[c 1]``, whose last context is not damped."""
    head, hidden, targets, label_B, _ = language(60, bias=0.5)
    hidden = hidden + torch.linspace(0.5, 1.5, WIDTH)
    labels = (label_B * torch.linspace(0.2, 1, 60))[:, None]
    residuals, label_N = Residuals(head), labels[:, 0].repeat_interleave(LENGTH).double()
    each = residuals(hidden, targets)
    sums = Statistics.of(hidden.double(), each, lengths(label_B), labels, spread_DD=residuals.spread())
    c = torch.cat([hidden.double(), torch.ones(len(hidden), 1)], dim=1)
    pull = c.T @ ((label_N - label_N.mean())[:, None] * each.double()) / len(c)
    curvature = (c * label_N.square()[:, None]).T @ c / len(c)
    square = label_N.square().mean()
    centred = curvature[:-1, :-1] - torch.outer(curvature[:-1, -1], curvature[:-1, -1]) / square
    share = (context_damping or 0.3) * centred.diagonal().mean()
    curvature[:-1, :-1] += share * torch.eye(WIDTH)
    spread = residuals.spread() / len(targets)
    spread += 0.3 * spread.diagonal().mean() * torch.eye(WIDTH)
    expected = torch.linalg.solve(curvature, pull) @ torch.linalg.inv(spread)
    estimate = Estimate.of(sums, step=Step(damping=0.3, context_damping=context_damping, centred=True))
    first, second = estimate.factors()
    torch.testing.assert_close(first @ second.T, expected[:-1], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(estimate.bias(), expected[-1], rtol=1e-5, atol=1e-7)


def test_with_contexts_damped_away_a_joint_step_is_the_constant_alone() -> None:
    statistics, _ = sums(60)
    joint = Estimate.of(statistics, step=Step(damping=0.3, context_damping=1e9, centred=True))
    alone = Estimate.of(statistics, step=Step(damping=0.3))
    torch.testing.assert_close(joint.bias(), alone.bias(), rtol=1e-5, atol=1e-8)
    assert joint.sizes_R[0] < 1e-3 * alone.sizes_R[0]


def test_beside_a_few_directions_the_constant_holds_what_they_do_in_the_mean_context() -> None:
    statistics, _ = sums(200)
    estimate = Estimate.of(statistics, step=Step(centred=True))
    mean_D = statistics.context_KD[0] / statistics.square_K[0]
    for rank in (0, 1, 5):
        first, second = estimate.factors(rank)
        in_the_mean = mean_D @ first @ second.T + estimate.bias(rank)
        torch.testing.assert_close(in_the_mean, Estimate.of(statistics).bias(), rtol=1e-6, atol=1e-9)


def test_sums_of_shards_are_those_of_the_whole() -> None:
    head, hidden, targets, label_B, _ = language(60)
    labels = torch.stack([label_B, label_B.roll(1)], dim=1)
    labels[20:30, 1] = torch.nan
    null = torch.stack([labels, -labels], dim=-1)

    def of(first: int, end: int) -> Statistics:
        residuals, texts, tokens = Residuals(head), slice(first, end), slice(first * LENGTH, end * LENGTH)
        found, count = residuals(hidden[tokens], targets[tokens]), lengths(label_B[texts])
        options = {"spread_DD": residuals.spread(), "null_BKP": null[texts]}
        return Statistics.of(hidden[tokens], found, count, labels[texts], **options)

    whole, shards = of(0, 60), of(0, 13) + of(13, 40) + of(40, 60)
    added = of(0, 13)
    added.add_(of(13, 60))
    for name, value in vars(whole).items():
        for parts in (shards, added):
            torch.testing.assert_close(getattr(parts, name), value, rtol=1e-5, atol=1e-5 * float(value.abs().max()))
    with pytest.raises(InputError, match="do not add up"):
        added.add_(Statistics.of(hidden, hidden, lengths(label_B), label_B[:, None]))


@pytest.mark.parametrize("few", [1, 99])
def test_sums_are_those_of_their_definition_token_by_token(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmsteer.one_pass.statistics.FEW", few)  # texts are weighed, or tokens
    monkeypatch.setattr("lmsteer.one_pass.statistics.BLOCK", 2 * WIDTH**2)  # two texts at once
    noise = torch.Generator().manual_seed(4)
    count = [3, 0, 7, 1, 5]
    c, d = torch.randn(2, sum(count), WIDTH, generator=noise)
    label = torch.tensor([[0.5, -1.0], [1.0, 1.0], [-1.0, torch.nan], [0.25, 0.0], [-0.5, 1.0]])
    null = torch.stack([label, label.flip(0).where(~label.isnan(), torch.nan).nan_to_num(0.3)], dim=-1)
    found = Statistics.of(c, d, torch.tensor(count), label, null_BKP=null)
    owner = [text for text, length in enumerate(count) for _ in range(length)]
    for k in range(2):
        known = [(t, b) for t, b in enumerate(owner) if not label[b, k].isnan()]
        y = {b: label[b, k].item() for _, b in known}
        outer = {t: torch.outer(c[t], d[t]) for t, _ in known}
        assert found.known_K[k] == len(known)
        assert found.label_K[k] == pytest.approx(sum(y[b] for _, b in known))
        for name, expected in {
            "pull_KDD": sum(y[b] * outer[t] for t, b in known),
            "drift_KDD": sum(outer[t] for t, _ in known),
            "context_KDD": sum(y[b] ** 2 * torch.outer(c[t], c[t]) for t, b in known),
        }.items():
            torch.testing.assert_close(getattr(found, name)[k].float(), expected, rtol=1e-5, atol=1e-5)
        plainly = {
            "pull_KD": sum(y[b] * d[t] for t, b in known),
            "drift_KD": sum(d[t] for t, _ in known),
            "context_KD": sum(y[b] ** 2 * c[t] for t, b in known),
        }
        for name, vector in plainly.items():
            torch.testing.assert_close(getattr(found, name)[k].float(), vector, rtol=1e-5, atol=1e-5)
        assert found.square_K[k] == pytest.approx(sum(y[b] ** 2 for _, b in known))
        moved = sum(null[b, k, 1].item() * torch.outer(c[t], d[t]) for t, b in enumerate(owner))
        torch.testing.assert_close(found.null_pull_KPDD[k, 1], moved, rtol=1e-5, atol=1e-5)
        alone = sum(null[b, k, 1].item() * d[t] for t, b in enumerate(owner))
        torch.testing.assert_close(found.null_pull_KPD[k, 1].float(), alone, rtol=1e-5, atol=1e-5)
        assert found.null_label_KP[k, 1] == pytest.approx(sum(null[b, k, 1].item() for b in owner), rel=1e-6)
    assert found.tokens == 16


def test_texts_without_a_label_count_for_the_spread_alone() -> None:
    head, hidden, targets, label_B, _ = language(40)
    labels = label_B[:, None].clone()
    labels[10:] = torch.nan
    residuals, count = Residuals(head)(hidden, targets), lengths(label_B)
    some = Statistics.of(hidden, residuals, count, labels)
    few = Statistics.of(hidden[:100], residuals[:100], count[:10], labels[:10])
    for name in vars(few).keys() - {"tokens", "spread_DD"}:
        torch.testing.assert_close(getattr(some, name), getattr(few, name))
    assert some.tokens == 400


def test_a_style_that_all_texts_share_is_no_direction() -> None:
    """Labels that are moved by a constant give the same pull: the mean is taken out."""
    head, hidden, targets, label_B, _ = language(300)
    residuals = Residuals(head)
    found = residuals(hidden, targets)
    labels, count = label_B[:, None], lengths(label_B)
    one, moved = (
        Estimate.of(Statistics.of(hidden, found, count, own, spread_DD=residuals.spread()), step=Step(damping=1.0))
        for own in (labels * 0.5, labels * 0.5 + 0.25)
    )
    p1, p2 = one.factors()
    q1, q2 = moved.factors()
    assert cosine(p1 @ p2.T, q1 @ q2.T) > 0.99


def test_shuffled_labels_keep_no_direction_in_95_of_100_shuffles() -> None:
    texts, permutations = 80, 39
    head, hidden, targets, label_B, _ = language(texts, strength=1.0)
    residuals = Residuals(head)
    found = residuals(hidden, targets)
    mean = label_B.mean()
    left, right = whitener(hidden.T.double() @ hidden.double(), 1.0), whitener(residuals.spread(), 1.0)
    by_text = torch.einsum("btd,bte->bde", *(x.reshape(texts, LENGTH, WIDTH).double() for x in (hidden, found)))
    by_text = left @ by_text @ right
    kept = 0
    for shuffle in range(100):
        labels = permuted(label_B[:, None], permutations + 1, seed=shuffle)[:, 0].double() - mean
        largest = torch.linalg.matrix_norm(torch.einsum("bp,bde->pde", labels, by_text), ord=2)
        kept += above(largest[:1], largest[1:]) > 0
    assert kept <= 5
    true = torch.linalg.matrix_norm(torch.einsum("b,bde->de", (label_B - mean).double(), by_text), ord=2)
    assert above(true[None], largest[1:]) == 1, "labels that mean something stand out"


@pytest.mark.parametrize("centred", [False, True])
def test_the_null_of_the_sums_is_the_estimate_of_labels_that_have_changed_places(centred: bool) -> None:
    head, hidden, targets, label_B, _ = language(60)
    residuals = Residuals(head)
    found = residuals(hidden, targets)
    null_BKP = permuted(label_B[:, None], 39, seed=5)
    spread, count = residuals.spread(), lengths(label_B)
    sums = Statistics.of(hidden, found, count, label_B[:, None], spread_DD=spread, null_BKP=null_BKP)
    estimate, other = (
        Estimate.of(own, step=Step(centred=centred))
        for own in (sums, Statistics.of(hidden, found, count, null_BKP[:, :, 7], spread_DD=spread))
    )
    torch.testing.assert_close(estimate.null_P[7], other.sizes_R[0], rtol=1e-5, atol=1e-8)


def test_permutations_move_labels_between_texts_that_have_one() -> None:
    labels = torch.tensor([[1.0, torch.nan], [-1.0, 0.5], [0.5, -0.5], [0.25, torch.nan]])
    found = permuted(labels, 50, seed=1)
    assert found.shape == (4, 2, 50)
    assert torch.equal(found.isnan(), labels.isnan()[..., None].expand_as(found))
    assert torch.equal(found[:, 0].sort(0).values, labels[:, 0].sort().values[:, None].expand(4, 50))
    assert torch.allclose(found, permuted(labels, 50, seed=1), equal_nan=True)
    assert not torch.allclose(found, permuted(labels, 50, seed=2), equal_nan=True)
    assert len({tuple(column.tolist()) for column in found[:, 0].T}) > 10


def test_the_threshold_leaves_a_chance_of_a_fortieth() -> None:
    null = torch.arange(39.0).flip(0)
    assert threshold(null) == 38.0
    assert threshold(torch.arange(79.0)) == 77.0, "79 permutations: the second largest of 80 values"
    assert above(torch.tensor([40.0, 38.5, 38.0, 1.0]), null) == 2
    check_permutations(0)
    check_permutations(39)
    with pytest.raises(InputError, match=r"steer\.permutations=38: 0 \(no null\), or 39 and more"):
        check_permutations(38)


def test_statistics_are_read_as_they_were_written(tmp_path: Path) -> None:
    found, _ = sums(20, 3)
    found.save(tmp_path / "sums.safetensors")
    again = Statistics.load(tmp_path / "sums.safetensors")
    assert all(torch.equal(getattr(again, name), value) for name, value in vars(found).items())
    assert [path.name for path in tmp_path.iterdir()] == ["sums.safetensors"]
    for content in (b"", b"nothing of the kind"):
        (tmp_path / "sums.safetensors").write_bytes(content)
        with pytest.raises(InputError, match=r"sums\.safetensors: not a file of statistics"):
            Statistics.load(tmp_path / "sums.safetensors")


def test_what_cannot_be_estimated_is_refused() -> None:
    head, hidden, targets, label_B, _ = language(20)
    residuals, count = Residuals(head)(hidden, targets), lengths(label_B)
    alike = Statistics.of(hidden, residuals, count, torch.full((20, 1), 0.7))
    with pytest.raises(InputError, match="labels are all alike"):
        Estimate.of(alike)
    with pytest.raises(InputError, match="no labelled token"):
        Estimate.of(Statistics.of(hidden, residuals, count, torch.full((20, 1), torch.nan)))
    with pytest.raises(InputError, match=r"steer\.damping=0"):
        Estimate.of(alike, step=Step(damping=0))
    with pytest.raises(InputError, match="do not add up"):
        alike + Statistics.of(hidden, residuals, count, torch.zeros(20, 2))
