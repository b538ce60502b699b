"""Promises of ``evaluate``: it loads no model whose values are stored, and measures the same as if it did."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.handmade_commands import run_command
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, BertForSequenceClassification

from lmsteer.cli.deferred import build_deferred
from lmsteer.cli.shared_objects import SHARED
from lmsteer.models.random_models import tiny
from lmsteer.scoring.cache import ScoreCache

PERPLEXITY = "lmsteer.models.load.load_model"
SCORER = "lmsteer.scoring.hub_classifier.HubClassifierScorer"


def save(folder: Path, seed: int) -> Path:
    model = tiny(seed=seed)
    model.lm.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often transformers loaded weights, by the kind of model, and the plain model was built."""
    counts: Counter[str] = Counter()

    def count(owner: Any, name: str, kind: str) -> None:
        original = getattr(owner, name)

        def counted(*args: Any, **options: Any) -> Any:
            counts[kind] += 1
            return original(*args, **options)

        monkeypatch.setattr(owner, name, counted)

    count(AutoModelForCausalLM, "from_pretrained", "perplexity model")
    count(AutoModelForSequenceClassification, "from_pretrained", "scorer")
    return counts


Evaluate = Callable[..., dict[str, Any]]


@pytest.fixture
def evaluate(tmp_path: Path, bert: Callable[..., BertForSequenceClassification]) -> Evaluate:
    """Evaluate a file of texts by a classifier and a perplexity model on disk; return the metrics."""
    bert(labels=["no", "yes"])
    save(tmp_path / "other", seed=5)
    (tmp_path / "texts.jsonl").write_text(text_line("The film", " is warm", " is dull"))
    model = f"{{_target_:{PERPLEXITY},_partial_:true,id:'{tmp_path / 'other'}',name:other,device:cpu,dtype:float32}}"
    scorer = f"{{yes:{{_target_:{SCORER},id:'{tmp_path / 'bert'}',label:'yes',name:bert}}}}"

    def run(name: str, *overrides: str, own_process: bool = True) -> dict[str, Any]:
        if own_process:
            SHARED.retain(())
        options = ["model=hf", "model.id=/no/such/model", "steer.name=tone", f"generations={tmp_path / 'texts.jsonl'}"]
        options += [f"protocol.perplexity_model={model}", "~protocol.scorers", f"+protocol.scorers={scorer}"]
        options += [f"cache={tmp_path / 'cache'}", *overrides, f"hydra.run.dir={tmp_path / name}"]
        assert run_command("evaluate", *options) == 0
        metrics: dict[str, Any] = json.loads((tmp_path / name / "metrics.json").read_text())
        return metrics

    return run


def values(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: value["value"] for name, value in metrics["rows"][0]["metrics"].items()}


def text_line(prompt: str, *texts: str) -> str:
    return json.dumps({"prompt": {"text": prompt}, "generations": [{"text": text} for text in texts]}) + "\n"


def test_the_models_of_stored_values_are_not_loaded_and_the_result_is_the_same(
    evaluate: Evaluate, loaded: Counter[str], tmp_path: Path
) -> None:
    first = evaluate("first")  # the model that wrote the texts does not exist, and is not needed
    assert loaded == {"perplexity model": 1, "scorer": 1}
    assert evaluate("second") == first
    assert loaded == {"perplexity model": 1, "scorer": 1}
    assert evaluate("direct", "cache=off") == first
    assert loaded == {"perplexity model": 2, "scorer": 2}


def test_the_models_are_loaded_for_a_new_text(evaluate: Evaluate, loaded: Counter[str], tmp_path: Path) -> None:
    evaluate("first")
    with (tmp_path / "texts.jsonl").open("a") as file:
        file.write(text_line("The night", " and the storm", " and a kind film"))
    loaded.clear()
    second = evaluate("second")
    assert loaded == {"perplexity model": 1, "scorer": 1}
    direct = evaluate("direct", "cache=off")
    assert second["protocol"] == direct["protocol"]
    assert values(second) == pytest.approx(values(direct), rel=1e-5)  # texts of other lengths are padded with others


def test_a_finished_evaluation_loads_nothing(evaluate: Evaluate, loaded: Counter[str], tmp_path: Path) -> None:
    first = evaluate("first", "cache=off")
    (tmp_path / "first/report.html").unlink()
    loaded.clear()
    assert evaluate("first", "cache=off") == first
    assert loaded == {}
    assert (tmp_path / "first/report.html").is_file()


def test_other_weights_in_the_same_folder_are_another_model(
    evaluate: Evaluate, loaded: Counter[str], tmp_path: Path
) -> None:
    first = evaluate("first")
    save(tmp_path / "other", seed=6)
    loaded.clear()
    second = evaluate("second")
    assert loaded == {"perplexity model": 1}
    names = ("perplexity_model", "perplexity_model_revision", "scorers")
    before, after = ([metrics["protocol"][name] for name in names] for metrics in (first, second))
    assert (before[0], before[2]) == (after[0], after[2])
    assert before[1] != after[1]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"name": "other"}', "\x00"])
def test_a_damaged_record_of_a_model_is_written_again(
    content: str, evaluate: Evaluate, loaded: Counter[str], tmp_path: Path
) -> None:
    first = evaluate("first")
    records = sorted((tmp_path / "cache/scores/versions").iterdir())
    before = {path: path.read_bytes() for path in records}
    assert len(records) == 2
    for path in records:
        path.write_text(content)
    loaded.clear()
    assert evaluate("second") == first
    assert loaded == {"perplexity model": 1, "scorer": 1}
    assert {path: path.read_bytes() for path in records} == before


def test_detoxify_is_not_loaded_for_stored_scores(
    bert: Callable[..., BertForSequenceClassification], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = bert(labels=["obscene", "toxic"], weights=False)
    arguments = {"model_type": str(tmp_path / "bert"), "model_name": "BertForSequenceClassification"}
    arguments |= {"tokenizer_name": "BertTokenizer", "num_classes": 2}
    config = {"arch": {"args": arguments}, "dataset": {"args": {"classes": ["obscene", "toxic"]}}}
    torch.save({"config": config, "state_dict": model.state_dict()}, tmp_path / "weights.ckpt")
    scorer = {
        "_target_": "lmsteer.scoring.detoxify_scorer.DetoxifyScorer",
        "checkpoint": str(tmp_path / "weights.ckpt"),
    }
    protocol = {"_target_": "lmsteer.evaluation.protocol.Protocol", "name": "own", "metric": "toxicity"}
    plain = {"_target_": "lmsteer.models.random_models.tiny"}
    options = {"protocol": protocol | {"scorers": {"one": scorer}}, "model": plain, "device": "cpu", "dtype": "float32"}
    scores = ScoreCache(tmp_path / "scores")
    texts = ["you are a nice person", "rotten film"]

    def measured() -> tuple[str, str, list[float]]:
        SHARED.retain(())
        (built,) = build_deferred(options, scores)[0].scorers.values()
        return built.name, built.revision, scores.scores(built, texts).tolist()

    first = measured()
    monkeypatch.setattr("lmsteer.scoring.detoxify_scorer.Detoxify", None)
    assert measured() == first
