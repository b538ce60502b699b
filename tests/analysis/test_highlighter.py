"""Promises of highlights: their parts agree with each other and with the labels."""

import json
from pathlib import Path

import pytest

from lmsteer.analysis.highlighter import (
    Highlight,
    HighlightConfig,
    Highlighter,
    agreement,
    fit_threshold,
    read_highlights,
)
from lmsteer.analysis.token_evidence import text_log_probs
from lmsteer.data.readers.text_file import Text
from lmsteer.errors import InputError
from lmsteer.metrics.posterior import posterior
from lmsteer.models.language_model import LanguageModel
from lmsteer.steering.steer import Steer

TEXTS = [
    Text("The film is warm and funny.", 0.8, "a, line 1"),
    Text("a dull, slow story of the storm 日本", -0.5, "a, line 2"),
    Text("I would like to know where you were on the night of the storm.", 0.0, "a, line 3"),
    Text("Why?", None, "a, line 4"),
]


@pytest.fixture
def results(tiny_model: LanguageModel, steer: Steer) -> list[Highlight]:
    return Highlighter(tiny_model, steer, HighlightConfig(spans=2, span_tokens=3))(TEXTS)


def test_the_parts_of_a_highlight_agree(results: list[Highlight]) -> None:
    for text, one in zip(TEXTS, results, strict=True):
        assert (one.text, one.label) == (text.text, text.label)
        assert one.tokens == [text.text[start:end] for start, end in one.offsets]
        assert len(one.evidence) == len(one.tokens)
        assert one.ratio == pytest.approx(sum(one.evidence), abs=1e-4)
        assert one.ratio == pytest.approx(one.log_likelihood[-1] - one.log_likelihood[0], abs=1e-4)
        assert one.posterior == pytest.approx(posterior(one.log_likelihood), abs=1e-5)
        assert sum(strength * share for strength, share in zip(one.grid, one.posterior, strict=True)) == pytest.approx(
            one.mean_strength, abs=1e-4
        )
        assert -5 <= one.best_strength <= 5
        assert one.is_positive == (one.score > 0)


def test_spans_hold_the_evidence_of_their_tokens_and_say_their_text(results: list[Highlight]) -> None:
    for one in results:
        for sign, spans in ((1, one.positive), (-1, one.negative)):
            assert len(spans) <= 2
            for span in spans:
                assert 0 < span.end - span.start <= 3
                assert span.total == pytest.approx(sum(one.evidence[span.start : span.end]), abs=1e-4)
                assert sign * span.total > 0
                assert span.text == one.text[one.offsets[span.start][0] : one.offsets[span.end - 1][1]]
    assert any(one.positive for one in results)
    assert any(one.negative for one in results)


def test_other_dimensions_stand_at_their_fixed_strength(tiny_model: LanguageModel, steer: Steer) -> None:
    settings = HighlightConfig(dimension="dummy", fixed={"sentiment": 2.0}, grid=(1.0, -1.0, 0.0))
    (one,) = Highlighter(tiny_model, steer, settings)(TEXTS[:1])
    strengths = [{"sentiment": 2.0, "dummy": value} for value in (-1.0, 0.0, 1.0)]
    (reading,) = text_log_probs(tiny_model, steer, [TEXTS[0].text], strengths)
    assert one.grid == [-1, 0, 1]
    assert one.log_likelihood == pytest.approx(reading.log_p_S.tolist(), abs=1e-4)


@pytest.mark.parametrize("decision", ["ratio", "rate", "mean"])
def test_the_decision_holds_its_score_against_the_threshold(
    tiny_model: LanguageModel, steer: Steer, decision: str
) -> None:
    highlighter = Highlighter(tiny_model, steer, HighlightConfig(decision=decision))  # type: ignore[arg-type]
    results = highlighter(TEXTS)
    for one in results:
        expected = {"ratio": one.ratio, "rate": one.ratio / len(one.tokens), "mean": one.mean_strength}[decision]
        assert one.score == pytest.approx(expected, abs=1e-5)
    middle = sorted(one.score for one in results)[1]
    assert [one.is_positive for one in highlighter(TEXTS, threshold=middle)] == [one.score > middle for one in results]


def labelled(scores: list[float], labels: list[float | None]) -> list[Highlight]:
    """Highlights of which nothing but score and label counts."""
    empty = {"tokens": [], "offsets": [], "evidence": [], "positive": [], "negative": [], "grid": []}
    more = {"log_likelihood": [], "posterior": [], "best_strength": 0, "mean_strength": 0, "ratio": 0}
    return [
        Highlight.model_validate({"text": "x", "label": b, "score": a, "is_positive": a > 0, **empty, **more})
        for a, b in zip(scores, labels, strict=True)
    ]


def test_agreement_counts_the_texts_on_the_side_of_their_label() -> None:
    result = agreement(labelled([2.0, 1.0, -1.0, -3.0, 9.0, 9.0], [0.5, -1.0, -0.2, 1.0, 0.0, None]))
    assert result is not None
    assert (result["texts"], result["positive"], result["accuracy"]["value"]) == (4, 2, 0.5)
    assert result["auc"]["value"] == 0.5  # of the four pairs two are in order
    assert result["accuracy"]["low"] <= 0.5 <= result["accuracy"]["high"]


def test_without_labels_of_both_signs_something_is_missing() -> None:
    assert agreement(labelled([1.0, 2.0], [None, 0.0])) is None
    one_sign = agreement(labelled([1.0, -2.0], [0.3, 0.4]))
    assert one_sign is not None
    assert one_sign["accuracy"]["value"] == 0.5
    assert one_sign["auc"] is None
    with pytest.raises(InputError, match="dev: 2 of 2 labeled texts are positive; both signs expected"):
        fit_threshold(labelled([1.0, -2.0], [0.3, 0.4]))


def test_a_threshold_parts_the_labels_and_leaves_neutral_ones_out() -> None:
    assert fit_threshold(labelled([1.0, 2.0, 4.0, 3.9, 8.0], [-1.0, -0.5, 0.5, 0.0, None])) == 3


def test_lines_are_read_as_they_were_written_and_damaged_ones_refused(tmp_path: Path, results: list[Highlight]) -> None:
    path = tmp_path / "highlight.jsonl"
    path.write_text("\n".join(one.model_dump_json() for one in results) + "\n", encoding="utf-8")
    assert read_highlights(path) == results
    assert json.loads(path.read_text(encoding="utf-8").split("\n")[0])["text"] == TEXTS[0].text
    path.write_text('{"text": "a"}\n')
    with pytest.raises(InputError, match=r"highlight\.jsonl, line 1: not a highlight"):
        read_highlights(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strength": 0.0}, "strength=0, against=-?0: they are equal"),
        ({"strength": 2.0, "against": 2.0}, "strength=2, against=2: they are equal; two different strengths expected"),
        ({"grid": [1.0]}, r"grid=\[1\.0\]: two or more different strengths expected"),
        ({"dimension": "mood"}, "dimension=mood: the steer's dimensions are sentiment, dummy"),
        ({"fixed": {"mood": 1.0}}, "strength mood=1.0: the steer's dimensions are sentiment, dummy"),
        ({"fixed": {"sentiment": 1.0}}, "fixed: sentiment is the dimension whose strength varies"),
        ({"grid": [0.0, float("inf")]}, "strength sentiment=inf: a finite float32 number"),
    ],
)
def test_impossible_settings_are_refused(
    tiny_model: LanguageModel, steer: Steer, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Highlighter(tiny_model, steer, HighlightConfig(**settings))  # type: ignore[arg-type]
