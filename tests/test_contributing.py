"""The examples of CONTRIBUTING.md work."""

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lmsteer.evaluation.metric_names import METRICS, MetricFacts
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


def test_the_metric_is_built_from_its_entry() -> None:
    facts = eval(block("MetricFacts("))
    assert isinstance(facts, MetricFacts)
    assert facts.name not in METRICS
    metric = facts.build()
    metric.update([["a b c d a b c d"]])  # four distinct 4-grams, eight words
    assert float(metric.compute()) == pytest.approx(4 / 8)
