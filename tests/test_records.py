"""Lines of a file are read as they stand, or refused by number."""

import json
from pathlib import Path

import pytest
from tests.special_files import pipe

from lmsteer.errors import InputError
from lmsteer.records import Generation, Prompt, read_generations, read_jsonl

LINE = {"prompt": {"text": "The film"}, "generations": [{"text": " is"}]}


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_mark_before_the_text_and_either_end_of_line_are_read(mark: str, end: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(f'{mark}{{"text": "a\u2028b"}}{end}{end}{{"text": "c"}}'.encode())
    assert list(read_jsonl(path)) == [(1, {"text": "a\u2028b"}), (3, {"text": "c"})]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ("[" * 100_000, "line 2: not JSON"),
        ('{"a": ' + "1" * 5000 + "}", "line 2: not JSON"),
        ('{"a": "\\ud800"}', "line 2: not JSON .*surrogates not allowed"),
        ("[1]", "line 2: a list"),
    ],
)
def test_a_line_that_is_no_object_is_refused(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}\n" + line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        list(read_jsonl(path))
    assert "\n" not in str(caught.value)


def test_whole_surrogate_pairs_are_text(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": "\\ud83d\\ude00"}\n')
    assert list(read_jsonl(path)) == [(1, {"a": "\U0001f600"})]


@pytest.mark.parametrize(
    "change",
    [
        {"generations": []},
        {"generations": "ab"},
        {"generations": [{"text": None}]},
        {"generations": [["a"]]},
        {"prompt": "a"},
        {"strength": 5},
        {"strength": {"tone": "x"}},
        {"strength": {"tone": None}},
        {"strength": {"tone": float("nan")}},
        {"strength": {"tone": float("inf")}},
        {"strength": {"tone": 10**400}},
        {"strength": {"": 1.0}},
    ],
)
def test_a_line_that_is_no_generation_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "g.jsonl"
    path.write_text(json.dumps(LINE) + "\n" + json.dumps(LINE | change) + "\n")
    with pytest.raises(InputError, match=r"g\.jsonl, line 2: not a generation"):
        read_generations(path)


@pytest.mark.parametrize("line", ['{"label": 1, "label": -1}', '{"prompt": {"label": 1, "text": "a", "label": 1}}'])
def test_a_key_named_twice_is_refused_by_its_name_at_any_depth(line: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"label": 1}\n' + line + "\n")
    with pytest.raises(InputError, match=r"a\.jsonl, line 2: 'label' is named twice"):
        list(read_jsonl(path))


def test_a_pipe_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with pipe(tmp_path / "a.jsonl") as path, pytest.raises(InputError, match=r"a\.jsonl is a pipe, .* a regular file"):
        list(read_jsonl(path))


def test_a_question_is_written_with_its_turns_and_read_again(tmp_path: Path) -> None:
    turns = (("system", "Be brief."), ("user", "Who?"), ("assistant", "Nobody."), ("user", "Why?"))
    generation = Generation(Prompt("a", "Why?", turns), ("So.",), {})
    path = tmp_path / "generations.jsonl"
    path.write_text(generation.to_json() + "\n", encoding="utf-8")
    assert read_generations(path) == [generation]
    path.write_text(generation.to_json().replace('"text": "Why?"', '"text": "Who?"') + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 1: not a generation"):
        read_generations(path)
