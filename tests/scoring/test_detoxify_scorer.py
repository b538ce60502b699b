"""Promises of the Detoxify scorer, on a tiny BERT in Detoxify's own checkpoint format."""

import re
import shutil
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from detoxify import Detoxify
from detoxify.detoxify import MODEL_URLS
from transformers import BertForSequenceClassification

from lmsteer.errors import InputError
from lmsteer.scoring.detoxify_scorer import DetoxifyScorer

Build = Callable[..., BertForSequenceClassification]


def write(folder: Path, model: BertForSequenceClassification, classes: list[str]) -> str:
    """Save a model as Detoxify's training code does."""
    arguments = {
        "model_type": str(folder / "bert"),
        "model_name": "BertForSequenceClassification",
        "tokenizer_name": "BertTokenizer",
        "num_classes": len(classes),
    }
    config = {"arch": {"args": arguments}, "dataset": {"args": {"classes": classes}}}
    path = folder / "detoxify.ckpt"
    torch.save({"config": config, "state_dict": model.state_dict()}, path)
    return str(path)


@pytest.fixture
def checkpoint(tmp_path: Path, bert: Build) -> str:
    classes = ["obscene", "toxic", "insult"]
    return write(tmp_path, bert(labels=classes, weights=False), classes)


def test_batched_equals_one_by_one_through_the_real_class(checkpoint: str, texts: list[str]) -> None:
    alone = Detoxify(checkpoint=checkpoint)
    expected = torch.tensor([alone.predict(text)["toxicity"] for text in texts])
    scores = DetoxifyScorer(checkpoint=checkpoint, batch_size=2)(texts)
    assert expected.std() > 0.01
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)


def test_no_texts_give_no_scores(checkpoint: str) -> None:
    assert DetoxifyScorer(checkpoint=checkpoint)([]).shape == (0,)


def test_revision_follows_the_checkpoint(checkpoint: str) -> None:
    before = DetoxifyScorer(checkpoint=checkpoint).revision
    loaded = torch.load(checkpoint, weights_only=True)
    loaded["state_dict"]["classifier.bias"] += 1.0
    torch.save(loaded, checkpoint)
    assert DetoxifyScorer(checkpoint=checkpoint).revision != before


def test_released_weights_are_pinned_by_what_they_hold(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    path = tmp_path / "torch" / "hub" / "checkpoints" / MODEL_URLS["unbiased"].rsplit("/", 1)[1]
    path.parent.mkdir(parents=True)
    shutil.copy(checkpoint, path)
    released = DetoxifyScorer(variant="unbiased")
    assert released.name == "detoxify-unbiased"
    assert released.revision == DetoxifyScorer(checkpoint=checkpoint).revision


def test_a_text_that_gets_no_number_is_refused(checkpoint: str) -> None:
    loaded = torch.load(checkpoint, weights_only=True)
    loaded["state_dict"]["classifier.bias"] += float("nan")
    torch.save(loaded, checkpoint)
    with pytest.raises(InputError, match="text 'rotten' has score nan"):
        DetoxifyScorer(checkpoint=checkpoint)(["rotten"])


def test_weights_out_of_reach_are_refused_with_the_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    with pytest.raises(InputError, match=r"github.*toxic_debiased-.*no route.*FILE.*size=offline") as caught:
        DetoxifyScorer(variant="unbiased")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"not a checkpoint", {"state_dict": {}}, {"state_dict": {}, "config": {}}])
def test_a_missing_or_foreign_checkpoint_is_refused_by_name(tmp_path: Path, content: object) -> None:
    path = tmp_path / "foreign.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(InputError, match=re.escape(str(path))):
        DetoxifyScorer(checkpoint=str(path))


def test_a_model_without_a_toxicity_output_is_refused(tmp_path: Path, bert: Build) -> None:
    path = write(tmp_path, bert(labels=["obscene", "insult"], weights=False), ["obscene", "insult"])
    with pytest.raises(InputError, match="outputs obscene, insult"):
        DetoxifyScorer(checkpoint=path)
