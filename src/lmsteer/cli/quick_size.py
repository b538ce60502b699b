"""What the paper's size costs next to the quick one, said before a run of it begins."""

import logging
from collections.abc import Mapping
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

logger = logging.getLogger(__name__)
PAPER, QUICK = "paper", "quick"


def note_size(config: Mapping[str, Any]) -> None:
    """Log that a run of the paper's size takes hours, and how many prompts the quick size has instead.

    Nothing is logged if the command line makes both equal.
    """
    if config["size"]["name"] != PAPER or not GlobalHydra.instance().is_initialized():
        return
    overrides = [one for one in HydraConfig.get().overrides.task if one.partition("=")[0] != "size"]
    quick = compose(str(HydraConfig.get().job.config_name), [*overrides, f"size={QUICK}"])
    numbers, quick_numbers = n_prompts(config.get("protocol")), n_prompts(quick.get("protocol"))
    if numbers != quick_numbers:
        sets = [f"{key} {words(n)} instead of {words(quick_numbers.get(key))}" for key, n in numbers.items()]
        whole, part = (sum(n or 0 for n in counts.values()) for counts in (numbers, quick_numbers))
        if None not in (*numbers.values(), *quick_numbers.values()):
            sets.append(f"about 1/{max(1, round(whole / max(1, part)))} of the generating and scoring")
        logger.info(
            "size=%s takes hours on a GPU, days without one; size=%s fits the same steer on fewer prompts: %s",
            PAPER, QUICK, ", ".join(sets),
        )  # fmt: skip


def n_prompts(protocol: Mapping[str, Any] | DictConfig | None) -> dict[str, int | None]:
    """Return the numbers of prompts in the configuration of a protocol, by prompt set; None: all that there are."""
    prompts = protocol.get("prompts") if protocol else None
    return {str(key): node.get("n") for key, node in (prompts or {}).items()}


def words(n: int | None) -> str:
    """Format a number of prompts."""
    return "all prompts" if n is None else f"{n:,}"
