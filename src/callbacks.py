"""What Hydra does after all jobs of an experiment."""

import sys
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from src import tables


class Tables(Callback):
    """Put the runs of a sweep side by side, in the sweep's own folder."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the tables and the picture, and print the table."""
        folder = str(config.hydra.sweep.dir)
        if tables.main([folder, "--out", folder]):
            sys.exit(1)
