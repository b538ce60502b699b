"""Stores that two processes fill at the same time, or one that is killed over it."""

import signal
from pathlib import Path

import pytest
from tests.faults.commands import run, start, until
from tests.faults.conftest import assert_same, places
from tests.faults.faulty import StopsAt

PATTERNS = {
    "hidden states": "cache/features/*/*.safetensors.tmp",
    "scores": "cache/scores/*/*.safetensors.tmp",
    "plain texts": "cache/scores/plain/*.batches/*.jsonl",
}
"""Files that stand only while a process holds the lock of a store."""


def test_two_processes_that_fill_the_same_stores_at_once_store_everything_once(
    options: list[str], unbroken: Path, tmp_path: Path
) -> None:
    names = ("run", "other")
    both = [start("train", [*options, *places(tmp_path, name)], tmp_path / f"{name}.log") for name in names]
    for done in [started.end() for started in both]:  # both have ended before what they left is looked at
        assert done.status == 0, done.said
    for name in names:
        assert_same(tmp_path, unbroken, name)


@pytest.mark.parametrize("store", PATTERNS)
def test_a_process_that_is_killed_while_it_holds_the_lock_stops_nobody(
    store: str, options: list[str], unbroken: Path, tmp_path: Path
) -> None:
    given, others = [*options, *places(tmp_path)], [*options, *places(tmp_path, "other")]
    first = start("train", given, tmp_path / "log", StopsAt(tmp_path, PATTERNS[store]))
    first.wait_until_stopped()
    second = start("train", others, tmp_path / "other.log")
    before = tmp_path / "other" / "config.yaml"
    until(before.exists, tmp_path / "other.log")
    second.process.join(2)
    assert second.process.is_alive(), "it did not wait for the lock"
    first.send(signal.SIGKILL)
    assert first.end().status == -signal.SIGKILL
    done = second.end()
    assert done.status == 0, done.said
    assert run("train", given, tmp_path / "log").status == 0
    for name in ("run", "other"):
        assert_same(tmp_path, unbroken, name)
