"""Promises of the record of what a run reads: a resume over something else is refused."""

import json
from pathlib import Path

import pytest

from lmsteer.data.prompts.selection import Candidate, select_prompts
from lmsteer.errors import InputError
from lmsteer.runs.run import Run
from lmsteer.runs.sources import SOURCES, begin, digest_of_prompts

DATA_SET = {"option": "corpus", "id": "org/rows", "kind": "dataset", "revision": None}
OLD, NEW = ({**DATA_SET, "commit": letter * 40, "files": {"train.jsonl": letter}} for letter in "ab")


def start(folder: Path, digest: str, files: dict[str, object]) -> None:
    begin(Run(folder, "seed: 0\n"), [files], {"corpus": digest})


def test_a_resume_over_what_has_changed_is_refused_with_both_commits(tmp_path: Path) -> None:
    start(tmp_path / "run", "rows 1", OLD)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(InputError, match=f"corpus is not what it was .*commit {'a' * 12} there.*{'b' * 12} here"):
        start(tmp_path / "run", "rows 2", NEW)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_another_commit_with_the_same_rows_goes_on_and_is_recorded(tmp_path: Path) -> None:
    start(tmp_path / "run", "rows 1", OLD)
    start(tmp_path / "run", "rows 1", NEW)
    record = json.loads((tmp_path / "run" / SOURCES).read_text())
    assert record == {"files": [NEW], "digests": {"corpus": "rows 1"}}


def test_a_damaged_record_is_refused_by_name(tmp_path: Path) -> None:
    start(tmp_path / "run", "rows 1", OLD)
    for text in ("{", "[]", '{"files": 3, "digests": {}}'):
        (tmp_path / "run" / SOURCES).write_text(text)
        with pytest.raises(InputError, match=r"sources\.json: damaged"):
            start(tmp_path / "run", "rows 1", OLD)


def test_prompts_are_told_apart_by_their_texts_and_order() -> None:
    texts = ["one", "two", "three"]
    sets = [select_prompts("p", map(Candidate.from_text, order), None) for order in (texts, texts[::-1], texts[:2])]
    assert len({digest_of_prompts(prompts) for prompts in sets}) == 3
    assert digest_of_prompts(sets[0]) == digest_of_prompts(select_prompts("q", map(Candidate.from_text, texts), 3))
