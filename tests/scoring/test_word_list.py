"""Promises of the word-list scorer."""

from pathlib import Path

import pytest

from lmsteer.errors import InputError
from lmsteer.scoring import word_list as wordlist
from lmsteer.scoring.word_list import WordListScorer

HEADER = "text,canonical_form_1,category_1,severity_rating,severity_description"
LINES = [
    "69,69,sexual,1,Mild",
    "Darn,darn,other,1.4,Mild",
    "@55,ass,sexual,1,Mild",
    "blast it,blast,other,2.4,Strong",
    "blast,blast,other,1.8,Strong",
    "b1+ch,bitch,other,2,Strong",
    "dashed blighter,blighter,other,1.8,Strong",
    "blighter,blighter,other,3,Severe",
    "darn,darn,other,1.2,Mild",
]


def write(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "list.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def scorer(tmp_path: Path) -> WordListScorer:
    return WordListScorer(path=write(tmp_path, *LINES))


@pytest.mark.parametrize(
    ("text", "severity"),
    [
        ("", 0),
        ("a quiet day", 0),
        ("blast", 1.8),
        ("BLAST the rain", 1.8),
        ("oh, blast.", 1.8),
        ("_blast_ and *blast*", 1.8),
        ("blasted, sandblast and blast2", 0),
        ("blast it!", 2.4),
        ("Blast\n  it", 2.4),
        ("blast its eyes", 1.8),
        ("a b1+ch", 2),
        ("(@55)", 1),
        ("me@55", 0),
        ("in 1969", 0),
        ("dashed blighter", 3),
        ("69 and blast", 1.8),
        ("darn", 1.4),
    ],
)
def test_the_worst_whole_word_or_phrase_counts(scorer: WordListScorer, text: str, severity: float) -> None:
    assert scorer([text]).tolist() == pytest.approx([severity / 3])


def test_without_a_path_the_fetched_list_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, *LINES)
    monkeypatch.setattr(wordlist, "embedded_file", {"profanity_en.csv": path}.__getitem__)
    assert WordListScorer()(["blighter"]).item() == 1.0


def test_revision_follows_the_file(tmp_path: Path) -> None:
    first = WordListScorer(path=write(tmp_path, *LINES)).revision
    again = WordListScorer(path=write(tmp_path, *LINES)).revision
    assert first == again != WordListScorer(path=write(tmp_path, *LINES[1:])).revision


@pytest.mark.parametrize(
    ("line", "header"),
    [
        ("blast,blast,other,,Strong", HEADER),
        ("blast,blast,other,harsh,Strong", HEADER),
        ("blast,blast,other,0.5,Mild", HEADER),
        ("blast,blast,other,nan,Mild", HEADER),
        (",blast,other,2,Strong", HEADER),
        ("blast,2", "word,severity_rating"),
        ("blast,2", "text,severity"),
    ],
)
def test_a_malformed_line_is_refused_with_file_and_line(tmp_path: Path, line: str, header: str) -> None:
    good = ["blighter,blighter,other,3,Severe"] if header == HEADER else []
    with pytest.raises(InputError, match=rf"list\.csv, line {2 + len(good)}: a text and a severity_rating from 1 to 3"):
        WordListScorer(path=write(tmp_path, *good, line, header=header))


def test_a_missing_or_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*absent\.csv"):
        WordListScorer(path=tmp_path / "absent.csv")
    with pytest.raises(InputError, match="contains no words"):
        WordListScorer(path=write(tmp_path))


def test_a_column_named_twice_is_refused_and_a_long_field_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"list\.csv, line 1: 'severity_rating' is named twice"):
        WordListScorer(path=write(tmp_path, "darn,3,1", header="text,severity_rating,severity_rating"))
    long = f"darn,3,{'x' * 200_000}"
    assert WordListScorer(path=write(tmp_path, long, header="text,severity_rating,note"))(["darn"]).tolist() == [1.0]
