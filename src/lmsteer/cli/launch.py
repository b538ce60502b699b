"""Start the processes of a run, or join those that srun or torchrun started."""

import contextlib
import logging
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
from torch.multiprocessing.spawn import ProcessException, start_processes

from lmsteer.cli.app import EXPECTED_ERRORS, configure_logging, one_line, sweep_name
from lmsteer.cli.terminal import accept_any_encoding
from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.distributed.processes import Processes
from lmsteer.errors import InputError, explain_out_of_memory
from lmsteer.models.device import resolve_device

Job = Callable[[dict[str, Any], str, ProcessGroup], Any]
"""A module's function of a checked configuration, the name of the sweep and the process."""
GRACE_SECONDS = 30.0
"""How long processes may take to end by themselves when one has failed."""


def launch(job: Job, config: dict[str, Any]) -> Any:
    """Run a job in as many processes as ``config["trainer"]`` says; return its result where that is one process.

    Raises:
        InputError: As a process refuses, or if one was killed.
    """
    options = Processes.of(config["trainer"])
    if options.strategy == "auto":
        return job(config, sweep_name(), ProcessGroup())
    if config.get("model", {}).get("device_map") is not None:
        raise InputError("trainer=ddp: each process has the whole model; model.device_map is for trainer=single")
    on_gpu = resolve_device(config["device"]).type == "cuda"
    processes = options.number(gpus=torch.cuda.device_count() if on_gpu else 0)
    if (external := external_process_group(os.environ)) is not None:
        process_group, address = external
        if process_group.local_size != processes:
            started = f"{process_group.local_size} processes of each machine were started"
            raise InputError(f"trainer.devices={options.devices}: {started}")
        if sweep_name():
            raise InputError("trainer=ddp in a sweep: start one process, which starts the others itself")
        return _run_external(_Task(job, config, "", address, on_gpu), process_group)
    if processes == 1:
        return job(config, sweep_name(), ProcessGroup())
    return _spawn(job, config, processes, on_gpu)


def external_process_group(environment: Mapping[str, str]) -> tuple[ProcessGroup, str] | None:
    """Return this process among those that srun or torchrun started, and their address; None for a single process."""
    if "TORCHELASTIC_RUN_ID" in environment:
        size, local = int(environment["WORLD_SIZE"]), int(environment["LOCAL_WORLD_SIZE"])
        process_group = ProcessGroup(int(environment["RANK"]), size, int(environment["LOCAL_RANK"]), size // local)
        return process_group, f"tcp://{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}"
    # Only a step of srun has this variable; the script of a job has not.
    if (size := int(environment.get("SLURM_STEP_NUM_TASKS", "1"))) == 1:
        return None
    nodes = int(environment["SLURM_STEP_NUM_NODES"])
    process_group = ProcessGroup(int(environment["SLURM_PROCID"]), size, int(environment["SLURM_LOCALID"]), nodes)
    if size % nodes or process_group.rank // process_group.local_size != int(environment["SLURM_NODEID"]):
        raise InputError(f"srun: {size} tasks on {nodes} nodes in no even blocks; --ntasks-per-node=N is needed")
    nodelist_host = first_host(environment["SLURM_STEP_NODELIST"]) if nodes > 1 else "127.0.0.1"
    host = environment.get("MASTER_ADDR") or nodelist_host
    port = environment.get("MASTER_PORT") or 15000 + int(environment["SLURM_JOB_ID"]) % 10000
    return process_group, f"tcp://{host}:{port}"


def first_host(nodes: str) -> str:
    """Return the first host of a list of SLURM, such as ``gpu[07-09,12],login`` (gpu07)."""
    return re.sub(r"\[(\w+)[^]]*\]", r"\1", re.split(r",(?![^[]*\])", nodes)[0])


@dataclass(frozen=True)
class _Task:
    """What each process of a run needs to know."""

    job: Job
    config: dict[str, Any]
    sweep: str
    address: str
    on_gpu: bool
    verbosity: str = "INFO"

    def run(self, process_group: ProcessGroup) -> Any:
        """Join the other processes, run the job and leave; only rank zero prints."""
        accept_any_encoding()
        process_group.init(self.address, gpus=self.on_gpu)
        configure_logging(self.verbosity if process_group.is_rank_zero else "ERROR")
        with contextlib.nullcontext() if process_group.is_rank_zero else _no_stdout(), explain_out_of_memory():
            result = self.job(self.config, self.sweep, process_group)
        process_group.destroy()
        return result


@contextlib.contextmanager
def _no_stdout() -> Iterator[None]:
    with Path(os.devnull).open("w", encoding="utf-8") as null, contextlib.redirect_stdout(null):
        yield


def _run_external(task: _Task, process_group: ProcessGroup) -> Any:
    try:
        return task.run(process_group)
    except EXPECTED_ERRORS:
        process_group.destroy(barrier=False)
        raise
    except RuntimeError as error:
        if not re.search("gloo|nccl", str(error), re.IGNORECASE):
            raise
        reason = "another process of this run has ended; its own output says what was wrong"
        raise InputError(f"process {process_group.rank}: {reason}") from error


def _spawn(job: Job, config: dict[str, Any], processes: int, on_gpu: bool) -> None:
    """Run the job in new processes, which end with this one."""
    failures = mp.get_context("spawn").SimpleQueue()
    verbosity = logging.getLevelName(logging.getLogger("lmsteer").getEffectiveLevel())
    with tempfile.TemporaryDirectory(prefix="lmsteer-") as folder:
        task = _Task(job, config, sweep_name(), f"file://{folder}/rendezvous", on_gpu, verbosity)
        context = start_processes(_run_spawned, (processes, task, failures), processes, join=False, daemon=True)
        try:
            while not context.join(grace_period=GRACE_SECONDS):
                pass
        except ProcessException as end:
            raise _first_failure(end, failures) from None


def _run_spawned(rank: int, size: int, task: _Task, failures: Any) -> None:
    if not task.on_gpu:
        torch.set_num_threads(max(1, torch.get_num_threads() // size))
    try:
        task.run(ProcessGroup(rank, size, rank))
    except Exception as error:
        is_expected = isinstance(error, EXPECTED_ERRORS)
        failures.put((is_expected, one_line(error) if is_expected else f"process {rank}:\n{traceback.format_exc()}"))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # threads of the broken group would abort an orderly end, or wait for the others


def _first_failure(end: ProcessException, failures: Any) -> Exception:
    """Return the error of the process that failed first: those that lose another one fail too."""
    is_expected, message = (False, None) if failures.empty() else failures.get()
    if is_expected:
        return InputError(message)
    if message is None or getattr(end, "signal_name", None):
        remedy = "the same command goes on where it stopped"
        return InputError(f"{one_line(end)}, perhaps for lack of memory; {remedy}")
    return RuntimeError(message)
