"""Silence what Lightning prints about hardware, workers and other products."""

import logging
import warnings


def quiet_lightning() -> None:
    """Silence Lightning's notices on hardware, workers and other products."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message="The `srun` command is available")
