"""What Hydra does around the jobs of a sweep."""

import json
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode, TaskFunction
from omegaconf import DictConfig

from lmsteer.cli.configuration import EXPECTED, one_line
from lmsteer.commands import tables
from lmsteer.runs.stages import METRICS
from lmsteer.storage.atomic_files import atomic_write_lines

UNFINISHED = "stopped before its end"


class Sweep(Callback):
    """Name all jobs that failed, after the others are done; put those in tables, in the sweep's own folder.

    What became of a job stands in a file until the end of the sweep, as jobs may run in other processes or machines.
    """

    def __init__(self, tables: bool = True) -> None:
        self.tables = tables

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Forget the jobs of an earlier start."""
        shutil.rmtree(_jobs(config), ignore_errors=True)

    def on_job_start(self, config: DictConfig, *, task_function: TaskFunction, **kwargs: Any) -> None:
        """Note the job, which may be killed."""
        if config.hydra.mode == RunMode.MULTIRUN:
            _note(config, UNFINISHED)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Note how the job ended, and let the sweep go on."""
        if config.hydra.mode != RunMode.MULTIRUN:
            return
        error = None
        if job_return.status == JobStatus.FAILED:
            error = job_return._return_value  # its property would raise it
            # Hydra ends a sweep with the first failure, before it calls on_multirun_end.
            job_return.status, job_return.return_value = JobStatus.COMPLETED, None
        if error is not None and not isinstance(error, EXPECTED):
            traceback.print_exception(error)
        _note(config, "" if error is None else f"{_kind(error)}{one_line(error)}")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write tables and picture, print the table; then a line for each failed job, and status 1 if there is one."""
        files = sorted(_jobs(config).glob("*.json"), key=lambda path: int(path.stem))
        jobs = [json.loads(path.read_text(encoding="utf-8")) for path in files]
        status = self._tables([Path(job["folder"]) for job in jobs], config) if self.tables else 0
        failed = [job for job in jobs if job["error"]]
        for job in failed:
            print(f"failed: {job['folder']}: {job['error']}", file=sys.stderr)
        shutil.rmtree(_jobs(config), ignore_errors=True)
        if failed:
            sys.exit(f"Error: {len(failed)} of {len(jobs)} jobs failed; the same command starts these again")
        if status:
            sys.exit(status)

    def _tables(self, folders: list[Path], config: DictConfig) -> int:
        """Other sweeps' runs in the same folder do not count."""
        measured = [str(folder) for folder in folders if (folder / METRICS).is_file()]
        try:
            return tables.main([*measured, "--out", str(config.hydra.sweep.dir)]) if measured else 0
        except Exception as error:  # Hydra would make a warning of it, and status 0
            print(f"Error: tables: {_kind(error)}{one_line(error)}", file=sys.stderr)
            return 1


def _jobs(config: DictConfig) -> Path:
    return Path(config.hydra.sweep.dir) / ".jobs"


def _note(config: DictConfig, error: str) -> None:
    folder = Path(config.hydra.runtime.output_dir)
    _jobs(config).mkdir(parents=True, exist_ok=True)
    entry = json.dumps({"folder": str(folder), "error": error})
    atomic_write_lines(_jobs(config) / f"{config.hydra.job.num}.json", [entry])


def _kind(error: Exception) -> str:
    """What goes before a message that does not say by itself what is wrong."""
    return "" if isinstance(error, EXPECTED) else f"{type(error).__name__}: "
