"""A polite end: SIGTERM at any time is one line and status 143, and the same command goes on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.faults.commands import ROOT, run, start, until
from tests.faults.conftest import assert_same, places
from tests.faults.faulty import StopsAt

LINE = "Terminated: the same command with the same folder goes on where it stopped"
MOMENTS = {
    "fit": "run/checkpoints/last.ckpt",
    "plain": "cache/scores/plain/*.batches/*.jsonl",
    "generate": "run/steered.0.jsonl.batches/*.jsonl",
    "evaluate": "run/generations.jsonl",
    "report": "run/metrics.json",
}


def test_a_terminated_command_says_so_and_goes_on(options: list[str], unbroken: Path, tmp_path: Path) -> None:
    """One run, terminated in each of its stages."""
    given = [*options, *places(tmp_path)]
    for moment, file in MOMENTS.items():
        started = start("train", given, tmp_path / "log", StopsAt(tmp_path, file))
        started.wait_until_stopped()
        started.send(signal.SIGTERM, signal.SIGCONT)
        done = started.end()
        assert done.status == 143, f"{moment}: {done.said}"
        assert done.said.splitlines().count(LINE) == 1, f"{moment}: {done.said}"
        assert "Traceback" not in done.said
        assert not (tmp_path / "run" / "report.html").exists()
    done = run("train", given, tmp_path / "log")
    assert done.status == 0, done.said
    assert_same(tmp_path, unbroken)


def test_the_same_of_a_command_that_a_shell_started(options: list[str], tmp_path: Path) -> None:
    """In the fit, whose trainer would end it with status 0."""
    many = [item for item in options if not item.startswith("trainer.max_steps=")]
    command = [sys.executable, "-m", "src.train", *many, "trainer.max_steps=10000", *places(tmp_path)]
    log = tmp_path / "log"
    with log.open("wb") as out:
        child = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ}
        )
    try:
        until((tmp_path / "run/checkpoints/last.ckpt").exists, log)
        child.terminate()
        assert child.wait(60) == 143
    finally:
        child.kill()
    said = log.read_text(errors="replace")
    assert said.splitlines().count(LINE) == 1
    assert "Traceback" not in said
    assert not (tmp_path / "run/steer.safetensors").exists()
