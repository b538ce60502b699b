"""Promises of processes that wait for one another, of which one is late."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.several import ENVIRONMENT
from tests.tone import write_tone

# Forked, so that many are cheap; in a process of its own, which has no threads yet.
FORKED = """
import multiprocessing, os, sys, time, traceback
from pathlib import Path
import torch
from hydra import compose, initialize_config_dir
from omegaconf import open_dict
from lmsteer.cli.app import CONF
from lmsteer.cli.configuration import check_config
from lmsteer.cli.launch import _Task
from lmsteer.cli.options import OF_COMMAND
from lmsteer.commands import train
from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.runs import stages

folder, size, job = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)

def waiting(config, sweep, process_group):
    last_is_here = folder / "the last is here"
    if process_group.rank == size - 1:
        time.sleep(1)
        last_is_here.touch()
    process_group.barrier()
    assert last_is_here.exists(), f"process {process_group.rank} has not waited"

def reading(config, sweep, process_group):
    read = stages.read_generation_file
    def read_slowly(path, *arguments, **options):
        time.sleep(process_group.rank * path.name.startswith("steered"))
        return read(path, *arguments, **options)
    stages.read_generation_file = read_slowly
    train.job(config, sweep, process_group)

def configuration(overrides):
    with initialize_config_dir(CONF, version_base="1.3"):
        cfg = compose("train", overrides)
    with open_dict(cfg):
        cfg.run_dir = str(folder / "run")
    return check_config(cfg, OF_COMMAND["train"])

def process(rank):
    try:
        _Task(globals()[job], config, "", f"file://{folder}/meeting", False).run(ProcessGroup(rank, size, rank))
    except BaseException:
        traceback.print_exc()
        os._exit(1)

config = configuration(sys.argv[4:]) if job == "reading" else {}
processes = [multiprocessing.get_context("fork").Process(target=process, args=(rank,)) for rank in range(size)]
for process in processes:
    process.start()
for process in processes:
    process.join()
sys.exit(any(process.exitcode for process in processes))
"""


def forked(*arguments: str) -> tuple[int, str]:
    """Status of the processes, 0 if all ended well, and the end of what they said."""
    command = [sys.executable, "-c", FORKED, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=300, check=False)
    return done.returncode, done.stderr[-3000:]


@pytest.mark.parametrize("size", [2, 8])
def test_nobody_goes_on_before_all_are_here(size: int, tmp_path: Path) -> None:
    status, said = forked(str(tmp_path), str(size), "waiting")
    assert status == 0, said


def test_parts_stay_until_all_have_read_them(tmp_path: Path) -> None:
    corpus = [f"corpus.path={write_tone(tmp_path, rows=200)}", "corpus=file", "steer.name=tone", "steer.rank=4"]
    small = ["trainer.max_steps=2", "data.batch_size=4", "protocol.samples=1", "protocol.prompts.own.n=4"]
    plain = ["cache=off", "logger=none", "decoding.max_new_tokens=3", "model=tiny"]
    status, said = forked(str(tmp_path), "2", "reading", *corpus, *small, *plain)
    assert status == 0, said
    assert (tmp_path / "run" / "report.html").is_file()
