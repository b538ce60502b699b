"""Promises of agreement: the published examples, and a naive second version over pairs of ratings."""

import itertools

import numpy as np
import pytest

from lmsteer.annotation.agreement import count_ratings, fleiss_kappa, krippendorff_alpha, raw_agreement

KRIPPENDORFF = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""
"""Four observers and twelve units (Krippendorff 2011, section C); a dot is a missing value."""
FLEISS = (
    "00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 10050 11040 03300 10050 02031 "
    "00501 30012 51000 02040 10203 00006 01050 02013 20040 10041 05010 40002 02040 10500 00006"
)
"""Six psychiatrists and thirty patients (Fleiss 1971, table 1): counts of five diagnoses."""


def krippendorff_counts() -> np.ndarray:
    observers = [line.split() for line in KRIPPENDORFF.strip().splitlines()]
    return count_ratings(([value for value in unit if value != "."] for unit in zip(*observers, strict=True)), "12345")


def test_krippendorffs_own_example() -> None:
    counts = krippendorff_counts()
    assert round(krippendorff_alpha(counts) or 0, 3) == 0.743
    assert round(krippendorff_alpha(counts, "ordinal") or 0, 3) == 0.815


def test_fleiss_own_example() -> None:
    counts = np.array([[int(sign) for sign in subject] for subject in FLEISS.split()], float)
    assert counts.sum(0).tolist() == [26, 26, 30, 55, 43]
    assert round(fleiss_kappa(counts) or 0, 3) == 0.430


def naive_alpha(units: list[list[int]], distance: list[list[float]]) -> float:
    """Alpha over all ordered pairs of ratings, as its definition says."""
    units = [unit for unit in units if len(unit) > 1]
    ratings = [rating for unit in units for rating in unit]
    observed = sum(distance[a][b] / (len(unit) - 1) for unit in units for a, b in itertools.permutations(unit, 2))
    expected = sum(distance[a][b] for a, b in itertools.permutations(ratings, 2)) / (len(ratings) - 1)
    return 1 - observed / expected


def ordinal_distances(units: list[list[int]]) -> list[list[float]]:
    totals = [sum(unit.count(k) for unit in units if len(unit) > 1) for k in range(3)]
    return [
        [float(sum(totals[min(a, b) : max(a, b) + 1]) - (totals[a] + totals[b]) / 2) ** 2 for b in range(3)]
        for a in range(3)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_random_ratings_with_missing_raters_agree_with_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    units = [rng.integers(3, size=rng.integers(5)).tolist() for _ in range(20)]
    counts = count_ratings([[str(rating) for rating in unit] for unit in units], "012")
    nominal = [[float(a != b) for b in range(3)] for a in range(3)]
    assert krippendorff_alpha(counts) == pytest.approx(naive_alpha(units, nominal))
    assert krippendorff_alpha(counts, "ordinal") == pytest.approx(naive_alpha(units, ordinal_distances(units)))
    pairs = [[a == b for a, b in itertools.combinations(unit, 2)] for unit in units if len(unit) > 1]
    assert raw_agreement(counts) == pytest.approx(np.mean([np.mean(unit) for unit in pairs]))


def test_perfect_and_chance_agreement_are_one_and_about_zero() -> None:
    rng = np.random.default_rng(0)
    same = count_ratings([[choice] * 3 for choice in "abcab"], "abc")
    assert krippendorff_alpha(same) == fleiss_kappa(same) == raw_agreement(same) == 1
    random = count_ratings(([*rng.choice([*"abc"], 3)] for _ in range(3000)), "abc")
    assert krippendorff_alpha(random) == pytest.approx(0, abs=0.03)
    assert fleiss_kappa(random) == pytest.approx(0, abs=0.03)


def test_what_is_not_defined_is_none() -> None:
    single, constant = count_ratings([["a"], []], "ab"), count_ratings([["a", "a"]], "ab")
    assert krippendorff_alpha(single) is fleiss_kappa(single) is raw_agreement(single) is None
    assert krippendorff_alpha(constant) is fleiss_kappa(constant) is None
