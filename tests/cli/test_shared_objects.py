"""Promises of objects that jobs share: one for each configuration, and none that the next job does not need."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.tone import write_tone

from lmsteer.cli.shared_objects import SharedObjects
from lmsteer.errors import InputError
from lmsteer.records import Row

TINY = {"_target_": "lmsteer.models.random_models.tiny", "seed": 0, "device": "auto", "dtype": "auto"}


def corpus(path: Path, **options: str) -> dict[str, Any]:
    return {"_target_": "lmsteer.data.sources.labeled_file.labeled_file", "path": str(path), **options}


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    return write_tone(tmp_path, rows=200)


def test_equal_configurations_are_one_object_wherever_they_stand(tone: Path) -> None:
    shared = SharedObjects()
    node = {
        "_target_": "lmsteer.evaluation.protocol.Protocol",
        "name": "own",
        "metric": "tone",
        "prompts": {
            "own": {
                "_target_": "lmsteer.data.prompts.prompt_sets.corpus_prefixes",
                "_partial_": True,
                "corpus": corpus(tone),
                "n": 3,
                "words": 2,
            }
        },
        "scorers": {
            "tfidf": {"_target_": "lmsteer.scoring.tfidf.TfidfScorer", "corpus": corpus(tone), "name": "tfidf"}
        },
    }
    protocol = shared.build(node)
    assert shared.build(corpus(tone)) is shared.build(corpus(tone))
    assert shared.build(node | {"samples": 3}).scorers["tfidf"] is protocol.scorers["tfidf"]
    assert protocol.prompts["own"]() is shared.build(node | {"samples": 3}).prompts["own"]()
    assert protocol.scorers["tfidf"].revision == shared.build(node["scorers"])["tfidf"].revision


def test_an_option_that_has_its_default_is_as_if_it_were_left_out(tone: Path) -> None:
    shared = SharedObjects()
    assert shared.build(corpus(tone)) is shared.build(corpus(tone, text="text", label="label"))
    assert shared.build(TINY) is shared.build({**TINY, "width": 32})
    assert shared.build(TINY) is not shared.build({**TINY, "seed": 1})
    assert shared.build({**TINY, "seed": 1}) is not shared.build({**TINY, "seed": True})


def test_a_loader_gives_the_object_of_the_same_options_and_can_be_given_others(tone: Path) -> None:
    shared = SharedObjects()
    load = shared.build({**corpus(tone), "_partial_": True})
    assert load() is shared.build(corpus(tone))
    assert load(label="label") is not shared.build(corpus(tone))
    with pytest.raises(InputError, match="no column 'mark'"):
        load(label="mark")


def test_only_the_objects_of_the_next_job_are_retained(tone: Path) -> None:
    shared = SharedObjects()
    before, model = shared.build(corpus(tone)), shared.build(TINY)
    shared.retain([{"nested": [{**corpus(tone), "_partial_": True}]}, None])
    assert shared.build(corpus(tone)) is before
    assert shared.build(TINY) is not model


def appended(path: Path) -> None:
    path.write_text(path.read_text() + "one more text\t1\n")


def replaced(path: Path) -> None:
    """The same size, and the same times to the nanosecond."""
    path.write_text(path.read_text().replace("warm", "cold"))


@pytest.mark.parametrize("change", [appended, replaced])
def test_a_file_that_changed_between_two_jobs_is_read_again(change: Callable[[Path], None], tone: Path) -> None:
    shared = SharedObjects()
    before = shared.build(corpus(tone))
    change(tone)
    shared.retain([corpus(tone)])
    after = shared.build(corpus(tone))

    def rows(corpus: Any) -> set[Row]:
        return {*corpus.train, *corpus.dev, *corpus.test, *corpus.scorer_split}

    assert rows(before) != rows(after)


def test_an_object_that_was_refused_is_built_again(tmp_path: Path) -> None:
    shared, path = SharedObjects(), tmp_path / "tone.tsv"
    with pytest.raises(InputError, match="does not exist"):
        shared.build(corpus(path))
    write_tone(tmp_path, rows=20)
    shared.retain([corpus(path)])
    assert shared.build(corpus(path)).train
