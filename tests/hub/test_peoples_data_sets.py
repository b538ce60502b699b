"""A steer is learned from a data set of the hub by the names of its columns and labels, whatever it looks like."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.hub.peoples_data_sets import ROWS
from tests.hub.server import Hub
from tests.hub.user import Machine, User

from lmsteer.steering.steer_file import load_steer

SHORT = [
    "model=tiny",
    "model.chat=off",
    "steer.name=tone",
    "logger=none",
    "trainer.max_steps=2",
    "trainer.val_check_interval=2",
]
FIT = [*SHORT, "protocol=none"]
REVIEWS = ["corpus=hub", "corpus.id=tester/reviews", "corpus.text=review", "corpus.labels={pos: 1, neg: -1}"]
PREFERENCES = ["corpus=hub", "corpus.id=tester/preferences"]
OPINIONS = ["corpus=hub", "corpus.id=tester/opinions", "corpus.text=completion", "corpus.question=prompt"]


@pytest.fixture(scope="module")
def reader(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> User:
    """A user whose caches fill up."""
    return User(machine, tmp_path_factory.mktemp("reader") / "user")


LEARNED = {
    "classes": (REVIEWS, 0.8 * 0.95),
    "preferences": (
        [*PREFERENCES, "corpus.pairs=[chosen,rejected]", "corpus.splits={train: train_prefs, test: test_prefs}"],
        0.8 * 0.95,
    ),
    "a subset": ([*PREFERENCES, "corpus.subset=short", "corpus.pairs=[positive,negative]"], 0.65),
    "truth values": ([*OPINIONS, "corpus.label=liked", "corpus.labels={true: 1, false: -1}"], 0.65),
    "a score": ([*OPINIONS, "corpus.label=score", "corpus.thresholds=[0.1, 0.6]"], 0.65 * 0.7),
    "some words": ([*OPINIONS, "corpus.label=word", "corpus.labels={awful: -1, lovely: 1}", "corpus.other=drop"], 0.26),
}
"""Options, and about which share of the rows they train on, by case."""


@pytest.mark.parametrize("case", LEARNED)
def test_a_steer_is_learned_and_a_second_run_makes_no_request(case: str, reader: User, tmp_path: Path) -> None:
    options, share = LEARNED[case]
    reader.run("train", *FIT, *options, f"hydra.run.dir={tmp_path / 'run'}").succeeded()
    _, provenance = load_steer(tmp_path / "run")
    assert provenance.corpus["name"] == options[1].partition("=")[2]
    assert abs(provenance.corpus["train_rows"] / ROWS - share) < 0.15
    again = reader.run("train", *FIT, *options, f"hydra.run.dir={tmp_path / 'again'}").succeeded()
    assert not again.requests
    assert (tmp_path / "again" / "steer.safetensors").read_bytes() == (tmp_path / "run/steer.safetensors").read_bytes()


def test_the_card_names_the_data_set_and_sources_its_commit(hub: Hub, reader: User, tmp_path: Path) -> None:
    run, card = tmp_path / "run", tmp_path / "card"
    reader.run("train", *FIT, *REVIEWS, f"hydra.run.dir={run}").succeeded()
    reader.run("export", "model=tiny", f"steer_file={run}", "form=factors", f"out={card}").succeeded()
    assert "datasets:\n- tester/reviews\n" in (card / "README.md").read_text()
    repository = hub.repository("tester/reviews", "datasets")
    assert repository is not None
    commits = {entry["commit"] for entry in json.loads((run / "sources.json").read_text())["files"] if "id" in entry}
    assert commits == {repository.head}


def test_its_own_test_rows_are_the_prompts_of_the_protocol(reader: User, tmp_path: Path) -> None:
    few = ["protocol.samples=2", "protocol.prompts.own.n=4", "protocol.strengths=[5]", "protocol.calibration_prompts=3"]
    reader.run("train", *SHORT, *REVIEWS, *few, f"hydra.run.dir={tmp_path}").succeeded()
    assert {row["prompts"] for row in json.loads((tmp_path / "metrics.json").read_text())["rows"]} == {
        "tester/reviews-prefixes"
    }


@contextmanager
def pushed(hub: Hub, id: str, files: dict[str, bytes]) -> Iterator[tuple[str, str]]:
    """Have a newer commit of a data set for a while; yields the old and the new one."""
    repository = hub.repository(id, "datasets")
    assert repository is not None
    before = repository.head
    try:
        yield before, repository.push(files)
    finally:
        repository.head = before


def test_a_revision_is_read(hub: Hub, reader: User, tmp_path: Path) -> None:
    line = b'{"completion": "Some text of number %d.", "liked": %s}\n'
    rows = b"".join(line % (n, (b"true", b"false")[n % 2]) for n in range(60))
    options = [*OPINIONS[:3], "corpus.label=liked", "corpus.labels={true: 1, false: -1}"]
    with pushed(hub, "tester/opinions", {"opinions.jsonl": rows}) as (old, new):
        for name, commit in (("old", old), ("new", new)):
            folder = f"hydra.run.dir={tmp_path / name}"
            reader.run("train", *FIT, *options, f"corpus.revision={commit}", folder).succeeded()
    old_rows, new_rows = (load_steer(tmp_path / name)[1].corpus["train_rows"] for name in ("old", "new"))
    assert new_rows < 60 < old_rows


REFUSED = {
    "no such data set": (["corpus.id=tester/nothing"], ["tester/nothing", "there is no", "corpus=file"]),
    "no id": ([], ["corpus.id", "a value is needed"]),
    "no such revision": ([*REVIEWS[1:], "corpus.revision=nowhere"], ["tester/reviews", "no revision nowhere"]),
    "no such column": (REVIEWS[1:2], ["tester/reviews, split train", "no column 'text'", "there are review, label"]),
    "no such column of labels": ([*REVIEWS[1:], "corpus.label=stars"], ["no column 'stars'", "review, label"]),
    "no such column of pairs": (
        [PREFERENCES[1], "corpus.pairs=[chosen,worse]", "corpus.splits={train: train_prefs}"],
        ["no column 'worse'", "there are chosen, rejected"],
    ),
    "no map": (REVIEWS[1:3], ["tester/reviews, train row 1", "'neg'", "corpus.labels"]),
    "a label that is not there": (
        [*REVIEWS[1:3], "corpus.labels={positive: 1, neg: -1}"],
        ["'positive'", "neg (150 rows), pos (150 rows)"],
    ),
    "a label without a number": (
        [*OPINIONS[1:], "corpus.label=word", "corpus.labels={awful: -1, lovely: 1}"],
        ["is not in corpus.labels", "mixed", "corpus.other=drop"],
    ),
    "one number": ([*REVIEWS[1:3], "corpus.labels={pos: 1}"], ["two or more numbers"]),
    "a number out of range": ([*REVIEWS[1:3], "corpus.labels={pos: 5, neg: -1}"], ["corpus.labels.pos=5"]),
    "no number": ([*REVIEWS[1:3], "corpus.labels={pos: good, neg: -1}"], ["corpus.labels", "valid number"]),
    "hidden labels": ([*REVIEWS[1:], "corpus.splits={train: unsupervised}"], ["no row", "'pos'", "-1 (60 rows)"]),
    "no such split": ([*REVIEWS[1:], "corpus.splits={train: all}"], ["no split all", "train, test, unsupervised"]),
    "a split of no use": ([*REVIEWS[1:], "corpus.splits={training: train}"], ["corpus.splits", "training"]),
    "one split twice": ([*REVIEWS[1:], "corpus.splits={train: train, test: train}"], ["corpus.splits", "one split"]),
    "no train split": (
        [PREFERENCES[1], "corpus.pairs=[chosen,rejected]"],
        ["no split train", "train_prefs, test_prefs"],
    ),
    "no such subset": ([*REVIEWS[1:], "corpus.subset=small"], ["tester/reviews", "small"]),
    "an unknown word": ([*REVIEWS[1:], "corpus.other=skip"], ["corpus.other='skip'", "'refuse' or 'drop'"]),
    "an unknown option": ([*REVIEWS[1:], "+corpus.labelmap=1"], ["corpus.labelmap: unknown option"]),
}
"""Options and what the line says, by case."""


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line_that_says_what_there_is(
    case: str, reader: User, tmp_path: Path
) -> None:
    options, expected = REFUSED[case]
    refusal = reader.run("train", *FIT, "corpus=hub", *options, f"hydra.run.dir={tmp_path / 'run'}").refusal
    assert all(words in refusal for words in expected), refusal
    assert not (tmp_path / "run" / "steer.safetensors").exists()
