"""Fetch the embedded stack into the user's cache: two small models, labeled texts, prompts and a word list.

python -m src.fetch
"""

from omegaconf import DictConfig

from lmsteer.cli.configuration import check_config
from lmsteer.cli.options import OF_COMMAND
from lmsteer.cli.terminal import show
from lmsteer.embedded.archives import fetch as fetch_stack
from lmsteer.embedded.gemma import OPTIONS, TERMS, fetch_gemma
from lmsteer.errors import InputError
from lmsteer.storage.user_cache import cache_folder


def fetch(cfg: DictConfig) -> None:
    """Fill the cache and print its folder."""
    config = check_config(cfg, OF_COMMAND["fetch"])
    if config["gemma"] != config["accept_gemma_terms"]:
        raise InputError(f"Gemma needs both, {OPTIONS}, that is its terms accepted: {TERMS}")
    (fetch_gemma if config["gemma"] else fetch_stack)(force=config["force"])
    show(f"{'Gemma 3 270M' if config['gemma'] else 'The embedded stack'} is in {cache_folder()}")
