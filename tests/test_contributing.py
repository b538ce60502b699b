"""The examples of CONTRIBUTING.md work."""

import math
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.methods.conftest import CORPUS, fit
from tests.tone import write_tone

from lmsteer.evaluation.metric_names import METRICS, MetricFacts
from lmsteer.evaluation.results import read_result
from lmsteer.models.random_models import tiny
from lmsteer.scoring.scorer import check_scores

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", TEXT, re.MULTILINE)]


def block(start: str) -> str:
    (text,) = (block.strip("\n") for block in BLOCKS if block.strip("\n").startswith(start))
    return text


def test_the_scorer_scores_and_its_configuration_names_it() -> None:
    names: dict[str, Any] = {"Sequence": Sequence, "Tensor": torch.Tensor, "torch": torch, "check_scores": check_scores}
    exec(block("class ExclamationScorer"), names)
    scorer = names["ExclamationScorer"]()
    assert scorer(["So good! And so long.", "no end", "Yes!"]).tolist() == [0.5, 0.0, 1.0]
    node = yaml.safe_load(block("exclamations:"))["exclamations"]
    assert node["_target_"].rpartition(".")[2] == "ExclamationScorer"
    assert node["name"] == scorer.name


@pytest.fixture
def own_package(tmp_path: Path) -> Path:
    """A folder with the method, its configuration, and the entry point as an installed package has it."""
    (tmp_path / "mine.py").write_text(block("from dataclasses import dataclass"), encoding="utf-8")
    (tmp_path / "conf" / "method").mkdir(parents=True)
    (tmp_path / "conf" / "method" / "word_counts.yaml").write_text(block("_target_: mine.WordCounts"), encoding="utf-8")
    (tmp_path / "mine-1.0.dist-info").mkdir()
    (tmp_path / "mine-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    declared = tomllib.loads(block("[project.entry-points"))["project"]["entry-points"]
    lines = [line for group in declared for line in (f"[{group}]", *(f"{k} = {v}" for k, v in declared[group].items()))]
    (tmp_path / "mine-1.0.dist-info" / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_the_method_learns_what_its_docstring_says(own_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(own_package))
    method, model = import_module("mine").WordCounts(smoothing=2.0), tiny()
    odds_V = fit(method, model).learned.tensors["log_odds"]
    counts = {
        sign: Counter(
            token for row in CORPUS.train if row.label * sign > 0 for token in set(model.tokenize([row.text])[0])
        )
        for sign in (1, -1)
    }
    totals = {sign: counts[sign].total() + 2 * len(odds_V) for sign in counts}
    for token, value in enumerate(odds_V.tolist()):
        shares = [(counts[sign][token] + 2) / totals[sign] for sign in (1, -1)]
        assert value == pytest.approx(math.log(shares[0] / shares[1]), abs=1e-5)


@pytest.mark.slow
def test_a_method_of_ones_own_is_learned_read_again_and_measured(own_package: Path) -> None:
    corpus, run = write_tone(own_package, rows=300), own_package / "run"
    python_path = os.pathsep.join([str(own_package), os.environ.get("PYTHONPATH", "")])
    options = ["model=tiny", "corpus=file", f"corpus.path={corpus}", "steer.name=tone", "logger=none", "cache=off"]
    options += ["protocol.samples=2", "protocol.prompts.own.n=4", "protocol.kl=0.05", "protocol.calibration_prompts=2"]

    def command(name: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", f"src.{name}", *arguments],
            env={**os.environ, "PYTHONPATH": python_path, "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    own = ["--config-dir", str(own_package / "conf"), "method=word_counts"]
    command("train", *own, *options, f"hydra.run.dir={run}")
    rows = read_result(run / "metrics.json").rows
    assert {row.method for row in rows} == {"plain", "word_counts"}
    assert {row.budget for row in rows} == {"", "kl 0.05"}
    assert "<title>word counts: tone on tiny-0" in (run / "report.html").read_text(encoding="utf-8")
    texts_of = [f"steer_file={run / 'method.safetensors'}", "strength=3", "model=tiny", "decoding.max_new_tokens=4"]
    command("generate", *texts_of, f"hydra.run.dir={own_package / 'texts'}")
    assert (own_package / "texts" / "generations.jsonl").is_file()


def test_the_metric_is_built_from_its_entry() -> None:
    facts = eval(block("MetricFacts("))
    assert isinstance(facts, MetricFacts)
    assert facts.name not in METRICS
    metric = facts.build()
    metric.update([["a b c d a b c d"]])  # four distinct 4-grams, eight words
    assert float(metric.compute()) == pytest.approx(4 / 8)
