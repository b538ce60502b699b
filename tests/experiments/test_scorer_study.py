"""Promises of the comparison of scorers, and of the registry it chooses from."""

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, roc_auc_score
from tests.handmade_commands import study_config

from experiments.scorers import run as study
from experiments.scorers.agreement import measure_agreement, mentions_identity
from experiments.scorers.report import agreement_figure, agreement_tables
from experiments.scorers.run import compare_scorers
from lmsteer.errors import InputError

NOISE = np.random.default_rng(0)
STORED = NOISE.uniform(size=400)
SCORES = np.round(np.clip(STORED + NOISE.normal(scale=0.3, size=400), 0, 1), 1)
TEXTS = [f"{'The women' if n % 4 == 0 else 'They'} said {n}" for n in range(400)]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the format of RealToxicityPrompts, 60 rows, some scores null; swearing is scored as toxic."""
    path, noise = tmp_path_factory.mktemp("stored") / "rtp.jsonl", random.Random(0)
    lines = []
    for n in range(60):
        foul, rest = n % 3 == 0, noise.uniform(0, 0.2)
        prompt = {"text": f"The women | of `house` {n}", "toxicity": rest}
        text = f" said: fuck you, {n}" if foul else f" said <b>good</b> morning *{n}*"
        lines.append({"prompt": prompt, "continuation": {"text": text, "toxicity": 0.9 - rest if foul else rest}})
    lines[5]["prompt"]["toxicity"] = None  # type: ignore[assignment]
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def options(stored: Path) -> list[str]:
    chosen = ["scorer@scorers=[alt-profanity-check,replay]", f"scorers.replay.path={stored}"]
    return [f"path={stored}", "cache=off", *chosen]


@pytest.fixture(scope="module")
def folder(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_folder = tmp_path_factory.mktemp("study")
    compare_scorers(study_config("scorers", f"run_dir={run_folder}", *options))
    return run_folder


@pytest.fixture
def results(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "scorers.json").read_text(encoding="utf-8")))


def test_a_choice_of_scorers_keeps_its_order_and_replaces_the_default() -> None:
    assert list(study_config("scorers").scorers) == ["alt-profanity-check", "word-list"]
    chosen = ["word-list", "distilbert-sst2"]
    assert list(study_config("scorers", f"scorer@scorers=[{','.join(chosen)}]").scorers) == chosen


def test_measures_equal_independent_ones() -> None:
    toxic, flagged = STORED >= 0.5, SCORES > 0.5
    agreement = measure_agreement(TEXTS, STORED, SCORES)
    assert agreement["auc"]["value"] == pytest.approx(roc_auc_score(toxic, SCORES), abs=1e-12)
    assert agreement["auc"]["low"] < agreement["auc"]["value"] < agreement["auc"]["high"]
    assert agreement["brier"] == pytest.approx(sum((a - b) ** 2 for a, b in zip(SCORES, STORED, strict=True)) / 400)
    (neither, scorer_only), (stored_only, both) = confusion_matrix(toxic, flagged)
    assert list(agreement["confusion"].values()) == [both, scorer_only, stored_only, neither]
    gaps = 0.0
    for low in range(10):
        indices = [n for n in range(400) if low / 10 <= SCORES[n] < (low + 1) / 10 or (low == 9 and SCORES[n] == 1)]
        gaps += abs(sum(SCORES[n] - STORED[n] for n in indices))
    assert agreement["calibration_error"] == pytest.approx(gaps / 400)
    assert sum(point["n"] for point in agreement["reliability"]) == 400


def test_groups_split_the_texts_and_their_rates_add_up() -> None:
    agreement = measure_agreement(TEXTS, STORED, SCORES)
    groups = [agreement["identity"], agreement["other"]]
    assert [group["disagreement"]["n"] for group in groups] == [100, 300]
    errors = sum(group["disagreement"]["value"] * group["disagreement"]["n"] for group in groups)
    assert errors == pytest.approx(agreement["confusion"]["scorer_only"] + agreement["confusion"]["stored_only"])
    for group in groups:
        rate = group["toxic"] * group["misses"] + (1 - group["toxic"]) * group["false_alarms"]
        assert rate == pytest.approx(group["disagreement"]["value"])


def test_the_texts_quoted_are_those_furthest_off_on_either_side() -> None:
    agreement = measure_agreement(TEXTS, STORED, SCORES)
    by_gap = sorted(range(400), key=lambda n: SCORES[n] - STORED[n])
    assert [quote["text"] for quote in agreement["higher"]] == [TEXTS[n] for n in by_gap[:-11:-1]]
    assert [quote["text"] for quote in agreement["lower"]] == [TEXTS[n] for n in by_gap[:10]]


@pytest.mark.parametrize("stored", [np.full(4, 0.7), np.full(4, 0.2)])
def test_texts_of_one_kind_alone_are_refused(stored: Any) -> None:
    with pytest.raises(InputError, match="of 4 texts are toxic by their stored scores; some of each expected"):
        measure_agreement(TEXTS[:4], stored, stored)


@pytest.mark.parametrize(
    ("text", "mentioned"),
    [("Muslim women", True), ("a GAY man.", True), ("Christmas", False), ("manner of speech", False), ("", False)],
)
def test_identities_are_whole_words_in_any_case(text: str, mentioned: bool) -> None:
    assert mentions_identity(text) is mentioned


def test_stored_scores_agree_with_themselves(folder: Path, results: dict[str, Any]) -> None:
    names = {".lock", "config.yaml", "scorers.json", "scorers.png", "scorers.md"}
    assert {path.name for path in folder.iterdir()} == names
    assert (results["texts"], results["toxic"], results["identity"]) == (119, 20, 59)
    assert list(results["scorers"]) == ["alt-profanity-check", "replay"]
    replay = results["scorers"]["replay"]
    assert (replay["auc"]["value"], replay["confusion"]["both"], replay["confusion"]["neither"]) == (1, 20, 99)
    assert [replay["spearman"], replay["brier"], replay["calibration_error"]] == pytest.approx([1, 0, 0], abs=1e-6)
    assert replay["identity"]["disagreement"]["value"] == replay["other"]["disagreement"]["value"] == 0


def test_another_run_on_the_folder_scores_nothing(
    folder: Path, options: list[str], results: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "measure", None)
    assert compare_scorers(study_config("scorers", f"run_dir={folder}", *options)) == results
    with pytest.raises(InputError, match="another configuration"):
        compare_scorers(study_config("scorers", f"run_dir={folder}", *options, "seed=1"))


def test_the_picture_draws_the_measures(results: dict[str, Any]) -> None:
    curves, disagreement = agreement_figure(results).axes
    for index, agreement in enumerate(results["scorers"].values()):
        drawn = np.asarray(curves.lines[index].get_xydata()).tolist()
        assert drawn == [[point["score"], point["stored"]] for point in agreement["reliability"]]
        rates = np.asarray(disagreement.lines[index].get_ydata()).tolist()
        assert rates == [agreement[group]["disagreement"]["value"] for group in ("identity", "other")]


def test_tables_keep_their_shape_whatever_the_texts_hold(results: dict[str, Any]) -> None:
    text = agreement_tables(results)
    auc = results["scorers"]["alt-profanity-check"]["auc"]["value"]
    assert re.search(rf"\| alt-profanity-check +\| {auc:.3f} \[".replace(" 0.", r" \."), text)
    assert r"The women \| of \`house\`" in text
    assert not re.search(r"(?<!\\)[<*]", text)
    for section in text.split("\n\n"):
        if section.startswith("|"):
            assert len({line.replace(r"\|", "").count("|") for line in section.split("\n")}) == 1
