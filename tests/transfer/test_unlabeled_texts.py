"""Promises of texts without labels."""

from pathlib import Path

import pytest

from lmsteer.data.corpus import Corpus
from lmsteer.errors import InputError
from lmsteer.records import Row
from lmsteer.transfer.unlabeled_texts import unlabeled_texts


def test_a_text_is_a_line_of_the_file_whatever_else_splits_it(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text(
        "one\u2028still one\n\n two\x0cstill two \r\ntwo\u0085\none\u2028still one\n", encoding="utf-8", newline=""
    )
    name, rows = unlabeled_texts(None, path, n=9)
    assert (name, [row.text for row in rows]) == ("texts.txt", ["one\u2028still one", "two\x0cstill two", "two"])


def test_training_texts_of_a_corpus_are_spread_evenly_whatever_their_labels() -> None:
    corpus = Corpus("toy", tuple(Row(f"text {n}", n / 9) for n in range(10)), test=(Row("not this one", 1.0),))
    assert unlabeled_texts(corpus, None, n=3) == ("toy", [Row(f"text {n}", 0.0) for n in (0, 3, 6)])


def test_an_answer_keeps_its_question_and_counts_once_whatever_its_label() -> None:
    questions = [(("user", f"question {n}"),) for n in (0, 0, 1)]
    corpus = Corpus("toy", tuple(Row("Yes.", label, turns) for label, turns in zip((1, -1, 1), questions, strict=True)))
    assert unlabeled_texts(corpus, None, n=9)[1] == [Row("Yes.", 0.0, questions[0]), Row("Yes.", 0.0, questions[2])]


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff")
    with pytest.raises(InputError, match="bytes: cannot be read as UTF-8 text"):
        unlabeled_texts(None, tmp_path / "bytes", n=3)
    with pytest.raises(InputError, match="a file or a corpus expected"):
        unlabeled_texts(None, None, n=3)
