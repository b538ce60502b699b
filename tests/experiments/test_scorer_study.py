"""Promises of the comparison of scorers, and of the registry it chooses from."""

import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from matplotlib.patches import Rectangle
from omegaconf import OmegaConf
from sklearn.metrics import confusion_matrix, roc_auc_score

from experiments.scorers import run as study
from experiments.scorers.agreement import agreement, reliability
from experiments.scorers.figure import agreement_figure
from experiments.scorers.identity import mentions_identity
from experiments.scorers.report import escaped, markdown
from experiments.scorers.run import KEYS, scorers
from lmsteer.cli.configuration import CONF, entry_point, resolved
from lmsteer.errors import InputError

REGISTRY = sorted(path.stem for path in (Path(CONF) / "scorer").glob("*.yaml"))
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


def composed(*overrides: str) -> Any:
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose("scorers", overrides=list(overrides))


@pytest.fixture(scope="module")
def ran(stored: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    chosen = ["scorer@scorers=[alt-profanity-check,replay]", f"scorers.replay.path={stored}"]
    scorers(composed(f"run_dir={folder}", f"path={stored}", "scores=off", *chosen))
    return folder


@pytest.fixture
def found(ran: Path) -> dict[str, Any]:
    return dict(json.loads((ran / "scorers.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", REGISTRY)
def test_every_scorer_of_the_registry_is_one_key_of_its_own_name_that_its_target_takes(name: str) -> None:
    node = OmegaConf.load(Path(CONF) / "scorer" / f"{name}.yaml")
    assert list(node) == [name]
    more = ["scorers.replay.path=x"] if name == "replay" else []
    config = resolved(composed("run_dir=x", "path=y", f"scorer@scorers=[{name}]", *more), KEYS)
    assert [chosen["name"] for chosen in config["scorers"].values()] == [name]


def test_a_choice_of_scorers_keeps_its_order_and_replaces_the_default() -> None:
    assert list(composed("run_dir=x").scorers) == ["alt-profanity-check", "word-list"]
    assert list(composed("run_dir=x", "scorer@scorers=[word-list,distilbert-sst2]").scorers) == [
        "word-list",
        "distilbert-sst2",
    ]


def test_the_top_level_keys_are_those_the_command_reads() -> None:
    assert set(composed("run_dir=x", "path=y")) == KEYS


def test_figures_equal_independent_ones() -> None:
    toxic, said = STORED >= 0.5, SCORES > 0.5
    one = agreement(TEXTS, STORED, SCORES)
    assert one["auc"]["value"] == pytest.approx(roc_auc_score(toxic, SCORES), abs=1e-12)
    assert one["auc"]["low"] < one["auc"]["value"] < one["auc"]["high"]
    assert one["brier"] == pytest.approx(sum((a - b) ** 2 for a, b in zip(SCORES, STORED, strict=True)) / 400)
    (neither, scorer_only), (stored_only, both) = confusion_matrix(toxic, said)
    assert list(one["confusion"].values()) == [both, scorer_only, stored_only, neither]
    gaps = 0.0
    for low in range(10):
        here = [n for n in range(400) if low / 10 <= SCORES[n] < (low + 1) / 10 or (low == 9 and SCORES[n] == 1)]
        gaps += abs(sum(SCORES[n] - STORED[n] for n in here))
    assert one["calibration_error"] == pytest.approx(gaps / 400)


def test_groups_part_the_texts_and_their_rates_add_up() -> None:
    one = agreement(TEXTS, STORED, SCORES)
    groups = [one["identity"], one["other"]]
    assert [group["disagreement"]["n"] for group in groups] == [100, 300]
    wrong = sum(group["disagreement"]["value"] * group["disagreement"]["n"] for group in groups)
    assert wrong == pytest.approx(one["confusion"]["scorer_only"] + one["confusion"]["stored_only"])
    for group in groups:
        parts = group["toxic"] * group["misses"] + (1 - group["toxic"]) * group["false_alarms"]
        assert parts == pytest.approx(group["disagreement"]["value"])


def test_the_texts_named_are_those_furthest_off_on_either_side() -> None:
    one = agreement(TEXTS, STORED, SCORES)
    by_gap = sorted(range(400), key=lambda n: SCORES[n] - STORED[n])
    assert [item["text"] for item in one["higher"]] == [TEXTS[n] for n in by_gap[:-11:-1]]
    assert [item["text"] for item in one["lower"]] == [TEXTS[n] for n in by_gap[:10]]


def test_bins_hold_every_score_once_the_ends_included() -> None:
    scores = np.array([0.0, 0.099, 0.1, 0.55, 0.9, 1.0])
    parts = reliability(np.array([0.0, 0.2, 0.3, 0.4, 0.5, 0.6]), scores)
    assert [part["n"] for part in parts] == [2, 1, 1, 2]
    assert [part["stored"] for part in parts] == pytest.approx([0.1, 0.3, 0.4, 0.55])


@pytest.mark.parametrize("stored", [np.full(4, 0.7), np.full(4, 0.2)])
def test_texts_of_one_kind_alone_are_refused(stored: Any) -> None:
    with pytest.raises(InputError, match="of 4 texts are toxic by their stored scores; some of each expected"):
        agreement(TEXTS[:4], stored, stored)


@pytest.mark.parametrize(
    ("text", "there"),
    [("Muslim women", True), ("a GAY man.", True), ("Christmas", False), ("manner of speech", False), ("", False)],
)
def test_identities_are_whole_words_in_any_case(text: str, there: bool) -> None:
    assert mentions_identity(text) is there


def test_the_run_leaves_its_files_and_nothing_else(ran: Path, found: dict[str, Any]) -> None:
    assert {path.name for path in ran.iterdir()} == {
        ".lock",
        "config.yaml",
        "scorers.json",
        "scorers.png",
        "scorers.md",
    }
    assert (ran / "scorers.png").read_bytes().startswith(b"\x89PNG")
    assert (found["texts"], found["toxic"], found["identity"]) == (119, 20, 59)
    assert list(found["scorers"]) == ["alt-profanity-check", "replay"]


def test_stored_scores_agree_with_themselves(found: dict[str, Any]) -> None:
    one = found["scorers"]["replay"]
    assert (one["auc"]["value"], one["confusion"]["both"], one["confusion"]["neither"]) == (1, 20, 99)
    assert [one["spearman"], one["brier"], one["calibration_error"]] == pytest.approx([1, 0, 0], abs=1e-6)
    assert one["identity"]["disagreement"]["value"] == one["other"]["disagreement"]["value"] == 0


def test_another_run_on_the_folder_scores_nothing(
    ran: Path, stored: Path, found: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "compare", None)
    chosen = ["scorer@scorers=[alt-profanity-check,replay]", f"scorers.replay.path={stored}"]
    assert scorers(composed(f"run_dir={ran}", f"path={stored}", "scores=off", *chosen)) == found
    with pytest.raises(InputError, match="another configuration"):
        scorers(composed(f"run_dir={ran}", f"path={stored}", "scores=off", *chosen, "seed=1"))


def test_the_picture_draws_the_figures(found: dict[str, Any]) -> None:
    curves, bars = agreement_figure(found).axes
    for line, one in zip(curves.lines[1:], found["scorers"].values(), strict=True):
        drawn = np.asarray(line.get_xydata()).tolist()
        assert drawn == [[part["score"], part["stored"]] for part in one["reliability"]]
    heights = [patch.get_height() for patch in bars.patches if isinstance(patch, Rectangle)]
    groups = [one[group] for one in found["scorers"].values() for group in ("identity", "other")]
    assert heights == pytest.approx([100 * group["disagreement"]["value"] for group in groups])


def test_tables_keep_their_shape_whatever_the_texts_hold(found: dict[str, Any]) -> None:
    text = markdown(found)
    assert (
        f"| alt-profanity-check | {found['scorers']['alt-profanity-check']['auc']['value']:.3f} [".replace(" 0.", " .")
        in text
    )
    assert r"The women \| of \`house\`" in text
    assert "<b>" not in text
    for part in text.split("\n\n"):
        if part.startswith("|"):
            assert len({line.replace(r"\|", "").count("|") for line in part.split("\n")}) == 1
    assert escaped("a\nb  <i>|`*_") == r"a b \<i\>\|\`\*\_"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "Error: path: a value is needed"),
        (["path=nowhere.jsonl"], "Error: cannot read nowhere.jsonl"),
        (["path=FILE", "scorer@scorers=[perspective]"], "Error: In 'scorers': Could not load 'scorer/perspective'"),
        (["path=FILE", "scorers=5"], "Error: scorers=5: choices in conf/scorer expected"),
        (["path=FILE", "scorers.word-list.nmae=x"], "Error: Could not override 'scorers.word-list.nmae'"),
        (["path=FILE", "scorer@scorers=[replay]"], "Error: scorers.replay.path: a value is needed"),
        (["path=FILE", "device=tpu"], "Error: device='tpu'"),
    ],
)
def test_wrong_values_end_in_one_line_and_leave_nothing(
    overrides: list[str], message: str, stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")  # put back afterwards
    given = [override.replace("FILE", str(stored)) for override in overrides]
    monkeypatch.setattr(sys, "argv", ["scorers", "scores=off", *given, f"hydra.run.dir={tmp_path / 'out'}"])
    with pytest.raises(SystemExit) as caught:
        entry_point("scorers")(scorers)()
    said = str(caught.value)
    assert said.startswith(message)
    assert "\n" not in said
    assert not list((tmp_path / "out").glob("*"))
