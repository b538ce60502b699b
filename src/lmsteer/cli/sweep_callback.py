"""Report the jobs of a Hydra multirun that failed, and tabulate the others."""

import json
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf

from lmsteer.cli.app import EXPECTED_ERRORS, directions_of, one_line
from lmsteer.cli.swept_options import set_swept, smallest_seed, swept_options
from lmsteer.cli.terminal import show
from lmsteer.storage.atomic_files import atomic_write_lines

UNFINISHED = "stopped before its end"
LOCK = ".sweep.lock"
BEST = "optimization_results.yaml"
"""File of the sweeper of Optuna."""
_locks: dict[Path, FileLock] = {}
"""Locks of the sweeps of this process, by folder; not in the callback, which launchers send to other processes."""


class _FailedTrial(JobReturn):
    """A failed job, whose error is raised without the lines that Hydra prints at each look at it."""

    @property  # type: ignore[misc]  # which nobody sets again
    def return_value(self) -> Any:
        raise self._return_value


class Sweep(Callback):
    """Name all failed jobs after the others are done, and tabulate those in the folder of the sweep.

    The state of each job is in a file until the end of the sweep, as jobs may run in other processes or on other
    machines.

    Args:
        tables: Whether to tabulate the finished runs.
    """

    def __init__(self, tables: bool = True) -> None:
        self.tables = tables
        self.folder, self.swept = Path(), frozenset[str]()  # of the sweep as a whole
        self.seed: int | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Forget the jobs of an earlier start; refuse to begin while another start is running."""
        folder = self.folder = Path(config.hydra.sweep.dir).absolute()
        self.swept, self.seed = swept_options(config), smallest_seed(config)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _locks[folder] = FileLock(folder / LOCK)
            _locks[folder].acquire(blocking=False)
        except Timeout:
            sys.exit(f"Error: {folder}: another start of this sweep is running; wait for its end")
        except OSError as error:
            sys.exit(f"Error: hydra.sweep.dir={folder}: {error.strerror or error}; choose another folder")
        shutil.rmtree(self._jobs, ignore_errors=True)

    def on_job_start(self, config: DictConfig, *, task_function: TaskFunction, **kwargs: Any) -> None:
        """Record the job, which may be killed, and tell it what the sweep varies."""
        set_swept(self.swept, self.seed)
        if config.hydra.mode == RunMode.MULTIRUN:
            self._record(config, UNFINISHED)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Record how the job ended, and let the sweep go on."""
        if config.hydra.mode != RunMode.MULTIRUN:
            return
        error = None
        if job_return.status == JobStatus.FAILED:
            error = job_return._return_value  # its property would raise it
            if directions_of(config.hydra.sweeper):  # which takes the error as a failed trial, and ends or goes on
                job_return.__class__ = _FailedTrial
            else:  # Hydra ends a sweep at the first failure, before it calls on_multirun_end.
                job_return.status, job_return.return_value = JobStatus.COMPLETED, None
        if error is not None and not isinstance(error, EXPECTED_ERRORS):
            traceback.print_exception(error)
        self._record(config, "" if error is None else _describe(error))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write tables and picture, print them and the best setting; then name each failed job, with status 1."""
        files = sorted(self._jobs.glob("*.json"), key=lambda path: int(path.stem))
        jobs = [json.loads(path.read_text(encoding="utf-8")) for path in files]
        status = self._tabulate([Path(job["folder"]) for job in jobs]) if self.tables else 0
        if directions_of(config.hydra.sweeper):
            show(_best(self.folder / BEST, config.objective))
        folder = self.folder
        (folder / LOCK).unlink(missing_ok=True)
        if lock := _locks.pop(folder, None):
            lock.release()
        failed = [job for job in jobs if job["error"]]
        for job in failed:
            print(f"failed: {job['folder']}: {job['error']}", file=sys.stderr)
        shutil.rmtree(self._jobs, ignore_errors=True)
        if failed:
            sys.exit(f"Error: {len(failed)} of {len(jobs)} jobs failed; the same command starts these again")
        if status:
            sys.exit(status)

    @property
    def _jobs(self) -> Path:
        """Folder of the states of the jobs, which may have folders elsewhere, as their name may have the size."""
        return self.folder / ".jobs"

    def _record(self, config: DictConfig, error: str) -> None:
        self._jobs.mkdir(parents=True, exist_ok=True)
        entry = json.dumps({"folder": str(Path(config.hydra.runtime.output_dir)), "error": error})
        atomic_write_lines(self._jobs / f"{config.hydra.job.num}.json", [entry])

    def _tabulate(self, folders: list[Path]) -> int:
        """Tabulate the finished runs of this sweep; runs of other sweeps in its folder do not count."""
        from lmsteer.commands.report import write_report  # imports much, while Hydra loads this file for every command
        from lmsteer.runs.stages import METRICS

        measured = [folder for folder in folders if (folder / METRICS).is_file()]
        try:
            if measured:
                write_report(measured, self.folder)
        except Exception as error:  # Hydra would make a warning of it, and status 0
            print(f"Error: report: {_describe(error)}", file=sys.stderr)
            return 1
        return 0


def _best(path: Path, objective: Any) -> str:
    """Describe the best setting that the sweeper has written, or all that no other one surpasses in every objective."""
    results: Any = OmegaConf.to_container(OmegaConf.load(path))
    names = [objective] if isinstance(objective, str) else list(objective)
    only = {"params": results.get("best_params"), "values": [results.get("best_value")]}
    lines = []
    for solution in results.get("solutions", [only]):
        setting = " ".join(f"{name}={value}" for name, value in solution["params"].items())
        values = ", ".join(f"{name} {value:.4g}" for name, value in zip(names, solution["values"], strict=True))
        lines.append(f"best: {setting}: {values}")
    return "\n" + "\n".join(lines)


def _describe(error: Exception) -> str:
    """Return the message of an error, after its type where the message alone does not say what is wrong."""
    kind = "" if isinstance(error, EXPECTED_ERRORS) else f"{type(error).__name__}: "
    return f"{kind}{one_line(error)}"
