"""Rows of tables become labeled texts: with a question, of pairs, and of parquet files as of all others."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from lmsteer.data.corpus import Corpus
from lmsteer.data.readers.table import read_table
from lmsteer.data.sources.labeled_file import labeled_file
from lmsteer.errors import InputError
from lmsteer.records import Row

Lines = list[dict[str, Any]]
TEXTS = [f"Sentence number {n} of a made-up table." for n in range(60)]


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def jsonl(path: Path, lines: Lines) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def rows(corpus: Corpus) -> set[Row]:
    return {*corpus.train, *corpus.dev, *corpus.test, *corpus.scorer_split}


def test_pairs_are_a_row_of_label_1_and_one_of_minus_1(tmp_path: Path) -> None:
    lines = [{"positive": f"Good: {text}", "negative": f"Bad: {text}"} for text in TEXTS]
    lines.append({"positive": "The same.", "negative": "The same."})
    corpus = labeled_file(path=jsonl(tmp_path / "a.jsonl", lines), pairs=["positive", "negative"])
    expected = {Row(f"Good: {text}", 1.0) for text in TEXTS} | {Row(f"Bad: {text}", -1.0) for text in TEXTS}
    assert rows(corpus) == expected
    assert corpus.removed == {"duplicates": 0, "left_out": 1}


PREFERENCES: dict[str, tuple[Any, str | None]] = {
    "texts": ({"prompt": "How was it?", "chosen": "Lovely {n}.", "rejected": "Dull {n}."}, "prompt"),
    "answers as messages": (
        {
            "prompt": [user("How was it?")],
            "chosen": [assistant("Lovely {n}.")],
            "rejected": [assistant("Dull {n}.")],
        },
        "prompt",
    ),
    "a question as text": (
        {"prompt": "How was it?", "chosen": [assistant("Lovely {n}.")], "rejected": [assistant("Dull {n}.")]},
        "prompt",
    ),
    "whole conversations": (
        {
            "chosen": [user("How was it?"), assistant("Lovely {n}.")],
            "rejected": [user("How was it?"), assistant("Dull {n}.")],
        },
        None,
    ),
}


@pytest.mark.parametrize("form", PREFERENCES)
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_every_form_of_a_preference_gives_the_same_answers_to_the_same_question(
    form: str, suffix: str, tmp_path: Path
) -> None:
    line, question = PREFERENCES[form]
    lines = [json.loads(json.dumps(line).replace("{n}", str(n))) for n in range(40)]
    for index, one in enumerate(lines):  # a question of its own for each, so that no split is empty
        lines[index] = json.loads(json.dumps(one).replace("How was it?", f"How was it, {index}?"))
    path = tmp_path / f"a{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(lines), path)
    else:
        jsonl(path, lines)
    found = rows(labeled_file(path=str(path), pairs=["chosen", "rejected"], question=question))
    turns = [(("user", f"How was it, {n}?"),) for n in range(40)]
    assert found == {
        Row(f"{word} {n}.", label, turns[n]) for n in range(40) for word, label in (("Lovely", 1.0), ("Dull", -1.0))
    }


def test_an_answer_with_a_label_has_the_question_of_its_column(tmp_path: Path) -> None:
    """The columns of unpaired preferences: a prompt, a completion, and a truth value."""
    lines: Lines = [
        {"prompt": [user(f"Question {n}?")], "completion": [assistant(text)], "label": n % 2 == 0}
        for n, text in enumerate(TEXTS)
    ]
    path = jsonl(tmp_path / "a.jsonl", lines)
    options: dict[str, Any] = {"text": "completion", "question": "prompt", "labels": {True: 1, False: -1}}
    found = rows(labeled_file(path=path, **options))
    assert found == {Row(t, 1.0 - n % 2 * 2, (("user", f"Question {n}?"),)) for n, t in enumerate(TEXTS)}


def test_a_parquet_file_gives_the_rows_of_the_same_table_as_text(tmp_path: Path) -> None:
    lines = [{"text": text, "label": n / 30 - 1} for n, text in enumerate(TEXTS)]
    pq.write_table(pa.Table.from_pylist(lines), tmp_path / "mine.parquet", row_group_size=7)
    found = labeled_file(path=str(tmp_path / "mine.parquet"))
    expected = labeled_file(path=jsonl(tmp_path / "mine.jsonl", lines))
    assert found == expected
    (tmp_path / "folder").mkdir()
    pq.write_table(pa.Table.from_pylist(lines[:40]), tmp_path / "folder" / "train.parquet")
    pq.write_table(pa.Table.from_pylist(lines[40:]), tmp_path / "folder" / "test.parquet")
    assert labeled_file(path=str(tmp_path / "folder")).test == tuple(Row(x["text"], x["label"]) for x in lines[40:])


def test_classes_of_a_parquet_file_are_mapped_by_their_names_and_other_readers_get_their_numbers(
    tmp_path: Path,
) -> None:
    classes = Features({"text": Value("string"), "label": ClassLabel(names=["bad", "good"])})
    data = {"text": TEXTS, "label": [n % 2 for n in range(len(TEXTS))]}
    Dataset.from_dict(data, features=classes).to_parquet(tmp_path / "a.parquet")
    corpus = labeled_file(path=str(tmp_path / "a.parquet"), labels={"good": 1, "bad": -1})
    assert rows(corpus) == {Row(text, n % 2 * 2 - 1.0) for n, text in enumerate(TEXTS)}
    assert [row["label"] for _, row in read_table(tmp_path / "a.parquet", columns=("label",))] == data["label"]
    with pytest.raises(InputError, match=r"a\.parquet, row 1: label is 'bad'; a number is needed, or a map"):
        labeled_file(path=str(tmp_path / "a.parquet"))


REFUSED: dict[str, tuple[Lines, dict[str, Any], str]] = {
    "no such column of pairs": (
        [{"chosen": "a", "reject": "b"}],
        {"pairs": ["chosen", "rejected"]},
        r"line 1: no column 'rejected'; there are chosen, reject",
    ),
    "no such column of questions": (
        [{"text": "a", "label": 1}],
        {"question": "prompt"},
        r"line 1: no column 'prompt'; there are text, label",
    ),
    "one column twice": ([{"a": "x"}], {"pairs": ["a", "a"]}, r"corpus\.pairs=\['a', 'a'\]: two columns expected"),
    "one column": ([{"a": "x"}], {"pairs": ["a"]}, r"corpus\.pairs=\['a'\]: two columns expected"),
    "a map for pairs": (
        [{"a": "x", "b": "y"}],
        {"pairs": ["a", "b"], "labels": {"x": 1, "y": -1}},
        r"corpus\.pairs: the labels are 1 and -1; leave labels and thresholds out",
    ),
    "no text": ([{"a": "x", "b": None}], {"pairs": ["a", "b"]}, r"line 1: b is None; a text that is not empty"),
    "a number": ([{"a": "x", "b": 3}], {"pairs": ["a", "b"]}, r"line 1: b is 3; a text that is not empty"),
    "an answer without a question": (
        [{"a": [assistant("x")], "b": [assistant("y")]}],
        {"pairs": ["a", "b"]},
        r"line 1: a: messages of assistant: user and assistant in turn expected; corpus\.question=COLUMN names",
    ),
    "a question twice": (
        [{"q": "why", "a": [user("why"), assistant("x")], "b": [user("why"), assistant("y")]}],
        {"pairs": ["a", "b"], "question": "q"},
        r"line 1: a: messages of user, user, assistant: user and assistant in turn expected",
    ),
    "no answer": (
        [{"a": [user("x")], "b": [user("y")]}],
        {"pairs": ["a", "b"]},
        r"line 1: a: the last message is of the user; an answer of the assistant expected",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_rows_and_options_that_do_not_fit_are_refused_with_their_place(case: str, tmp_path: Path) -> None:
    lines, options, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        labeled_file(path=jsonl(tmp_path / "a.jsonl", lines), **options)


def test_rows_without_a_text_are_left_out_on_request(tmp_path: Path) -> None:
    lines: Lines = [{"text": text, "label": ("good", "bad")[n % 2]} for n, text in enumerate(TEXTS)]
    path = jsonl(tmp_path / "a.jsonl", [*lines, {"text": " ", "label": "good"}, {"text": None, "label": "odd"}])
    corpus = labeled_file(path=path, labels={"good": 1, "bad": -1}, other="drop")
    assert len(rows(corpus)) == len(TEXTS)
    assert corpus.removed["left_out"] == 2
    with pytest.raises(InputError, match=r"line 61: text is ' '; a text that is not empty is needed"):
        labeled_file(path=path, labels={"good": 1, "bad": -1})


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", b"text\tlabel\n"])
def test_a_file_that_is_no_parquet_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"^cannot read .*a\.parquet: [^\n]*; a parquet file expected$"):
        labeled_file(path=str(tmp_path / "a.parquet"))


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"text": pa.array([], pa.string()), "label": pa.array([], pa.int64())}), tmp_path / "a.parquet"
    )
    with pytest.raises(InputError, match=r"a\.parquet holds no rows; expected columns label, text"):
        labeled_file(path=str(tmp_path / "a.parquet"))
