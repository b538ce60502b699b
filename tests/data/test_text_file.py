"""Promises of texts read from files and from standard input."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lmsteer.data.readers.text_file import Text, read_texts, refuse_shared
from lmsteer.errors import InputError


def piped(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_a_line_is_a_text_whatever_ends_it(tmp_path: Path, ending: str, last: bool) -> None:
    path = tmp_path / "reviews.txt"
    lines = ['A film, (warm) and "funny"', " with\u2028space ", '{"text": "no JSON here"}']
    path.write_bytes((ending.join(lines) + ending * last).encode("utf-8-sig"))
    loaded = read_texts(str(path))
    assert [text.text for text in loaded] == lines
    assert [text.label for text in loaded] == [None] * 3
    assert loaded[2].where == f"{path}, line 3"


def test_jsonl_has_labels_where_there_are_any(tmp_path: Path) -> None:
    path = tmp_path / "reviews.JSONL"
    path.write_text(
        '{"text": "good\\nfilm", "label": 0.5}\n\n{"text": "bad", "label": null}\n{"text": "so", "id": 3}\n'
    )
    assert read_texts(str(path)) == [
        Text("good\nfilm", 0.5, f"{path}, line 1"),
        Text("bad", None, f"{path}, line 3"),
        Text("so", None, f"{path}, line 4"),
    ]


def test_answers_have_the_turns_before_them(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    said = '[{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A."}]'
    columns = '{"question": "Why?", "answer": "So.", "label": 1}'
    path.write_text(f'{columns}\n{{"messages": {said}}}\n{{"question": "Why?", "text": "T"}}\n')
    assert read_texts(str(path)) == [
        Text("So.", 1.0, f"{path}, line 1", (("user", "Why?"),)),
        Text("A.", None, f"{path}, line 2", (("user", "Q?"),)),
        Text("T", None, f"{path}, line 3"),
    ]


def test_standard_input_is_read_as_lines_or_as_jsonl(monkeypatch: pytest.MonkeyPatch) -> None:
    piped(monkeypatch, "A naïve film\nand another".encode())
    assert [text.text for text in read_texts("-")] == ["A naïve film", "and another"]
    piped(monkeypatch, b'\n{"text": "A film", "label": -1}\n')
    assert read_texts("-") == [Text("A film", -1.0, "standard input, line 2")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", r"a\.txt is empty; a text on each line expected"),
        ("a.txt", b"one\n\nthree\n", r"a\.txt, line 2: text is ''; a text that is not empty"),
        ("a.txt", b"\xff\xfe", r"cannot read .*a\.txt: .*UTF-8"),
        ("a.jsonl", b'{"text": "a"}\n{"text": ""}', r"a\.jsonl, line 2: text is ''"),
        ("a.jsonl", b'{"txt": "a"}', r"a\.jsonl, line 1: text is None"),
        ("a.jsonl", b'{"text": "\\ud800"}', r"a\.jsonl, line 1: not JSON .*surrogates"),
        ("a.jsonl", b'{"text": "a", "label": 4}', r"a\.jsonl, line 1: label is 4; allowed are numbers from -1 to 1"),
        ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": "b", "label": 0}', r"labels are 0 and 1; .* -1 and 1"),
    ],
)
def test_wrong_files_are_refused_by_name_and_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_texts(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_empty_standard_input_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"cannot read .*nowhere\.txt"):
        read_texts(str(tmp_path / "nowhere.txt"))
    piped(monkeypatch, b"")
    with pytest.raises(InputError, match="standard input is empty"):
        read_texts("-")


def test_texts_that_a_threshold_was_chosen_on_are_refused() -> None:
    texts = [Text("A good film.", None, "test, line 1"), Text("Bad!", None, "test, line 2")]
    refuse_shared(texts, [Text("A bad film.", -1.0, "dev, line 1")])
    with pytest.raises(
        InputError, match=r"test, line 2: same text as dev, line 7; the threshold must be chosen on other texts"
    ):
        refuse_shared(texts, [Text("bad", -1.0, "dev, line 7")])
