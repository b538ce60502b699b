"""Fetch what a run needs into the caches of this machine; without options of a run the embedded stack.

python -m src.fetch experiment=detox model=gpt2-large
"""

from omegaconf import DictConfig

from lmsteer.cli.configuration import check_config
from lmsteer.cli.fetched_run import job_configs
from lmsteer.cli.options import OF_COMMAND
from lmsteer.cli.preparation import check_disk, free_space
from lmsteer.cli.required import Need, distinct, needs
from lmsteer.cli.terminal import show
from lmsteer.embedded.archives import fetch as fetch_stack
from lmsteer.embedded.gemma import OPTIONS, TERMS, fetch_gemma
from lmsteer.errors import InputError
from lmsteer.reporting.text import file_size
from lmsteer.storage.user_cache import cache_folder

OBJECTS = ("model", "protocol", "corpus")
"""Options of ``train`` that need files from elsewhere."""


def fetch(cfg: DictConfig) -> None:
    """Fill the caches; print sizes before, and folders."""
    config = check_config(cfg, OF_COMMAND["fetch"])
    if config["gemma"] != config["accept_gemma_terms"]:
        raise InputError(f"Gemma needs both, {OPTIONS}, that is its terms accepted: {TERMS}")
    if config["run"]:
        if config["gemma"]:
            raise InputError(f"{OPTIONS}: without options of a run, such as {config['run'][0]}")
        fetch_run(config["run"], force=config["force"])
        return
    (fetch_gemma if config["gemma"] else fetch_stack)(force=config["force"])
    show(f"{'Gemma 3 270M' if config['gemma'] else 'The embedded stack'} is in {cache_folder()}")


def fetch_run(overrides: list[str], *, force: bool) -> None:
    """Fetch what the jobs of a run need, once all of it is known to exist.

    Args:
        force: Look for newer commits of what is cached, too.

    Raises:
        InputError: If an option is wrong, something cannot be had, or the disk is too small; nothing is fetched then.
    """
    required = distinct([need for config in job_configs(overrides) for need in needs(config, OBJECTS)])
    missing = [need for need in required if (force and need.files.can_change) or not need.files.is_cached()]
    sizes = [need.files.size() for need in missing]
    if not required:
        show("this run needs nothing from elsewhere")
        return
    show(_table(required, dict(zip((id(need) for need in missing), map(file_size, sizes), strict=True))))
    check_disk(missing, sizes)
    for need in missing:
        need.files.fetch(force=force)
    folders = sorted({str(need.files.storage) for need in required})
    show(f"all that this run needs is on this machine, in {', '.join(folders)}")


def _table(required: list[Need], sizes: dict[int, str]) -> str:
    """Return a line for each of the files: size or cached, kind and name, the option that needs it; and free space."""
    lines = [f"{sizes.get(id(need), 'cached'):>15}  {need.files.label}  ({need.option})" for need in required]
    folders = sorted({need.files.storage for need in required})
    return "\n".join([*lines, *(f"{file_size(free_space(folder)):>15}  free in {folder}" for folder in folders)])
