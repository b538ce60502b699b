"""Promises of the study of highlighting: what is counted, what is chosen, what is deleted."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from tests.handmade_commands import study_config, write_steer
from torch import Tensor

from experiments.highlighting import deletions
from experiments.highlighting import run as study
from experiments.highlighting.classifier import (
    GRID,
    GROUPS,
    Variant,
    choose_variant,
    measure_classifier,
    score_rows,
    variants,
)
from experiments.highlighting.deletions import choose_tokens, delete_tokens, measure_deletions, shorten_texts
from experiments.highlighting.report import deletion_figure, highlighting_tables
from experiments.highlighting.run import highlighting, sort_by_hash
from lmsteer.analysis.token_evidence import TextLogProbs, text_log_probs
from lmsteer.data.corpus import Corpus
from lmsteer.metrics.posterior import mean_strength, posterior
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Row
from lmsteer.steering.steer import Steer

ROWS = [Row("The film is warm and funny", 0.5), Row("dull and slow", -0.2), Row("so", 0.05), Row("why nobody", 0.0)]


def test_scores_are_those_of_the_readings(tiny_model: LanguageModel, steer: Steer) -> None:
    candidates = variants(steer)
    scores = dict(zip(candidates, score_rows(tiny_model, steer, ROWS, candidates), strict=True))
    for dummy in (False, True):
        named = [{"sentiment": strength, "dummy": float(dummy)} for strength in GRID]
        for row, reading in enumerate(text_log_probs(tiny_model, steer, [row.text for row in ROWS], named)):
            for first in (True, False):
                log_p = reading.log_p_ST.double()[:, 0 if first else 1 :]
                loglik, tokens = log_p.sum(1), max(log_p.shape[1], 1)
                ratio = (loglik[GRID.index(2)] - loglik[GRID.index(-2)]).item()
                mean = mean_strength(GRID, posterior(loglik.tolist()))
                measured = [
                    scores[Variant(dummy, strength, per_token, first)][row]
                    for strength, per_token in ((2, False), (2, True), (None, False))
                ]
                assert measured == pytest.approx([ratio, ratio / tokens, mean], abs=1e-4)


def test_variants_are_distinct_and_the_default_comes_first(steer: Steer) -> None:
    candidates = variants(steer)
    assert candidates[0] == Variant()
    assert len({variant.name for variant in candidates}) == len(candidates) == 36
    assert candidates[0].name == "±5, dummy off"
    assert not any(variant.dummy for variant in variants(Steer(8, dimensions=["tone"], rank=2)))


def test_measures_count_the_rows_with_a_clear_label() -> None:
    noise = random.Random(0)
    rows = [Row(str(n), noise.choice([-0.8, -0.3, 0.0, 0.1, 0.6])) for n in range(200)]
    scores = np.array([row.label + noise.gauss(0, 0.5) for row in rows])
    for least in (0.0, 0.1, 0.4):
        clear = [n for n, row in enumerate(rows) if row.label and abs(row.label) >= least]
        truth = [rows[n].label > 0 for n in clear]
        measured = measure_classifier(scores, rows, 0.2, least_label=least)
        assert measured["rows"] == len(clear)
        assert measured["positive"] == pytest.approx(sum(truth) / len(clear))
        right = sum((scores[n] > 0.2) == kind for n, kind in zip(clear, truth, strict=True))
        assert measured["accuracy"]["value"] == pytest.approx(right / len(clear))
        assert measured["auc"]["value"] == pytest.approx(roc_auc_score(truth, scores[clear]))


def test_the_variant_with_the_highest_area_is_chosen_with_its_own_threshold() -> None:
    rows = [Row(str(n), label) for n, label in enumerate([-0.5, -0.4, 0.3, 0.9])]
    good, bad = np.array([1.0, 2.0, 5.0, 6.0]), np.array([3.0, 1.0, 2.0, 4.0])
    choice = choose_variant([(Variant(), bad), (Variant(True), good), (Variant(True, 1.0), good)], rows)
    assert choice["chosen"] == 1
    assert choice["variants"][1] == {
        "variant": "±5, dummy on",
        "auc": 1.0,
        "accuracy": 0.5,
        "threshold": 3.5,
        "accuracy_at_threshold": 1.0,
    }


def test_rows_without_a_side_are_left_out_and_the_choice_is_fixed() -> None:
    chosen = sort_by_hash(ROWS, 2)
    assert chosen == sort_by_hash(ROWS[::-1], 2)
    assert sort_by_hash(ROWS, None)[:2] == chosen
    assert ROWS[3] not in sort_by_hash(ROWS, None)


def test_deleted_tokens_are_gone_and_the_others_stay() -> None:
    text, offsets = "A warm日film.", ((0, 1), (1, 6), (6, 7), (6, 7), (7, 11), (11, 12))
    assert delete_tokens(text, offsets, []) == text
    assert delete_tokens(text, offsets, [0]) == "warm日film."
    assert delete_tokens(text, offsets, [1, 5]) == "A日film"
    assert delete_tokens(text, offsets, [3]) == delete_tokens(text, offsets, [2]) == "A warmfilm."


def test_as_many_tokens_are_chosen_in_every_order() -> None:
    evidence = np.array([0.5, -1.0, 3.0, 0.0, 2.0, -2.0])
    choices = choose_tokens(evidence, 2, 50, np.random.default_rng(0))
    assert sorted(choices["most evidence"][0]) == [2, 4]
    assert sorted(choices["least evidence"][0]) == [1, 5]
    assert all(len(set(drawn.tolist())) == 2 for drawn in choices["random"])
    assert {token for drawn in choices["random"] for token in drawn.tolist()} == set(range(6))


def word_reading(text: str) -> TextLogProbs:
    """Evidence +1 for every "good", -1 for every "bad", as if the model read words."""
    words = text.split(" ")
    ends = [len(" ".join(words[: number + 1])) for number in range(len(words))]
    starts = [0, *ends[:-1]]
    evidence = [{"good": 1.0, "bad": -1.0}.get(word, 0.0) for word in words]
    log_p = torch.tensor([evidence, [0.0] * len(words)])
    return TextLogProbs(tuple(range(len(words))), tuple(zip(starts, ends, strict=True)), log_p)


class CountingScorer:
    """A scorer that counts the same words."""

    name, revision, reserved = "counter", "1", frozenset[str]()

    def __call__(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([0.5 + 0.02 * (text.count("good") - text.count("bad")) for text in texts])


def test_evidence_is_turned_to_the_side_of_the_text() -> None:
    text = "bad the good bad bad the the the the the"
    shortened = shorten_texts([text], [word_reading(text)], 1, 0)
    assert shortened["0.1"]["most evidence"] == [["the good bad bad the the the the the"]]
    assert shortened["0.2"]["most evidence"] == [["the good bad the the the the the"]]
    assert shortened["0.3"]["most evidence"] == [["the good the the the the the"]]
    assert "good" not in shortened["0.1"]["least evidence"][0][0]


def test_a_scorer_of_the_same_words_falls_most_where_evidence_is_deleted_and_the_picture_draws_it(
    tiny_model: LanguageModel, steer: Steer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        deletions, "text_log_probs", lambda model, steer, texts, strengths: list(map(word_reading, texts))
    )
    noise = random.Random(0)
    texts = [" ".join(noise.choice(["good", "bad", "the"]) for _ in range(20)) for _ in range(30)] + ["good"]
    results = measure_deletions(tiny_model, steer, texts, [CountingScorer()], None, strength=5.0, draws=4, seed=0)
    assert results["texts"] == 30  # the last one is too short
    by_share = results["scorers"]["counter"]
    for share, by_order in by_share.items():
        falls = {order: row["fall"]["value"] for order, row in by_order.items()}
        assert falls["most evidence"] == pytest.approx(0.02 * round(float(share) * 20), abs=0.01)
        assert falls["least evidence"] < falls["random"] < falls["most evidence"]
        for order, row in by_order.items():
            assert row["beyond_random"]["value"] == pytest.approx(falls[order] - falls["random"])
    (axes,) = deletion_figure(results).axes
    for line, order in zip(axes.lines, ("most evidence", "random", "least evidence"), strict=False):
        drawn = np.asarray(line.get_ydata()).tolist()
        assert drawn == pytest.approx([by_order[order]["fall"]["value"] for by_order in by_share.values()])


@pytest.fixture
def small_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine rows in place of each embedded set."""
    noise = random.Random(0)

    def rows(name: str) -> tuple[Row, ...]:
        texts = [
            f"the {name} {n} is {noise.choice(['warm', 'dull'])} and far too long for what it says" for n in range(9)
        ]
        return tuple(Row(text, 0.5 if "warm" in text else -0.5) for text in texts)

    corpus = Corpus("snippets", rows("train"), dev=rows("dev"), test=rows("test"))
    reviews = list(rows("thing"))
    monkeypatch.setattr(study, "snippets", lambda: corpus)
    monkeypatch.setattr(study, "product_reviews", lambda corpus, limit: reviews)


@pytest.mark.usefixtures("small_sets")
def test_a_run_leaves_its_files_and_a_repeated_one_measures_nothing(
    steer: Steer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steer_file, folder = write_steer(tmp_path / "steer.safetensors", steer, training={"steps": 7}), tmp_path / "out"
    options = ["model=tiny", f"steer_file={steer_file}", "cache=off", "draws=2"]
    options += [f"run_dir={folder}", "scorer@scorers=[alt-profanity-check]"]
    results = highlighting(study_config("highlighting", *options))
    names = {".lock", "config.yaml", "highlighting.json", "highlighting.md", "highlighting.png"}
    assert {path.name for path in folder.iterdir()} == names
    assert results["faithfulness"]["texts"] == 9
    measured = results["steers"][str(steer_file)]["sets"]["product reviews"]["default, threshold 0"]
    assert set(measured) == {"variant", "threshold", *GROUPS}
    text = highlighting_tables(results)
    assert "7 steps, rank 4: default, threshold 0" in text
    assert (folder / "highlighting.md").read_text(encoding="utf-8") == text + "\n"
    monkeypatch.setattr(study, "measure_steer", None)
    assert highlighting(study_config("highlighting", *options)) == results
