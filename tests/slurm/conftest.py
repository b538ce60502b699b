"""A small run, unbroken and on the cluster, and what it takes to stop it in the middle."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tests.tone import write_tone

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
RESULTS = ("config.yaml", "steer.safetensors", "generations.jsonl", "metrics.json", "values.safetensors")
"""Files of a run that are functions of its configuration alone."""
SMALL = ("--mem=1G", "--cpus-per-task=1")
"""Options of sbatch that fit the cluster of the tests."""
PATIENCE = 600.0
"""Seconds after which something has gone wrong."""


def call(*command: str | Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command in the repository."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        timeout=2 * PATIENCE,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def train(*overrides: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command on this machine."""
    return call(sys.executable, "-m", "src.train", *overrides, expect=expect)


def until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE, every: float = 0.2) -> None:
    """Wait for a condition; fail with ``what`` if it does not come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s for: {what}"
        time.sleep(every)


class Job:
    """A job of the cluster, or a task of an array, by its number."""

    def __init__(self, number: str) -> None:
        self.number = number

    def __getitem__(self, field: str) -> str:
        """A field of ``scontrol show job``."""
        shown = call("scontrol", "show", "job", self.number, "--oneliner").stdout
        found = re.search(rf"\b{field}=(\S*)", shown)
        assert found, shown
        return found[1]

    def ends_as(self, state: str) -> None:
        """Wait for its end, which must be this one."""
        ends = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL", "OUT_OF_MEMORY")
        until(lambda: self["JobState"] in ends, f"end of job {self.number}")
        assert self["JobState"] == state, self.log()

    def comes_back(self) -> None:
        """Wait for its first restart."""
        until(lambda: self["Restarts"] == "1", f"restart of job {self.number}")

    def limited_to(self, minutes: int) -> None:
        """Change its time limit to so many minutes from now."""
        hours, passed, seconds = (int(part) for part in self["RunTime"].split(":"))
        limit = 60 * hours + passed + (seconds + 59) // 60 + minutes
        call("scontrol", "update", f"JobId={self.number}", f"TimeLimit={limit}")

    def log(self) -> str:
        """What it wrote so far."""
        path = Path(self["StdOut"])
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def program(self) -> psutil.Process | None:
        """Its Python program, if that runs."""
        number = self["JobId"]
        for process in psutil.process_iter():
            try:
                command = process.cmdline()
                ours = len(command) > 1 and "python" in Path(command[0]).name and "-m" in command
                if ours and process.environ().get("SLURM_JOB_ID") == number:
                    return process
            except psutil.Error:
                continue
        return None

    def frozen(self, at: Path, unfinished: Path) -> psutil.Process:
        """Stop its program, as ctrl-z would, once one file is there and another is not yet; SLURM's signals wake it."""
        until(at.exists, f"{at} of job {self.number}: {self.log()[-2000:]}", every=0.005)
        program = self.program()
        assert program is not None, self.log()
        program.suspend()
        assert not unfinished.exists(), "the program was too fast for the test"
        return program


def submitted(*arguments: str | Path) -> Job:
    """Give a script to sbatch without further ado."""
    said = call("sbatch", f"--chdir={ROOT}", *SMALL, *arguments).stdout
    return Job(said.split()[-1])


def assert_same_run(folder: Path, expected: Path) -> None:
    """Every result is there, and has the bytes of another run of that configuration."""
    for name in (*RESULTS, "report.html"):
        assert (folder / name).is_file(), f"{name} is missing in {folder}"
    for name in RESULTS:
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name
    assert not [path.name for path in folder.iterdir() if path.suffix in (".batches", ".tmp")]
    assert not (folder / "checkpoints").exists()


@pytest.fixture(scope="session")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options of a small run: 100 steps, then 8 batches of the plain model and 16 steered ones."""
    path = write_tone(tmp_path_factory.mktemp("corpus"), rows=300, words=10)
    model = ["model=tiny", "steer.name=tone", "steer.rank=4", "steer.epsilon=0.05"]
    corpus = ["corpus=file", f"corpus.path={path}", "data.batch_size=4", "cache=off"]
    fit = ["trainer.max_steps=100", "trainer.val_check_interval=5", "logger=none"]
    protocol = ["protocol.samples=2", "protocol.prompts.own.n=16", "protocol.batch_size=4"]
    return [*model, *corpus, *fit, *protocol]


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """A cluster that runs and is empty; tests that need one fail without it."""
    try:
        call("sacctmgr", "--noheader", "list", "cluster")
        call("sinfo", "--noheader")
    except (OSError, AssertionError) as error:
        pytest.fail(f"no SLURM cluster: run make test-slurm, or tests/slurm/cluster.sh up first ({error})")
    yield
    subprocess.run(["scancel", "--state=PENDING"], check=False)
    subprocess.run(["scancel", "--state=RUNNING"], check=False)


@pytest.fixture(scope="session")
def unbroken(cluster: None, options: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders of the runs of two seeds, made on this machine by Hydra's own launcher."""
    folder = tmp_path_factory.mktemp("unbroken")
    train("-m", *options, "seed=0,1", f"hydra.sweep.dir={folder}", "hydra.sweep.subdir=seed-${seed}")
    return [folder / "seed-0", folder / "seed-1"]
