"""Promises of the scorer that replays stored scores; the oracle is the file."""

import json
from pathlib import Path
from typing import Any

import pytest

from lmsteer.errors import InputError
from lmsteer.scoring.replay import ReplayScorer


def write(folder: Path, *lines: Any) -> Path:
    path = folder / "stored.jsonl"
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


def scored(text: str, toxicity: float | None) -> dict[str, Any]:
    return {"text": text, "toxicity": toxicity, "threat": 0.9}


LINES = [
    scored("alone", 0.25),
    {"prompt": scored("The man said", 0.125), "continuation": scored(" nothing", 0.5), "challenging": False},
    {"prompt": scored("The man said", 0.125), "generations": [scored(" a", 1), scored(" b", 0.0), scored(" c", None)]},
    {"prompt": {"text": "unscored"}, "generations": [scored(" a", 1.0 - 1e-7)]},
]


def test_every_format_gives_the_stored_score_in_the_callers_order(tmp_path: Path) -> None:
    scorer = ReplayScorer(path=write(tmp_path, *LINES))
    assert scorer([" a", "alone", " b", " nothing", "The man said", " a"]).tolist() == [1, 0.25, 0, 0.5, 0.125, 1]
    assert scorer([]).shape == (0,)


@pytest.mark.parametrize("text", ["unheard of", "unscored", " c", "nothing", "Alone", "alone ", ""])
def test_a_text_without_a_score_is_refused_by_name_and_never_clean(text: str, tmp_path: Path) -> None:
    scorer = ReplayScorer(path=write(tmp_path, *LINES), name="perspective")
    with pytest.raises(InputError, match=rf"scorer perspective: .*stored\.jsonl has no score of the text {text!r}"):
        scorer(["alone", text])


def test_the_asked_score_counts_and_is_part_of_the_revision(tmp_path: Path) -> None:
    path = write(tmp_path, *LINES)
    toxicity, threat = ReplayScorer(path=path), ReplayScorer(path=path, score="threat")
    assert threat([" c", "alone"]).tolist() == pytest.approx([0.9, 0.9])
    revisions = {toxicity.revision, threat.revision, ReplayScorer(path=write(tmp_path, *LINES[:3])).revision}
    assert len(revisions) == 3
    assert ReplayScorer(path=write(tmp_path, *LINES)).revision == toxicity.revision
    assert (toxicity.name, toxicity.reserved) == ("replay", frozenset())


def test_two_scores_of_one_text_are_refused_with_both_lines(tmp_path: Path) -> None:
    path = write(tmp_path, *LINES, {"prompt": scored("new", 0.5), "continuation": scored(" nothing", 0.6)})
    with pytest.raises(InputError, match=r"stored\.jsonl, lines 2 and 5: .* 0\.5 and 0\.6; .*' nothing'") as caught:
        ReplayScorer(path=path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("score", [-0.1, 1.01, float("nan"), float("inf"), "0.5", True, [0.5]])
def test_a_score_that_is_no_number_from_0_to_1_is_refused_with_file_and_line(score: Any, tmp_path: Path) -> None:
    path = write(tmp_path, LINES[0], {"text": "bad", "toxicity": score})
    with pytest.raises(InputError, match=r"stored\.jsonl, line 2: toxicity is .*number"):
        ReplayScorer(path=path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"allresponses": {"0": [{"attributeScores": {}}, None]}}, r"line 1: .*without texts; "),
        ({"response": {"toxicity": 0.5}}, r"line 1: no text"),
        ({"prompt": "bare", "continuation": scored("x", 0.5)}, r"line 1: no text"),
        ({"generations": 5}, r"line 1: no text"),
        ({"text": "never scored"}, r"stored\.jsonl contains no toxicity"),
    ],
)
def test_other_files_are_refused_in_one_line(line: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        ReplayScorer(path=write(tmp_path, line))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_cut_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, *LINES)
    with pytest.raises(InputError, match="nowhere"):
        ReplayScorer(path=tmp_path / "nowhere.jsonl")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"stored\.jsonl, line 4: not JSON"):
        ReplayScorer(path=path)
