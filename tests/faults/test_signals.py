"""A polite end: SIGTERM at any time is one line and status 143, and the same command goes on."""

import signal
from pathlib import Path

import pytest
from tests.faults.commands import run, start
from tests.faults.conftest import assert_same, places
from tests.faults.faulty import StopsAt

LINE = "Terminated: the same command with the same folder goes on where it stopped"


@pytest.mark.parametrize("at", ["checkpoints/last.ckpt", "plain.0.jsonl", "generations.jsonl", "metrics.json"])
def test_a_terminated_command_says_so_and_goes_on(at: str, options: list[str], unbroken: Path, tmp_path: Path) -> None:
    given = [*options, *places(tmp_path)]
    started = start("train", given, tmp_path / "log", StopsAt(tmp_path / "run", at))
    started.wait_until_stopped()
    started.send(signal.SIGTERM, signal.SIGCONT)
    done = started.end()
    assert done.status == 143, done.said
    assert [line for line in done.said.splitlines() if line == LINE] == [LINE]
    assert "Traceback" not in done.said
    assert not (tmp_path / "run" / "report.html").exists()
    assert run("train", given, tmp_path / "log").status == 0
    assert_same(tmp_path, unbroken)
