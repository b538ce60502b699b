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
from lmsteer import stages
from lmsteer.distributed.process_group import ProcessGroup
from src import train
from src.configuration import CONF, resolved
from src.launch import _joined

folder, size, job = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)

def waiting(config, sweep, world):
    here = folder / "the last is here"
    if world.rank == size - 1:
        time.sleep(1)
        here.touch()
    world.barrier()
    assert here.exists(), f"process {process_group.rank} has not waited"

def reading(config, sweep, world):
    plainly = stages.read_generation_file
    def slowly(path, *given, **named):
        time.sleep(world.rank * path.name.startswith("steered"))
        return plainly(path, *given, **named)
    stages.read_generation_file = slowly
    train.job(config, sweep, world)

def configuration(overrides):
    with initialize_config_dir(CONF, version_base="1.3"):
        cfg = compose("train", overrides)
    with open_dict(cfg):
        cfg.run_dir = str(folder / "run")
    return resolved(cfg, train.KEYS)

def process(rank):
    try:
        _joined(globals()[job], config, "", ProcessGroup(rank, size, rank), f"file://{folder}/meeting", False)
    except BaseException:
        traceback.print_exc()
        os._exit(1)

config = configuration(sys.argv[4:]) if job == "reading" else {}
processes = [multiprocessing.get_context("fork").Process(target=process, args=(rank,)) for rank in range(size)]
for one in processes:
    one.start()
for one in processes:
    one.join()
sys.exit(any(one.exitcode for one in processes))
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
    corpus = [f"data.path={write_tone(tmp_path, rows=200)}", "data=file", "steer.name=tone", "steer.rank=4"]
    small = ["fit.steps=2", "fit.batch_size=4", "protocol.samples=1", "protocol.prompts.own.n=4"]
    kept = ["data.store=off", "scores=off", "logger=none", "decoding.max_new_tokens=3", "model=tiny"]
    status, said = forked(str(tmp_path), "2", "reading", *corpus, *small, *kept)
    assert status == 0, said
    assert (tmp_path / "run" / "report.html").is_file()
