"""Promises of the start and the end of several processes."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.several import ENVIRONMENT, settings

from lmsteer.cli.launch import external_process_group, first_host, launch
from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError

SRUN = {
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_JOB_ID": "1234567",
}


def failing(config: dict[str, Any], sweep: str, process_group: ProcessGroup) -> None:
    """One process fails while the other waits for it."""
    if process_group.rank == 1:
        if config["how"] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise {"refused": InputError("optimizer.lr=0: no"), "broken": ZeroDivisionError("a defect")}[config["how"]]
    process_group.barrier()


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("refused", InputError, r"^optimizer\.lr=0: no$"),
        ("broken", RuntimeError, "(?s)process 1.*ZeroDivisionError: a defect"),
        ("killed", InputError, "SIGKILL.*the same command goes on where it stopped"),
    ],
)
def test_what_one_process_ends_with_ends_all(how: str, error: type[Exception], message: str) -> None:
    begun = time.monotonic()
    with pytest.raises(error, match=message):
        launch(failing, settings(2) | {"how": how})
    assert time.monotonic() - begun < 120, "nobody waits for the dead"


def parting(config: dict[str, Any], sweep: str, process_group: ProcessGroup) -> None:
    """End, well or not, as soon as all have heard one another, while threads of gloo still hold what was said."""
    torch.set_num_threads(1)
    process_group.all_gather(process_group.rank)
    process_group.broadcast(process_group.rank)
    if config["refused"]:
        raise InputError("optimizer.lr=0: no")
    Path(config["folder"], str(process_group.rank)).touch()


@pytest.mark.parametrize("attempt", range(3))
def test_processes_end_well_right_after_they_have_spoken(attempt: int, tmp_path: Path) -> None:
    launch(parting, settings(3) | {"refused": False, "folder": str(tmp_path)})
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1", "2"}, "and none was aborted, which is an error"


def test_what_all_refuse_after_they_have_spoken_is_told() -> None:
    with pytest.raises(InputError, match=r"^optimizer\.lr=0: no$"):
        launch(parting, settings(3) | {"refused": True})


def test_one_process_starts_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmsteer.cli.launch._spawn", lambda *_: pytest.fail("a process was started"))
    for trainer in (settings(1), {"trainer": {"strategy": "auto", "devices": 1}}):
        assert launch(lambda config, sweep, process_group: process_group, trainer | {"device": "cpu"}) == ProcessGroup()


def test_tasks_of_srun_find_one_another() -> None:
    assert external_process_group(SRUN) == (ProcessGroup(3, 4, 1, 2), "tcp://gpu07:19567")
    assert external_process_group(SRUN | {"MASTER_ADDR": "a", "MASTER_PORT": "7"}) == (
        ProcessGroup(3, 4, 1, 2),
        "tcp://a:7",
    )
    torchrun = {"TORCHELASTIC_RUN_ID": "none", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
    torchrun |= {"LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "host", "MASTER_PORT": "29500"}
    assert external_process_group(torchrun) == (ProcessGroup(5, 8, 1, 2), "tcp://host:29500")


def test_a_job_script_and_a_single_task_are_no_world() -> None:
    assert external_process_group({}) is None
    assert external_process_group({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}) is None, (
        "the script of a job of four tasks"
    )
    assert external_process_group(SRUN | {"SLURM_STEP_NUM_TASKS": "1"}) is None


def test_processes_of_two_torchruns_generate_what_one_does(tmp_path: Path) -> None:
    """As on two machines, which here are one."""
    run = ["src.generate", "model=tiny", "prompts.n=9", "samples=2", "batch_size=2", "decoding.max_new_tokens=4"]
    torchrun = ["torch.distributed.run", "--nnodes=2", "--nproc-per-node=2", f"--master-port={free_port()}"]
    shared = [*run, "trainer=ddp", "trainer.devices=2", f"hydra.run.dir={tmp_path / 'four'}"]
    nodes = [[*torchrun, f"--node-rank={rank}", "--master-addr=127.0.0.1", "-m", *shared] for rank in range(2)]
    commands = [[*run, f"hydra.run.dir={tmp_path / 'one'}"], *nodes]
    tasks = [
        subprocess.Popen([sys.executable, "-m", *command], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    ends = [task.communicate()[1] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0, 0], ends
    one, four = ((tmp_path / name / "generations.jsonl").read_bytes() for name in ("one", "four"))
    assert one == four


@pytest.mark.parametrize("foreign", [False, True])
def test_each_process_met_outside_ends_with_one_line(foreign: bool, tmp_path: Path) -> None:
    """What all refuse, each says; the run folder is the first one's to refuse, and the others then miss it."""
    folder, command = tmp_path / "run", [sys.executable, "-m", "src.generate", "model=tiny", "trainer=ddp"]
    command += ["trainer.devices=2", f"hydra.run.dir={folder}"]
    refusals = ["Error: none.safetensors: no such steer file; expected a steer.safetensors written by a fit"] * 2
    if foreign:
        folder.mkdir()
        (folder / "notes").touch()
        refusals[0] = f"Error: run folder {folder}: holds notes but no config.yaml; choose another hydra.run.dir"
        refusals[1] = "Error: process 1: another process of this run has ended; its own output says what was wrong"
    else:
        command.append("steer_file=none.safetensors")
    met = SRUN | {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1", "SLURM_NODEID": "0"}
    met |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [ENVIRONMENT | met | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(2)]
    tasks = [subprocess.Popen(command, env=rank, stderr=subprocess.PIPE, text=True) for rank in ranks]
    printed = [task.communicate()[1].splitlines() for task in tasks]
    assert [lines[-1] for lines in printed] == refusals
    assert not any("Traceback" in line for lines in printed for line in lines)
    assert [task.returncode for task in tasks] == [1, 1]


@pytest.mark.parametrize("changed", [{"SLURM_STEP_NUM_TASKS": "5"}, {"SLURM_PROCID": "1"}])
def test_uneven_tasks_of_srun_are_refused(changed: dict[str, str]) -> None:
    with pytest.raises(InputError, match="ntasks-per-node"):
        external_process_group(SRUN | changed)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("gpu7", "gpu7"), ("gpu[07-09,12],login", "gpu07"), ("a-3,b[1-2]", "a-3"), ("n[5,9]", "n5"), ("x[3]-ib", "x3-ib")],
)
def test_the_first_host_of_a_list(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
