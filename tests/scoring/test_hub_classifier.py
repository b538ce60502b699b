"""Promises of the hub classifier, with transformers' own pipeline as the oracle."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import BertForSequenceClassification, BertModel, BertTokenizer, pipeline

from lmsteer.errors import InputError
from lmsteer.scoring.hub_classifier import HubClassifierScorer

Build = Callable[..., BertForSequenceClassification]


def oracle(folder: Path, label: str, texts: list[str]) -> torch.Tensor:
    """One text at a time through the pipeline."""
    classify = pipeline("text-classification", model=str(folder), device="cpu")
    answers = [classify(text, top_k=None, truncation=True) for text in texts]
    return torch.tensor([next(row["score"] for row in answer if row["label"] == label) for answer in answers])


@pytest.mark.parametrize(
    ("labels", "problem_type"),
    [
        (["NEGATIVE", "NEUTRAL", "POSITIVE"], None),
        (["NEGATIVE", "POSITIVE"], "single_label_classification"),
        (["rude", "POSITIVE", "long"], "multi_label_classification"),
        (["POSITIVE"], None),
    ],
)
@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_scores_are_the_pipelines(
    tmp_path: Path, bert: Build, texts: list[str], labels: list[str], problem_type: str | None, batch_size: int
) -> None:
    bert(labels=labels, problem_type=problem_type)
    expected = oracle(tmp_path / "bert", "POSITIVE", texts)
    scores = HubClassifierScorer(id=str(tmp_path / "bert"), label="POSITIVE", batch_size=batch_size)(texts)
    assert expected.std() > 0.01
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)


def test_long_texts_are_cut_to_what_the_model_takes(tmp_path: Path, bert: Build) -> None:
    bert(labels=["no", "yes"])
    scorer = HubClassifierScorer(id=str(tmp_path / "bert"), label="yes")
    cut, long = scorer(["nice film " * 15, "nice film " * 15 + "awful " * 200])
    torch.testing.assert_close(cut, long)
    assert HubClassifierScorer(id=str(tmp_path / "bert"), label="yes", max_length=4)(["nice film and you"]) == (
        pytest.approx(scorer(["nice film"]).item(), abs=1e-6)
    )


def test_a_local_model_is_named_after_its_folder_and_pinned_by_all_its_scores_depend_on(
    tmp_path: Path, bert: Build
) -> None:
    model, folder = bert(labels=["no", "yes"]), tmp_path / "bert"

    def revision(path: Path = folder) -> str:
        return HubClassifierScorer(id=str(path), label="yes").revision

    scorer = HubClassifierScorer(id=str(folder), label="yes")
    assert (scorer.name, scorer.reserved) == ("bert", frozenset())
    shutil.copytree(folder, tmp_path / "copy")
    assert revision() == revision(tmp_path / "copy") == scorer.revision
    revisions = {scorer.revision}
    with torch.no_grad():
        model.classifier.bias.add_(1.0)
    model.save_pretrained(folder)
    revisions.add(revision())
    model.config.problem_type = "multi_label_classification"
    model.save_pretrained(folder)
    revisions.add(revision())
    BertTokenizer.from_pretrained(folder, do_lower_case=False).save_pretrained(folder)
    revisions.add(revision())
    assert len(revisions) == 4


def test_an_unknown_label_is_refused_with_the_known_ones(tmp_path: Path, bert: Build) -> None:
    bert(labels=["NEGATIVE", "POSITIVE"])
    with pytest.raises(InputError, match=r"label=positive: .* has the labels NEGATIVE, POSITIVE"):
        HubClassifierScorer(id=str(tmp_path / "bert"), label="positive")


def test_a_hub_out_of_reach_is_refused_with_the_ways_out() -> None:
    with pytest.raises(InputError, match=r"nobody/nothing .*local folder.*size=offline") as caught:
        HubClassifierScorer(id="nobody/nothing", label="POSITIVE")
    assert "\n" not in str(caught.value)


def test_a_model_without_a_trained_classifier_is_refused(tmp_path: Path, bert: Build) -> None:
    model = bert(labels=["no", "yes"])
    assert isinstance(model.bert, BertModel)
    model.bert.save_pretrained(tmp_path / "bert")
    with pytest.raises(InputError, match="not trained to classify"):
        HubClassifierScorer(id=str(tmp_path / "bert"), label="LABEL_0")


def test_a_regression_model_is_refused(tmp_path: Path, bert: Build) -> None:
    bert(labels=["grade"], problem_type="regression")
    with pytest.raises(InputError, match="regression"):
        HubClassifierScorer(id=str(tmp_path / "bert"), label="grade")
