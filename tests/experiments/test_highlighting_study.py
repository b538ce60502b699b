"""Promises of the study of highlighting: what is counted, what is chosen, what is deleted."""

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from sklearn.metrics import roc_auc_score
from torch import Tensor

from experiments.highlighting import faithfulness as deleting
from experiments.highlighting import run as study
from experiments.highlighting.classifier import GRID, Likelihoods, Variant, choice, judged, read, variants
from experiments.highlighting.faithfulness import deletions, faithfulness, shortened, without
from experiments.highlighting.figure import faithfulness_figure
from experiments.highlighting.report import markdown
from experiments.highlighting.rows import GROUPS, by_hash
from experiments.highlighting.run import KEYS, KINDS, highlighting
from lmsteer.analysis.token_evidence import Reading, readings
from lmsteer.cli.configuration import CONF, entry_point, resolved
from lmsteer.data.corpus import Corpus
from lmsteer.metrics.posterior import mean_strength, posterior
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Row
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import Provenance, save_steer

ROWS = [Row("The film is warm and funny", 0.5), Row("dull and slow", -0.2), Row("so", 0.05), Row("why nobody", 0.0)]


@pytest.fixture
def likelihoods(tiny_model: LanguageModel, steer: Steer) -> dict[bool, Likelihoods]:
    return read(tiny_model, steer, ROWS, variants(steer))


def test_scores_are_those_of_the_readings(
    tiny_model: LanguageModel, steer: Steer, likelihoods: dict[bool, Likelihoods]
) -> None:
    for dummy in (False, True):
        named = [{"sentiment": strength, "dummy": float(dummy)} for strength in GRID]
        for row, reading in enumerate(readings(tiny_model, steer, [row.text for row in ROWS], named)):
            for first in (True, False):
                log_p = reading.log_p_ST.double()[:, 0 if first else 1 :]
                nats, tokens = log_p.sum(1), max(log_p.shape[1], 1)
                expected = (nats[GRID.index(2)] - nats[GRID.index(-2)]).item()
                ways = [
                    Variant(dummy, strength, rate, first) for strength, rate in ((2, False), (2, True), (None, False))
                ]
                scores = [way.scores(likelihoods[dummy])[row] for way in ways]
                mean = mean_strength(GRID, posterior(nats.tolist()))
                assert scores == pytest.approx([expected, expected / tokens, mean], abs=1e-4)


def test_variants_are_distinct_and_the_default_comes_first(steer: Steer) -> None:
    ways = variants(steer)
    assert ways[0] == Variant()
    assert len({way.name for way in ways}) == len(ways) == 36
    assert ways[0].name == "±5, dummy off"
    assert not any(way.dummy for way in variants(Steer(8, dimensions=["tone"], rank=2)))


def test_figures_count_the_rows_that_are_clear_enough() -> None:
    noise = random.Random(0)
    rows = [Row(str(n), noise.choice([-0.8, -0.3, 0.0, 0.1, 0.6])) for n in range(200)]
    scores = np.array([row.label + noise.gauss(0, 0.5) for row in rows])
    for least in (0.0, 0.1, 0.4):
        clear = [n for n, row in enumerate(rows) if row.label and abs(row.label) >= least]
        truth = [rows[n].label > 0 for n in clear]
        one = judged(scores, rows, 0.2, least=least)
        assert one["rows"] == len(clear)
        assert one["positive"] == pytest.approx(sum(truth) / len(clear))
        right = sum((scores[n] > 0.2) == kind for n, kind in zip(clear, truth, strict=True))
        assert one["accuracy"]["value"] == pytest.approx(right / len(clear))
        assert one["auc"]["value"] == pytest.approx(roc_auc_score(truth, scores[clear]))


def test_the_variant_with_the_highest_area_is_chosen_with_its_own_threshold() -> None:
    rows = [Row(str(n), label) for n, label in enumerate([-0.5, -0.4, 0.3, 0.9])]
    good, bad = np.array([1.0, 2.0, 5.0, 6.0]), np.array([3.0, 1.0, 2.0, 4.0])
    found = choice([(Variant(), bad), (Variant(True), good), (Variant(True, 1.0), good)], rows)
    assert found["chosen"] == 1
    assert found["variants"][1] == {
        "variant": "±5, dummy on",
        "auc": 1.0,
        "accuracy": 0.5,
        "threshold": 3.5,
        "accuracy_at_threshold": 1.0,
    }


def test_rows_without_a_side_are_left_out_and_the_choice_is_fixed() -> None:
    chosen = by_hash(ROWS, 2)
    assert chosen == by_hash(ROWS[::-1], 2)
    assert by_hash(ROWS, None)[:2] == chosen
    assert ROWS[3] not in by_hash(ROWS, None)


def test_deleted_tokens_are_gone_and_the_others_stay() -> None:
    text, offsets = "A warm日film.", ((0, 1), (1, 6), (6, 7), (6, 7), (7, 11), (11, 12))
    assert without(text, offsets, []) == text
    assert without(text, offsets, [0]) == "warm日film."
    assert without(text, offsets, [1, 5]) == "A日film"
    assert without(text, offsets, [3]) == without(text, offsets, [2]) == "A warmfilm."


def test_deletions_take_as_many_tokens_in_every_order() -> None:
    evidence = np.array([0.5, -1.0, 3.0, 0.0, 2.0, -2.0])
    found = deletions(evidence, 2, 50, np.random.default_rng(0))
    assert sorted(found["most evidence"][0]) == [2, 4]
    assert sorted(found["least evidence"][0]) == [1, 5]
    assert all(len(set(drawn.tolist())) == 2 for drawn in found["random"])
    assert {token for drawn in found["random"] for token in drawn.tolist()} == set(range(6))


WORDS = ["good", "bad", "the"]


def reading_of(text: str) -> Reading:
    """Evidence +1 for every "good", -1 for every "bad", as if the model read words."""
    words = text.split(" ")
    ends = [len(" ".join(words[: number + 1])) for number in range(len(words))]
    starts = [0, *ends[:-1]]
    evidence = [{"good": 1.0, "bad": -1.0}.get(word, 0.0) for word in words]
    log_p = torch.tensor([evidence, [0.0] * len(words)])
    return Reading(tuple(range(len(words))), tuple(zip(starts, ends, strict=True)), log_p)


class Counter:
    """A scorer that counts the same words."""

    name, revision, reserved = "counter", "1", frozenset[str]()

    def __call__(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([0.5 + 0.02 * (text.count("good") - text.count("bad")) for text in texts])


@pytest.fixture
def texts() -> list[str]:
    noise = random.Random(0)
    return [" ".join(noise.choice(WORDS) for _ in range(20)) for _ in range(30)] + ["good"]


def test_evidence_is_turned_to_the_side_of_the_text() -> None:
    text = "bad the good bad bad the the the the the"
    left = shortened([text], [reading_of(text)], 1, 0)
    assert left["0.1"]["most evidence"] == [["the good bad bad the the the the the"]]
    assert left["0.2"]["most evidence"] == [["the good bad the the the the the"]]
    assert left["0.3"]["most evidence"] == [["the good the the the the the"]]
    assert "good" not in left["0.1"]["least evidence"][0][0]


def test_a_scorer_of_the_same_words_falls_most_where_evidence_goes(
    tiny_model: LanguageModel, steer: Steer, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deleting, "readings", lambda model, steer, texts, strengths: list(map(reading_of, texts)))
    found = faithfulness(tiny_model, steer, texts, [Counter()], None, strength=5.0, draws=4, seed=0)
    assert found["texts"] == 30  # the last one is too short
    for share, by_order in found["scorers"]["counter"].items():
        falls = {order: one["fall"]["value"] for order, one in by_order.items()}
        assert falls["most evidence"] == pytest.approx(0.02 * round(float(share) * 20), abs=0.01)
        assert falls["least evidence"] < falls["random"] < falls["most evidence"]
        for one in by_order.values():
            gap = one["fall"]["value"] - by_order["random"]["fall"]["value"]
            assert one["beyond_random"]["value"] == pytest.approx(gap)


def composed(*overrides: str) -> Any:
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose("highlighting", overrides=list(overrides))


@pytest.fixture
def steer_file(tmp_path: Path, tiny_model: LanguageModel, steer: Steer) -> Path:
    path = tmp_path / "steer.safetensors"
    provenance = Provenance(model=tiny_model.name, fingerprint=tiny_model.head.fingerprint(), training={"steps": 7})
    save_steer(path, steer, provenance)
    return path


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of our own in place of the embedded ones."""
    noise = random.Random(0)

    def rows(name: str) -> tuple[Row, ...]:
        texts = [
            f"the {name} {n} is {noise.choice(['warm', 'dull'])} and far too long for what it says" for n in range(9)
        ]
        return tuple(Row(text, 0.5 if "warm" in text else -0.5) for text in texts)

    corpus = Corpus("snippets", rows("train"), dev=rows("dev"), test=rows("test"))
    monkeypatch.setattr(study, "snippets", lambda: corpus)
    others = list(rows("thing"))
    monkeypatch.setattr(study, "amazon", lambda corpus, most: others)


def test_the_top_level_keys_are_those_the_command_reads() -> None:
    assert set(composed("run_dir=x", "steer_file=s")) == KEYS
    assert resolved(composed("run_dir=x", "steer_file=s"), KEYS, KINDS)["others"] == []


@pytest.mark.usefixtures("embedded")
def test_a_run_leaves_its_files_and_goes_on_where_it_stopped(
    steer_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["model=tiny", f"steer_file={steer_file}", f"others=[{steer_file}]", "scores=off", "draws=2"]
    own += [f"run_dir={tmp_path / 'out'}", "scorer@scorers=[alt-profanity-check]"]
    found = highlighting(composed(*own))
    names = {".lock", "config.yaml", "highlighting.json", "highlighting.md", "faithfulness.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names | {"steer-0.json", "steer-1.json"}
    assert found["faithfulness"]["texts"] == 9
    assert set(found["steers"][str(steer_file)]["sets"]["product reviews"]["default, threshold 0"]) == {
        *("variant", "threshold"),
        *GROUPS,
    }
    text = markdown(found)
    for part in text.split("\n\n"):
        if part.startswith("|"):
            assert len({line.count("|") for line in part.split("\n")}) == 1
    assert "7 steps, rank 4: default, threshold 0" in text
    assert text in capsys.readouterr().out
    (tmp_path / "out/highlighting.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(study, "classified", lambda *_, **__: pytest.fail("measured again"))
        assert highlighting(composed(*own)) == found


@pytest.mark.usefixtures("embedded")
def test_the_picture_draws_the_falls(tiny_model: LanguageModel, steer: Steer, texts: list[str]) -> None:
    found = faithfulness(tiny_model, steer, texts[:5], [Counter()], None, strength=5.0, draws=1, seed=0)
    (axes,) = faithfulness_figure(found).axes
    by_share = found["scorers"]["counter"]
    for line, order in zip(axes.lines, ("most evidence", "random", "least evidence"), strict=False):
        drawn = [y for _, y in np.asarray(line.get_xydata()).tolist()]
        assert drawn == pytest.approx([by_order[order]["fall"]["value"] for by_order in by_share.values()])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "Error: steer_file: a value is needed"),
        (["steer_file=none.safetensors"], "Error: none.safetensors: no such steer file"),
        (["steer_file=none", "draws=0"], "Error: draws=0: Input should be greater than or equal to 1"),
        (["steer_file=none", "strength=0"], "Error: strength=0: Input should be greater than 0"),
    ],
)
@pytest.mark.usefixtures("embedded")
def test_wrong_values_end_in_one_line_and_leave_nothing(
    overrides: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")  # put back afterwards
    own = ["model=tiny", "scores=off", "scorer@scorers=[alt-profanity-check]", f"hydra.run.dir={tmp_path / 'out'}"]
    monkeypatch.setattr(sys, "argv", ["highlighting", *own, *overrides])
    with pytest.raises(SystemExit) as caught:
        entry_point("highlighting")(highlighting)()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").glob("*"))


def test_what_was_measured_is_kept_as_json(tmp_path: Path) -> None:
    class Folder:
        def path(self, name: str) -> Path:
            return tmp_path / name

        def finished(self, name: str) -> bool:
            return self.path(name).is_file()

    kept = study.kept(Folder(), "a.json", lambda: {"x": 1.5})  # type: ignore[arg-type]
    assert kept == {"x": 1.5} == json.loads((tmp_path / "a.json").read_text())
