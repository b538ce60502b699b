"""What Hydra does after the jobs of an experiment."""

import sys
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from src import tables
from src.configuration import one_line


class Tables(Callback):
    """Put the runs of a sweep side by side, in the sweep's own folder."""

    def __init__(self) -> None:
        self.runs: list[str] = []

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Note the run's folder, which an earlier start may have finished; other sweeps' runs there do not count."""
        self.runs.append(str(config.hydra.runtime.output_dir))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the tables and the picture, and print the table."""
        try:
            failed = tables.main([*self.runs, "--out", str(config.hydra.sweep.dir)])
        except Exception as error:  # Hydra would make a warning of it, and status 0
            sys.exit(f"Error: tables: {type(error).__name__}: {one_line(error)}")
        if failed:
            sys.exit(failed)
