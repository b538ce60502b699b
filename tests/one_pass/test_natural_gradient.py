"""Promises of the one-pass estimator, on a small synthetic language whose best steer is known."""

import pytest
import torch
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.models.head import Head
from lmsteer.one_pass.gradients import LoglikGradients
from lmsteer.one_pass.natural_gradient import Estimate, inverse_root
from lmsteer.one_pass.one_pass_solver import OnePassSolver, StepConfig
from lmsteer.one_pass.permutation_test import count_significant, permute_labels, threshold
from lmsteer.one_pass.statistics import Statistics

WIDTH, VOCABULARY, LENGTH = 12, 60, 10
BIAS = torch.linspace(1, -1, WIDTH) / 4


class Language:
    """Texts of one label each, whose tokens are drawn from the model steered by ``label * (h M + bias * BIAS)``.

    ``matrix`` is M (rank 1, as it acts on row vectors): by construction the optimum of the log-likelihood for ever more
    texts.
    """

    def __init__(self, texts: int, *, strength: float = 0.25, bias: float = 0.0) -> None:
        noise = torch.Generator().manual_seed(0)
        head = Head(torch.randn(VOCABULARY, WIDTH, generator=noise) * torch.linspace(0.3, 1.2, WIDTH))
        left, right = torch.randn(2, WIDTH, generator=noise)
        self.matrix = strength * torch.outer(left, right) / left.norm() / right.norm()
        self.label_B = 2.0 * torch.randint(2, (texts,), generator=noise) - 1
        self.hidden = torch.randn(texts * LENGTH, WIDTH, generator=noise) * torch.linspace(1.2, 0.4, WIDTH)
        shift = self.by_token(self.label_B)[:, None] * (self.hidden @ self.matrix + bias * BIAS)
        self.targets = torch.multinomial(head(self.hidden + shift).softmax(-1), 1, generator=noise)[:, 0]
        self.head = head

    @staticmethod
    def by_token(label_B: Tensor) -> Tensor:
        return label_B.repeat_interleave(LENGTH)

    def gradients(self) -> tuple[Tensor, Tensor]:
        """Gradients (N, D) and their Fisher information (D, D)."""
        gradients = LoglikGradients(self.head)
        return gradients(self.hidden, self.targets), gradients.fisher()

    def sums(self, label_B: Tensor | None = None, permuted_BP: Tensor | None = None) -> Statistics:
        label_B, (gradient, fisher) = self.label_B if label_B is None else label_B, self.gradients()
        lengths = torch.full((len(label_B),), LENGTH)
        return Statistics.from_tokens(
            self.hidden, gradient, lengths, label_B, fisher_DD=fisher, permuted_BP=permuted_BP
        )

    def damped_fisher(self, damping: float) -> Tensor:
        fisher = self.gradients()[1] / len(self.targets)
        return fisher + damping * fisher.diagonal().mean() * torch.eye(WIDTH)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0))


def matrix(estimate: Estimate, rank: int | None = None) -> Tensor:
    p1, p2 = estimate.factors(rank)
    return p1 @ p2.T


def test_the_estimate_converges_to_the_true_direction_which_needs_the_preconditioning() -> None:
    cosines = []
    for texts in (30, 300, 3000):
        language = Language(texts, strength=0.5)
        statistics = language.sums()
        estimate = Estimate.from_statistics(statistics, StepConfig(damping=0.01))
        cosines.append(cosine(matrix(estimate, 1), language.matrix))
    assert cosines == sorted(cosines)
    assert cosines[-1] > 0.95
    left, _, right = torch.linalg.svd(statistics.label_moment_DD)
    assert cosines[-1] > cosine(torch.outer(left[:, 0], right[0]), language.matrix) + 0.05


def test_the_significant_directions_are_nearer_than_all_of_them() -> None:
    language = Language(3000)
    statistics = language.sums(permuted_BP=permute_labels(language.label_B, 39))
    estimate = Estimate.from_statistics(statistics, StepConfig(damping=0.01))
    assert count_significant(estimate.singular_values_R, estimate.null_P) == 1, "the true matrix has rank 1"
    truncated = cosine(matrix(estimate, 1), language.matrix)
    assert truncated > max(0.9, cosine(matrix(estimate), language.matrix))


def test_the_bias_converges_to_the_true_one() -> None:
    distances = []
    for texts in (30, 300, 3000):
        statistics = Language(texts, strength=0.0, bias=1.0).sums()
        bias = Estimate.from_statistics(statistics, StepConfig(damping=0.01)).bias().float()
        distances.append(float((bias - BIAS).norm() / BIAS.norm()))
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.15, "its size too, as one step reaches an optimum that is near"


def test_the_bias_alone_is_the_preconditioned_gradient_of_the_log_likelihood() -> None:
    language = Language(60)
    label_B = language.label_B * torch.linspace(0.2, 1, 60)
    label_N = language.by_token(label_B)
    b = torch.zeros(WIDTH, requires_grad=True)
    centered = label_N - label_N.mean()
    logits = language.head(language.hidden + centered[:, None] * b)
    log_p = logits.log_softmax(-1)[range(len(language.targets)), language.targets]
    (gradient,) = torch.autograd.grad(log_p.mean(), b)
    expected = torch.linalg.solve(language.damped_fisher(0.3), gradient.double()) / label_N.square().mean()
    estimate = Estimate.from_statistics(language.sums(label_B), StepConfig(damping=0.3))
    torch.testing.assert_close(estimate.bias(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("context_damping", [None, 3.0])
@pytest.mark.parametrize("centered", [False, True])
def test_the_step_is_its_formula(context_damping: float | None, centered: bool) -> None:
    """The oracle of a joint step: one matrix of width D + 1 on ``[h 1]``, whose last context is not damped."""
    language = Language(60, bias=0.5)
    language.hidden = language.hidden.double() + torch.linspace(0.5, 1.5, WIDTH)
    label_B = language.label_B * torch.linspace(0.2, 1, 60)
    label_N = language.by_token(label_B).double()
    h = language.hidden
    context = torch.cat([h, torch.ones(len(h), 1)], dim=1) if centered else h
    gradient = context.T @ ((label_N - label_N.mean())[:, None] * language.gradients()[0].double()) / len(h)
    curvature = (context * label_N.square()[:, None]).T @ context / len(h)
    mean_D = (h * label_N.square()[:, None]).mean(0) * centered
    within = curvature[:WIDTH, :WIDTH] - torch.outer(mean_D, mean_D) / label_N.square().mean()
    curvature[:WIDTH, :WIDTH] += (context_damping or 0.3) * within.diagonal().mean() * torch.eye(WIDTH)
    expected = torch.linalg.solve(curvature, gradient) @ torch.linalg.inv(language.damped_fisher(0.3))
    step = StepConfig(damping=0.3, context_damping=context_damping, centered=centered)
    estimate = Estimate.from_statistics(language.sums(label_B), step)
    torch.testing.assert_close(matrix(estimate), expected[:WIDTH], rtol=1e-5, atol=1e-7)
    if centered:
        torch.testing.assert_close(estimate.bias(), expected[-1], rtol=1e-5, atol=1e-7)


def test_in_the_mean_context_a_joint_step_is_the_bias_alone_at_every_rank() -> None:
    statistics = Language(200).sums()
    estimate = Estimate.from_statistics(statistics, StepConfig(centered=True))
    mean_D = statistics.context_D / statistics.label_square
    expected = Estimate.from_statistics(statistics).bias()
    for rank in (0, 1, 5):
        shift = mean_D @ matrix(estimate, rank) + estimate.bias(rank)
        torch.testing.assert_close(shift, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("batched_weightings", [1, 99])
def test_sums_are_those_of_their_definition_and_add_up(
    batched_weightings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmsteer.one_pass.statistics.BATCHED_WEIGHTINGS", batched_weightings)
    monkeypatch.setattr("lmsteer.one_pass.statistics.MATRIX_ELEMENTS", 2 * WIDTH**2)  # two texts per block
    noise = torch.Generator().manual_seed(4)
    lengths = torch.tensor([3, 0, 7, 1, 5])
    h, d = torch.randn(2, 16, WIDTH, generator=noise)
    label, permuted = torch.tensor([0.5, 1.0, -1.0, 0.25, -0.5]), torch.randn(5, 2, generator=noise)
    statistics = Statistics.from_tokens(h, d, lengths, label, fisher_DD=torch.eye(WIDTH), permuted_BP=permuted)
    y, z = label.repeat_interleave(lengths), permuted.repeat_interleave(lengths, dim=0)
    expected = {
        "tokens": torch.tensor(16.0),
        "fisher_DD": torch.eye(WIDTH),
        "label_sum": y.sum(),
        "label_square": y.square().sum(),
        "context_DD": torch.einsum("n,ni,nj->ij", y.square(), h, h),
        "context_D": torch.einsum("n,ni->i", y.square(), h),
        "label_moment_DD": torch.einsum("n,ni,nj->ij", y, h, d),
        "cross_moment_DD": torch.einsum("ni,nj->ij", h, d),
        "label_moment_D": torch.einsum("n,ni->i", y, d),
        "cross_moment_D": d.sum(0),
        "permuted_label_sum_P": z.sum(0),
        "permuted_moment_PD": torch.einsum("np,ni->pi", z, d),
        "permuted_moment_PDD": torch.einsum("np,ni,nj->pij", z, h, d),
    }
    total = Statistics.from_tokens(h[:3], d[:3], lengths[:2], label[:2], permuted_BP=permuted[:2])
    rest = Statistics.from_tokens(
        h[3:], d[3:], lengths[2:], label[2:], fisher_DD=torch.eye(WIDTH), permuted_BP=permuted[2:]
    )
    total.add_(rest)
    assert vars(statistics).keys() == expected.keys()
    for name, value in expected.items():
        for sums in (statistics, total):
            torch.testing.assert_close(getattr(sums, name).float(), value.float(), rtol=1e-5, atol=1e-5)
    with pytest.raises(InputError, match="do not add up"):
        total.add_(Statistics.from_tokens(h, d, lengths, label))


def test_shuffled_labels_keep_no_direction_in_95_of_100_shuffles() -> None:
    texts, permutations = 80, 39
    language = Language(texts, strength=1.0)
    gradient, fisher = language.gradients()
    mean = language.label_B.mean()
    left, right = inverse_root(language.hidden.T.double() @ language.hidden.double(), 1.0), inverse_root(fisher, 1.0)
    h_BTD, d_BTD = (x.reshape(texts, LENGTH, WIDTH).double() for x in (language.hidden, gradient))
    by_text = left @ torch.einsum("btd,bte->bde", h_BTD, d_BTD) @ right
    rejections = 0
    for shuffle in range(100):
        labels = permute_labels(language.label_B, permutations + 1, seed=shuffle).double() - mean
        largest = torch.linalg.matrix_norm(torch.einsum("bp,bde->pde", labels, by_text), ord=2)
        rejections += count_significant(largest[:1], largest[1:]) > 0
    assert rejections <= 5
    true = torch.linalg.matrix_norm(torch.einsum("b,bde->de", (language.label_B - mean).double(), by_text), ord=2)
    assert count_significant(true[None], largest[1:]) == 1, "the true labels are significant"


@pytest.mark.parametrize("centered", [False, True])
def test_the_null_distribution_is_that_of_estimates_of_permuted_labels(centered: bool) -> None:
    language, step = Language(60), StepConfig(centered=centered)
    permuted_BP = permute_labels(language.label_B, 39, seed=5)
    estimate = Estimate.from_statistics(language.sums(permuted_BP=permuted_BP), step)
    expected = Estimate.from_statistics(language.sums(permuted_BP[:, 7]), step)
    torch.testing.assert_close(estimate.null_P[7], expected.singular_values_R[0], rtol=1e-5, atol=1e-8)


def test_permutations_shuffle_labels_by_seed() -> None:
    labels = torch.tensor([1.0, -1.0, 0.5, 0.25])
    permuted = permute_labels(labels, 50, seed=1)
    assert permuted.shape == (4, 50)
    assert torch.equal(permuted.sort(0).values, labels.sort().values[:, None].expand(4, 50))
    assert torch.equal(permuted, permute_labels(labels, 50, seed=1))
    assert not torch.equal(permuted, permute_labels(labels, 50, seed=2))
    assert len({tuple(column.tolist()) for column in permuted.T}) > 10


def test_the_threshold_is_exceeded_with_probability_one_in_forty() -> None:
    null = torch.arange(39.0).flip(0)
    assert threshold(null) == 38.0
    assert threshold(torch.arange(79.0)) == 77.0, "79 permutations: the second largest of 80 values"
    assert count_significant(torch.tensor([40.0, 38.5, 38.0, 1.0]), null) == 2
    for enough in (0, 39):
        assert OnePassSolver(permutations=enough).permutations == enough
    with pytest.raises(InputError, match=r"solver\.permutations=38: 0 \(no permutation test\), or 39 and more"):
        OnePassSolver(permutations=38)
