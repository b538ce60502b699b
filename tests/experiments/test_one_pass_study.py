"""Promises of the study of the one-pass estimator, on a tiny model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.handmade_commands import study_config, write_steer

from experiments.one_pass.estimates import HeldOut, TimedExtractor, choose_best, nested_splits, nested_statistics
from experiments.one_pass.report import one_pass_figure, one_pass_tables
from experiments.one_pass.run import first_dimension, one_pass
from lmsteer.data.corpus import Corpus
from lmsteer.data.features import FeatureExtractor
from lmsteer.errors import InputError
from lmsteer.models.cross_entropy import nll
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Row
from lmsteer.steering.steer import Steer

TONES = {1.0: "warm and funny", -1.0: "dull, slow and far too long"}
ROWS = tuple(
    Row(f"the {thing} number {n} is {tone}", label)
    for n in range(100)
    for thing in ("story", "film")
    for label, tone in TONES.items()
)
SMALL = ["model=tiny", "dtype=float32", "corpus=file", "rows=[20,60]", "dampings=[0.1,1]", "ranks=[2]"]


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("files")
    lines = ["text\tlabel", *(f"{row.text}\t{row.label}" for row in ROWS)]
    (folder / "rows.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "paper").mkdir()
    steer = Steer(32, dimensions=["tone", "dummy"], rank=3, seed=1)
    steer_file = write_steer(folder / "paper" / "s.safetensors", steer)
    return [*SMALL, f"corpus.path={folder / 'rows.tsv'}", f"steer_files=[{steer_file}]"]


@pytest.fixture(scope="module")
def run(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "run"
    one_pass(study_config("one_pass", f"run_dir={folder}", *options))
    return folder


@pytest.fixture
def results(run: Path) -> dict[str, Any]:
    return json.loads((run / "one_pass.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_the_run_leaves_its_files_and_nothing_else(run: Path) -> None:
    names = {".lock", "config.yaml", "one_pass.json", "one_pass.png", "one_pass.md"}
    assert {path.name for path in run.iterdir()} == names
    assert (run / "one_pass.png").read_bytes().startswith(b"\x89PNG")


def test_tones_that_differ_are_separated_above_the_null(results: dict[str, Any]) -> None:
    largest = results["sizes"][-1]
    assert largest["above"] >= 1
    assert largest["rules"]["null"]["figures"]["value"] > 0.9
    assert results["steers"]["paper"]["value"] < largest["rules"]["null"]["figures"]["value"]
    assert largest["rules"]["add"]["rank"] == 0
    assert [size["rows"] for size in results["sizes"]][:2] == [20, 60]
    tokens = [size["tokens"] for size in results["sizes"]]
    assert tokens == sorted(tokens)


def test_damping_and_rank_are_chosen_by_the_texts_for_choosing_alone(results: dict[str, Any]) -> None:
    candidates = {
        (row["damping"], rule): measured["choice"]["value"]
        for row in results["dampings"]
        for rule, measured in row["rules"].items()
    }
    chosen = (results["chosen"]["damping"], results["chosen"]["rule"])
    assert candidates[chosen] == max(candidates.values())
    by_damping = {
        1.0: {"rules": {"null": {"choice": {"value": 0.5}, "figures": {"value": 0.9}}}},
        3.0: {"rules": {"null": {"choice": {"value": 0.6}, "figures": {"value": 0.1}}}},
    }
    assert choose_best(by_damping) == (3.0, "null")


def test_table_and_picture_name_every_rule_and_steer(results: dict[str, Any]) -> None:
    words = one_pass_tables(results)
    assert all(name in words for name in ("rank by the null", "rank 2", "full rank", "paper", "statistics, s"))
    assert all(name in words for name in ("constant alone", "rank by the null and constant", "full rank and constant"))
    legend = {text.get_text() for text in one_pass_figure(results).legends[0].get_texts()}
    assert {"rank by the null", "full rank", "constant alone", "paper", "threshold"} <= legend


def test_a_damping_of_contexts_changes_matrices_alone_and_is_reported(
    options: list[str], results: dict[str, Any], tmp_path: Path
) -> None:
    damped = one_pass(study_config("one_pass", f"run_dir={tmp_path}", *options, "solver.context_damping=50"))
    assert "of contexts 50" in (tmp_path / "one_pass.md").read_text(encoding="utf-8")
    assert "of contexts" not in one_pass_tables(results)
    for before, after in zip(results["dampings"], damped["dampings"], strict=True):
        assert max(after["spectrum"]) < max(before["spectrum"])
        assert after["rules"]["add"] == before["rules"]["add"]


def test_nested_statistics_are_those_of_a_pass_each(tiny_model: LanguageModel) -> None:
    corpus = Corpus("toy", ROWS[:80])
    extract = TimedExtractor(tiny_model, max_length=64)
    splits = nested_splits(corpus, [20, 50, 900], 3)
    assert [len(split) for split in splits] == [20, 30, 30]
    assert {row.text for row in splits[0]} == {row.text for row in corpus.subset(20, 3).train}
    nested = nested_statistics(extract, splits, 0, 3)
    (at_once, cost), *_ = nested_statistics(extract, [[*splits[0], *splits[1]]], 0, 3)
    for name, value in vars(at_once).items():
        torch.testing.assert_close(getattr(nested[1][0], name), value, rtol=1e-5, atol=1e-5 * float(value.abs().sum()))
    assert cost["hidden_states"] > 0


@pytest.mark.parametrize("bias", [False, True])
def test_the_evidence_of_a_steer_is_the_derivative_of_the_mean_log_likelihood(
    tiny_model: LanguageModel, bias: bool
) -> None:
    extract = FeatureExtractor(tiny_model)
    held_out = HeldOut.from_rows(extract, [*ROWS[:6], Row("neutral words", 0.0), Row("I", 1.0)])
    assert len(held_out.lengths) == 6, "without the row of label 0 and that of one token"
    steer = Steer(32, dimensions=["tone"], rank=2, seed=2, epsilon=1e-3, bias=bias)
    evidence = ((held_out.hidden_ND @ steer.p1[0]) * (held_out.gradient_ND @ steer.p2[0])).sum(-1)  # type: ignore[index]
    if steer.bias is not None:
        steer.bias.data = torch.randn(1, 32, generator=torch.Generator().manual_seed(3)) / 100
        evidence = evidence + held_out.gradient_ND @ steer.bias[0]
    evidence = torch.stack([tokens.mean() for tokens in evidence.split(list(held_out.lengths))])
    scores = []
    for row in ROWS[:6]:
        features = extract([row.text])
        up, down = (
            nll(tiny_model.head, steer(features.hidden_ND, torch.tensor([[v]])), features.targets_N) for v in (50, -50)
        )
        scores.append(float((down - up).detach().mean()) / 100 / 1e-3)
    torch.testing.assert_close(evidence.detach(), torch.tensor(scores), rtol=1e-2, atol=1e-3)
    pairs = [(scores[a] > scores[b]) for a in range(6) for b in range(6) if ROWS[a].label > 0 > ROWS[b].label]
    assert held_out.auc(*first_dimension(steer)).value == pytest.approx(sum(pairs) / len(pairs))
    with pytest.raises(InputError, match="1 held-out rows with 1 labels above 0"):
        HeldOut.from_rows(extract, ROWS[:1])


def test_a_study_without_a_null_is_refused(options: list[str], refusal: Any) -> None:
    assert "solver.permutations=0" in refusal("experiments/one_pass", one_pass, *options, "solver.permutations=0")
