"""The processes of a run: started here, or met where srun or torchrun started them."""

import contextlib
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
from torch.multiprocessing.spawn import ProcessException, start_processes

from lmsteer.cli.configuration import EXPECTED, build, one_line, sweep_name
from lmsteer.distributed.process_group import ProcessGroup, TrainerConfig
from lmsteer.errors import InputError
from lmsteer.models.language_model import resolve_device

Job = Callable[[dict[str, Any], str, ProcessGroup], Any]
"""A function of a module, of a checked configuration, the name of the sweep and the process."""
GRACE = 30.0
"""Seconds that processes get to end by themselves when one has failed."""


def launch(job: Job, config: dict[str, Any]) -> Any:
    """Do a job in as many processes as ``config["trainer"]`` says; what it returns where one process is enough.

    Raises:
        InputError: What a process refused, or that one was killed.
    """
    settings: TrainerConfig = build(config["trainer"])
    if settings.strategy == "single":
        return job(config, sweep_name(), ProcessGroup())
    if config.get("model", {}).get("device_map") is not None:
        raise InputError("trainer=ddp: each process has the whole model; model.device_map is for trainer=single")
    on_gpu = resolve_device(config["device"]).type == "cuda"
    here = settings.processes(gpus=torch.cuda.device_count() if on_gpu else 0)
    if (met := started_outside(os.environ)) is not None:
        process_group, address = met
        if process_group.local_size != here:
            raise InputError(
                f"trainer.devices={settings.devices}: {process_group.local_size} processes of each machine were started"
            )
        if sweep_name():
            raise InputError("trainer=ddp in a sweep: start one process, which starts the others itself")
        try:
            return _joined(job, config, "", process_group, address, on_gpu)
        except EXPECTED:
            process_group.destroy(waiting=False)
            raise
        except RuntimeError as error:
            if not re.search("gloo|nccl", str(error), re.IGNORECASE):
                raise
            reason = "another process of this run has ended; what was wrong stands in its own output"
            raise InputError(f"process {process_group.rank}: {reason}") from error
    return _started(job, config, here, on_gpu) if here > 1 else job(config, sweep_name(), ProcessGroup())


def started_outside(environment: "os._Environ[str] | dict[str, str]") -> tuple[ProcessGroup, str] | None:
    """This process among those that srun or torchrun started, and where they meet; None: it stands alone."""
    said = environment.get
    if "TORCHELASTIC_RUN_ID" in environment:
        size, local = int(environment["WORLD_SIZE"]), int(environment["LOCAL_WORLD_SIZE"])
        process_group = ProcessGroup(int(environment["RANK"]), size, int(environment["LOCAL_RANK"]), size // local)
        return process_group, f"tcp://{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}"
    # Only a step of srun has this; the script of a job does not.
    if (size := int(said("SLURM_STEP_NUM_TASKS", "1"))) == 1:
        return None
    nodes = int(environment["SLURM_STEP_NUM_NODES"])
    process_group = ProcessGroup(int(environment["SLURM_PROCID"]), size, int(environment["SLURM_LOCALID"]), nodes)
    if size % nodes or process_group.rank // process_group.local_size != int(environment["SLURM_NODEID"]):
        raise InputError(f"srun: {size} tasks on {nodes} nodes in no even blocks; --ntasks-per-node=N is needed")
    host = said("MASTER_ADDR") or (first_host(environment["SLURM_STEP_NODELIST"]) if nodes > 1 else "127.0.0.1")
    return process_group, f"tcp://{host}:{said('MASTER_PORT') or 15000 + int(environment['SLURM_JOB_ID']) % 10000}"


def first_host(nodes: str) -> str:
    """The first of a list of SLURM's, such as ``gpu[07-09,12],login`` (gpu07)."""
    return re.sub(r"\[(\w+)[^]]*\]", r"\1", re.split(r",(?![^[]*\])", nodes)[0])


def _started(job: Job, config: dict[str, Any], processes: int, on_gpu: bool) -> None:
    """The job in new processes, which end with this one."""
    failures = mp.get_context("spawn").SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="lmsteer-") as folder:
        address = f"file://{folder}/meeting"
        given = (job, config, sweep_name(), processes, address, on_gpu, failures)
        context = start_processes(_process, given, processes, join=False, daemon=True)
        try:
            while not context.join(grace_period=GRACE):
                pass
        except ProcessException as end:
            raise _told(end, failures) from None


def _told(end: ProcessException, failures: Any) -> Exception:
    """What went wrong first: processes that lose another one fail too."""
    first = None if failures.empty() else failures.get()
    if first is not None and first[0]:
        return InputError(first[1])
    if first is None or getattr(end, "signal_name", None):
        again = "the same command goes on where it stopped"
        return InputError(f"{one_line(end)}, perhaps for lack of memory; {again}")
    return RuntimeError(first[1])


def _process(
    rank: int, job: Job, config: dict[str, Any], sweep: str, size: int, address: str, on_gpu: bool, failures: Any
) -> None:
    if not on_gpu:
        torch.set_num_threads(max(1, torch.get_num_threads() // size))
    try:
        _joined(job, config, sweep, ProcessGroup(rank, size, rank), address, on_gpu)
    except Exception as error:
        expected = isinstance(error, EXPECTED)
        failures.put((expected, one_line(error) if expected else f"process {rank}:\n{traceback.format_exc()}"))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # threads of the broken group would abort an orderly end, or wait for the others


def _joined(
    job: Job, config: dict[str, Any], sweep: str, process_group: ProcessGroup, address: str, on_gpu: bool
) -> Any:
    process_group.init(address, gpus=on_gpu)
    with contextlib.nullcontext() if process_group.is_rank_zero else _silent():
        result = job(config, sweep, process_group)
    process_group.destroy()
    return result


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Print nothing: the first process says it."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield
