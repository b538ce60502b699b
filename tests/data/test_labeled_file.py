"""The user's own files: all formats give the same corpus, errors name file and line."""

import csv
import json
from pathlib import Path

import pytest

from lmsteer.data.sources.labeled_file import labeled_file
from lmsteer.errors import InputError
from lmsteer.records import Row

ROWS = [(f'text {i}, with "quotes', round(i / 200 - 1, 3)) for i in range(401)]


def write(path: Path, rows: list[tuple[str, float]], names: tuple[str, str] = ("text", "label")) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows), "utf-8")
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as target:
            csv.writer(target).writerows([names, *rows])
    else:
        path.write_text("".join(f"{text}\t{label}\n" for text, label in [names, *rows]), encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl"])
def test_every_format_gives_the_same_rows_and_splits(suffix: str, tmp_path: Path) -> None:
    corpus = labeled_file(path=str(write(tmp_path / f"formality{suffix}", ROWS)))
    assert corpus.name == "formality"
    splits = (corpus.train, corpus.dev, corpus.test, corpus.scorer_split)
    assert {row for split in splits for row in split} == {Row(text, label) for text, label in ROWS}
    other = labeled_file(path=str(write(tmp_path / "other.jsonl", ROWS)))
    assert splits == (other.train, other.dev, other.test, other.scorer_split)
    assert all(splits)


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", ROWS, names=("sentence", "score"))
    plain = labeled_file(path=str(write(tmp_path / "b.tsv", ROWS)))
    assert labeled_file(path=str(path), text="sentence", label="score").train == plain.train


def test_a_folder_keeps_its_splits_and_splits_train_rows_for_the_scorers(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", ROWS[:300])
    write(tmp_path / "validation.jsonl", ROWS[300:350])
    write(tmp_path / "test.tsv", ROWS[350:])
    corpus = labeled_file(path=str(tmp_path))
    assert corpus.dev == tuple(Row(*row) for row in ROWS[300:350])
    assert corpus.test == tuple(Row(*row) for row in ROWS[350:])
    assert {*corpus.train, *corpus.scorer_split} == {Row(*row) for row in ROWS[:300]}
    assert 30 < len(corpus.scorer_split) < 90


def test_a_test_file_without_labels_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "lmsteer")
    write(tmp_path / "train.tsv", ROWS)
    alone = labeled_file(path=str(tmp_path))
    (tmp_path / "test.tsv").write_text("index\ttext\n0\ta film\n1\ta text\n")
    corpus = labeled_file(path=str(tmp_path))
    assert (corpus.train, corpus.dev, corpus.test) == (alone.train, alone.dev, alone.test)
    assert corpus.test, "taken from the train rows"
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"{tmp_path / 'test.tsv'}: no column 'label', so it is left out")


@pytest.mark.parametrize("file", ["train.tsv", "dev.tsv"])
def test_labels_that_are_needed_are_demanded(file: str, tmp_path: Path) -> None:
    write(tmp_path / "train.tsv", ROWS)
    (tmp_path / file).write_text("text\na film\n")
    with pytest.raises(InputError, match=rf"{file}, line 2: no column 'label'; there are text"):
        labeled_file(path=str(tmp_path))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b\t1.01", r"mine\.tsv, line 3: label is 1\.01; allowed are numbers from -1 to 1"),
        ("b\tnan", r"line 3: label is nan; a finite number is needed"),
        ("b\t1e999", r"line 3: label is inf"),
        ("b\t-inf", r"line 3: label is -inf"),
    ],
)
def test_a_bad_line_is_refused_by_its_number(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.tsv"
    path.write_text(f"text\tlabel\na\t1\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        labeled_file(path=str(path))


def test_a_path_without_a_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"corpus\.path: .*none\.tsv does not exist"):
        labeled_file(path=str(tmp_path / "none.tsv"))
    with pytest.raises(InputError, match=r"has no train\.tsv, train\.csv, train\.jsonl or train\.parquet"):
        labeled_file(path=str(tmp_path))
