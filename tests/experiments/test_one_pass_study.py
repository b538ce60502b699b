"""Promises of the look into the one-pass estimator, on a tiny model."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir

from experiments.one_pass.choice import TimedExtractor, best, nested_sums
from experiments.one_pass.figure import one_pass_figure
from experiments.one_pass.held_out import HeldOut
from experiments.one_pass.report import markdown
from experiments.one_pass.run import KEYS, KINDS, factors_and_bias, nested, one_pass
from lmsteer.cli.configuration import CONF, entry_point
from lmsteer.data.corpus import Corpus
from lmsteer.data.features import FeatureExtractor
from lmsteer.errors import InputError
from lmsteer.models.cross_entropy import nll
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.records import Row
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import Provenance, save_steer

TONES = {1.0: "warm and funny", -1.0: "dull, slow and far too long"}
ROWS = tuple(
    Row(f"the {thing} number {n} is {tone}", label)
    for n in range(100)
    for thing in ("story", "film")
    for label, tone in TONES.items()
)
SMALL = ["model=tiny", "dtype=float32", "data=file", "rows=[20,60]", "dampings=[0.1,1]", "ranks=[2]"]


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("files")
    lines = ["text\tlabel", *(f"{row.text}\t{row.label}" for row in ROWS)]
    (folder / "rows.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "paper").mkdir()
    steer = Steer(32, dimensions=["tone", "dummy"], rank=3, seed=1)
    save_steer(
        folder / "paper" / "s.safetensors", steer, Provenance(model="tiny-0", fingerprint=tiny().head.fingerprint())
    )
    return [*SMALL, f"data.path={folder / 'rows.tsv'}", f"steer_files=[{folder / 'paper' / 's.safetensors'}]"]


@pytest.fixture(scope="module")
def run(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "run"
    with initialize_config_dir(CONF, version_base="1.3"):
        one_pass(compose("one_pass", overrides=[f"run_dir={folder}", *options]))
    return folder


@pytest.fixture
def found(run: Path) -> dict[str, Any]:
    return json.loads((run / "one_pass.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_the_top_level_keys_are_those_the_command_reads() -> None:
    with initialize_config_dir(CONF, version_base="1.3"):
        config = compose("one_pass", overrides=["run_dir=x"])
    assert set(config) | {"protocol"} == KEYS
    assert set(KINDS) <= KEYS


def test_the_run_leaves_its_files_and_nothing_else(run: Path) -> None:
    assert {path.name for path in run.iterdir()} == {
        ".lock",
        "config.yaml",
        "one_pass.json",
        "one_pass.png",
        "one_pass.md",
    }
    assert (run / "one_pass.png").read_bytes().startswith(b"\x89PNG")


def test_tones_that_differ_are_told_apart_and_stand_above_the_null(found: dict[str, Any]) -> None:
    largest = found["sizes"][-1]
    assert largest["above"] >= 1
    assert largest["rules"]["null"]["figures"]["value"] > 0.9
    assert found["steers"]["paper"]["value"] < largest["rules"]["null"]["figures"]["value"]
    assert largest["rules"]["add"]["rank"] == 0
    assert [one["rows"] for one in found["sizes"]][:2] == [20, 60]
    tokens = [one["tokens"] for one in found["sizes"]]
    assert tokens == sorted(tokens)


def test_damping_and_rank_are_chosen_by_the_texts_for_choosing_alone(found: dict[str, Any]) -> None:
    tried = {
        (one["damping"], rule): own["choice"]["value"]
        for one in found["dampings"]
        for rule, own in one["rules"].items()
    }
    chosen = (found["chosen"]["damping"], found["chosen"]["rule"])
    assert tried[chosen] == max(tried.values())
    assert best({1.0: {"rules": {"null": {"choice": {"value": 0.5}, "figures": {"value": 0.9}}}}}) == (1.0, "null")


def test_table_and_picture_name_every_rule_and_steer(found: dict[str, Any]) -> None:
    words = markdown(found)
    assert all(name in words for name in ("rank by the null", "rank 2", "full rank", "paper", "statistics, s"))
    assert all(name in words for name in ("constant alone", "rank by the null and constant", "full rank and constant"))
    legend = [text.get_text() for axes in one_pass_figure(found).axes for text in axes.get_legend().get_texts()]
    assert {"rank by the null", "full rank", "constant alone", "paper", "threshold"} <= set(legend)


def test_a_damping_of_contexts_changes_matrices_alone_and_is_told(
    options: list[str], found: dict[str, Any], tmp_path: Path
) -> None:
    with initialize_config_dir(CONF, version_base="1.3"):
        own = one_pass(compose("one_pass", overrides=[f"run_dir={tmp_path}", *options, "steer.context_damping=50"]))
    assert "of contexts 50" in (tmp_path / "one_pass.md").read_text(encoding="utf-8")
    assert "of contexts" not in markdown(found)
    for before, after in zip(found["dampings"], own["dampings"], strict=True):
        assert max(after["spectrum"]) < max(before["spectrum"])
        assert after["rules"]["add"] == before["rules"]["add"]


def test_nested_sums_are_those_of_a_pass_each(tiny_model: LanguageModel) -> None:
    corpus = Corpus("toy", ROWS[:80])
    extract = TimedExtractor(tiny_model, max_length=64)
    parts = nested(corpus, [20, 50, 900], 3)
    assert [len(part) for part in parts] == [20, 30, 30]
    assert {row.text for row in parts[0]} == {row.text for row in corpus.subset(20, 3).train}
    several = nested_sums(extract, parts, 0, 3)
    (all_of_them, cost), *_ = nested_sums(extract, [[row for part in parts[:2] for row in part]], 0, 3)
    for name, value in vars(all_of_them).items():
        torch.testing.assert_close(getattr(several[1][0], name), value, rtol=1e-5, atol=1e-5 * float(value.abs().sum()))
    assert cost["hidden_states"] > 0


@pytest.mark.parametrize("bias", [False, True])
def test_the_evidence_of_a_steer_is_the_derivative_of_the_mean_log_likelihood(
    tiny_model: LanguageModel, bias: bool
) -> None:
    extract, some = FeatureExtractor(tiny_model), [*ROWS[:6], Row("neutral words", 0.0), Row("I", 1.0)]
    held = HeldOut.of(extract, some)
    assert len(held.lengths) == 6, "no label and no second token"
    steer = Steer(32, dimensions=["tone"], rank=2, seed=2, epsilon=1e-3, bias=bias)
    evidence = ((held.hidden_ND @ steer.p1[0]) * (held.residual_ND @ steer.p2[0])).sum(-1)  # type: ignore[index]
    if steer.bias is not None:
        steer.bias.data = torch.randn(1, 32, generator=torch.Generator().manual_seed(3)) / 100
        evidence = evidence + held.residual_ND @ steer.bias[0]
    evidence = torch.stack([part.mean() for part in evidence.split(list(held.lengths))])
    scores = []
    for row in ROWS[:6]:
        features = extract([row.text])
        up, down = (
            nll(tiny_model.head, steer(features.hidden_ND, torch.tensor([[v]])), features.targets_N) for v in (50, -50)
        )
        scores.append(float((down - up).detach().mean()) / 100 / 1e-3)
    torch.testing.assert_close(evidence.detach(), torch.tensor(scores), rtol=1e-2, atol=1e-3)
    pairs = [(scores[a] > scores[b]) for a in range(6) for b in range(6) if ROWS[a].label > 0 > ROWS[b].label]
    assert held.auc(*factors_and_bias(steer)).value == pytest.approx(sum(pairs) / len(pairs))
    with pytest.raises(InputError, match="1 held-out rows with 1 labels above 0"):
        HeldOut.of(extract, ROWS[:1])


def test_a_study_without_a_null_is_refused(options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")
    arguments = [*options, "steer.permutations=0", f"hydra.run.dir={tmp_path / 'out'}"]
    monkeypatch.setattr(sys, "argv", ["one_pass", *arguments])
    with pytest.raises(SystemExit, match=r"steer\.permutations=0"):
        entry_point("one_pass")(one_pass)()
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())
