"""Rows are read unchanged; errors name file and line."""

import math
import re
from pathlib import Path

import pandas as pd
import pytest
from tests.special_files import pipe

from lmsteer.data.readers.table import find_split_files, get_number, get_text, read_table
from lmsteer.errors import InputError

COLUMNS = ("text", "label")


def rows(path: Path) -> list[tuple[str, dict[str, object]]]:
    return [(where, dict(row)) for where, row in read_table(path, columns=COLUMNS)]


def test_quotes_in_tsv_are_plain_characters_and_lines_may_end_either_way(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes('\ufefflabel\ttext\r\n4\t"Half open\n\n2\tline\u2028sep, "" two\r\n'.encode())
    assert rows(path) == [
        (f"{path}, line 2", {"label": "4", "text": '"Half open'}),
        (f"{path}, line 4", {"label": "2", "text": 'line\u2028sep, "" two'}),
    ]


def test_csv_quotes_hold_commas_quotes_and_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"one, ""two""\nthree",1\nNA,0\n', encoding="utf-8")
    assert [row for _, row in rows(path)] == [
        {"text": 'one, "two"\nthree', "label": "1"},
        {"text": "NA", "label": "0"},
    ]


def test_jsonl_keeps_types(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "label": 0.5}\n', encoding="utf-8")
    assert rows(path) == [(f"{path}, line 1", {"text": "a", "label": 0.5})]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", b"text\tlabel\n", r"a\.tsv holds no rows"),
        ("a.tsv", b"text\tlabel\na\t1\nb\n", r"a\.tsv, line 3: 1 fields; 2 expected"),
        ("a.tsv", b"text\tscore\na\t1\n", r"a\.tsv, line 2: no column 'label'; there are text, score"),
        ("a.tsv", b"text\tlabel\n\xff\t1\n", r"cannot read .*a\.tsv"),
        ("a.csv", b"text,label\na,1,2\n", r"a\.csv, line 2: 3 fields"),
        ("a.csv", b'text,label\n"a"b,1\n', r"a\.csv, line 2: not CSV"),
        ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": "a"}\n', r"a\.jsonl, line 2: no column 'label'"),
        ("a.jsonl", b"{]\n", r"a\.jsonl, line 1: not JSON"),
        ("a.txt", b"text\tlabel\na\t1\n", r"a\.txt: unknown kind of file; allowed are \.tsv, \.csv, \.jsonl"),
    ],
)
def test_a_malformed_file_is_refused_by_file_and_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        rows(tmp_path / name)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*none\.tsv"):
        rows(tmp_path / "none.tsv")


@pytest.mark.parametrize("text", [None, "", "  \t", 3])
def test_a_cell_without_text_is_refused(text: object) -> None:
    with pytest.raises(InputError, match="FILE, line 7: text is"):
        get_text({"text": text}, "text", "FILE, line 7")


@pytest.mark.parametrize("value", [None, "", "good", True, []])
def test_a_cell_without_a_number_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="FILE, line 7: label is"):
        get_number({"label": value}, "label", "FILE, line 7")


def test_a_folder_is_read_by_the_names_of_its_splits(tmp_path: Path) -> None:
    for name in ("train.tsv", "validation.csv", "test.jsonl", "notes.txt"):
        (tmp_path / name).touch()
    files = {split: path.name for split, path in find_split_files(tmp_path).items()}
    assert files == {"train": "train.tsv", "dev": "validation.csv", "test": "test.jsonl"}
    (tmp_path / "dev.tsv").touch()
    with pytest.raises(InputError, match=r"both dev\.tsv and validation\.csv"):
        find_split_files(tmp_path)


@pytest.mark.parametrize(("name", "separator"), [("a.tsv", "\t"), ("a.csv", ",")])
def test_a_column_named_twice_is_refused_by_its_name(name: str, separator: str, tmp_path: Path) -> None:
    lines = (("text", "label", "label"), ("a", "1", "-1"))
    (tmp_path / name).write_text("\n".join(map(separator.join, lines)) + "\n")
    with pytest.raises(InputError, match=rf"{re.escape(name)}, line 1: 'label' is named twice"):
        rows(tmp_path / name)


def test_columns_without_a_name_may_be_several(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label,,\na,1,,\n")
    assert rows(path) == [(f"{path}, line 2", {"text": "a", "label": "1", "": ""})]


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl"])
def test_a_text_may_be_of_any_length(name: str, tmp_path: Path) -> None:
    text = "far too long " * 20_000
    frame = pd.DataFrame({"text": [text], "label": [1]})
    if name == "a.jsonl":
        frame.to_json(tmp_path / name, orient="records", lines=True)
    else:
        frame.to_csv(tmp_path / name, index=False, sep="\t" if name == "a.tsv" else ",")
    assert [row["text"] for _, row in rows(tmp_path / name)] == [text]


def test_a_tsv_of_pandas_gives_its_texts_or_is_refused_by_line(tmp_path: Path) -> None:
    texts = ['He said "no"', '"Quoted"', '"', '"a" and "b"', 'half "open', "plain", "it's"]
    path = tmp_path / "a.tsv"
    pd.DataFrame({"text": texts, "label": 1}).to_csv(path, sep="\t", index=False)
    assert [row["text"] for _, row in rows(path)] == texts
    for text in ("a\ttab", "two\nlines"):
        pd.DataFrame({"text": ["plain", text], "label": 1}).to_csv(path, sep="\t", index=False)
        with pytest.raises(InputError, match=r"a\.tsv, line 3: \d fields; 2 expected"):
            rows(path)


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl"])
def test_a_pipe_is_refused_before_it_is_read(name: str, tmp_path: Path) -> None:
    with pipe(tmp_path / name) as path, pytest.raises(InputError, match=r"is a pipe, .* a regular file expected"):
        rows(path)


@pytest.mark.parametrize("value", ["nan", "inf", math.nan, -math.inf, "1e999"])
def test_a_number_that_is_not_finite_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"FILE, line 7: label is (nan|-?inf); a finite number is needed"):
        get_number({"label": value}, "label", "FILE, line 7")
