"""Promises of the profanity scorer."""

from importlib.metadata import version

import profanity_check
import pytest

from lmsteer.scoring.alt_profanity_check import ProfanityScorer


def test_each_score_is_the_packages_own() -> None:
    texts = ["what the hell", "", "a quiet day", "damn it"]
    alone = [float(profanity_check.predict_prob([text])[0]) for text in texts]
    assert ProfanityScorer()(texts).tolist() == pytest.approx(alone)


def test_it_is_pinned_by_the_packages_version_and_reserves_nothing() -> None:
    scorer = ProfanityScorer(name="other")
    assert version("alt-profanity-check") in scorer.revision
    assert (scorer.name, scorer.reserved) == ("other", frozenset())
