"""The options that a sweep varies, and whether its jobs read the same hidden states."""

from collections.abc import Iterable
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

CHANGE_ROWS = {
    "corpus",
    "data",
    "device",
    "dtype",
    "experiment",
    "model",
    "protocol",
    "recipe",
    "seed",
    "size",
    "steer",
}
"""Options that change the training rows of a job, or the model that reads them."""
BEGINNINGS = ("corpus.", "data.", "model.", "protocol.prompts", "protocol.scorers", "scorer@", "strengths")
"""How the names of further such options begin."""
SEED = "seed"
_of_this_job: frozenset[str] = frozenset()
_smallest_seed: int | None = None


def swept_options(config: Any) -> frozenset[str]:
    """Return the names of the options to which a sweep gives several values, from its configuration as a whole."""
    return frozenset(_sweeps(config))


def smallest_seed(config: Any) -> int | None:
    """Return the smallest of the training seeds of a sweep; None if it does not list several."""
    sweep = _sweeps(config).get(SEED)
    values = sweep.sweep_string_iterator() if sweep and sweep.is_discrete_sweep() else ()
    return min((int(value) for value in values if value.isdecimal()), default=None)


def _sweeps(config: Any) -> dict[str, Override]:
    grid = [f"{name}={value}" for name, value in (config.hydra.sweeper.get("params") or {}).items()]
    overrides = OverridesParser.create().parse_overrides([*grid, *config.hydra.overrides.task])
    last = {override.get_key_element().lstrip("+~"): override for override in overrides}  # the command line counts
    return {name: override for name, override in last.items() if override.is_sweep_override()}


def set_swept(names: Iterable[str], smallest_seed: int | None = None) -> None:
    """Tell this process what the sweep of its job varies; nothing outside of a sweep."""
    global _of_this_job, _smallest_seed
    _of_this_job, _smallest_seed = frozenset(names), smallest_seed


def measured_by_seed(seed: int) -> int:
    """Return the seed whose job measures a fit that depends on none, in place of that of ``seed``."""
    return seed if _smallest_seed is None else _smallest_seed


def shares_rows(*, seed_changes_rows: bool) -> bool:
    """Return whether other jobs of the sweep of this job read the hidden states of the same rows.

    Args:
        seed_changes_rows: The rows that a job reads depend on its seed.
    """
    changing = CHANGE_ROWS if seed_changes_rows else CHANGE_ROWS - {"seed"}
    return any(name not in changing and not name.startswith(BEGINNINGS) for name in _of_this_job)
