"""Compose the configuration of a sweep with the first choice of each swept group, whose options can then be overridden.

Hydra composes a sweep once as a whole, for its folder, its sweeper and its launcher, before it composes the jobs. It
leaves swept choices out of that: with ``-m model=gpt2,gpt2-medium`` it would compose the default model, and refuse
options that only the protocol of these models has.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from hydra._internal import config_loader_impl
from hydra._internal.config_repository import IConfigRepository
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

PARAMETERS = "hydra.sweeper.params"
"""Where a named grid of ``conf/sweep`` has its swept options."""


@contextmanager
def first_choices() -> Iterator[None]:
    """Compose sweeps by their first choices while this is open; jobs and single runs are composed as ever."""
    composition: Any = config_loader_impl  # its function is no public part of it
    create = composition.create_defaults_list

    def create_with_first_choices(
        repo: IConfigRepository, config_name: str | None, overrides_list: list[Override], **options: Any
    ) -> Any:
        if not options.get("skip_missing"):  # Hydra sets it for a sweep as a whole, and only there
            return create(repo, config_name, overrides_list, **options)
        overrides = [_first_choice(override, repo) for override in overrides_list]
        groups = [override for override in overrides if repo.group_exists(override.key_or_group)]
        defaults = create(repo, config_name, groups, **options).defaults
        overridden = {override.get_key_element() for override in overrides}
        grid = [_first_choice(option, repo) for option in _grid(defaults, repo)]
        first = [
            option for option in grid if option.get_key_element() not in overridden and not option.is_sweep_override()
        ]
        return create(repo, config_name, [*overrides, *first], **options)

    composition.create_defaults_list = create_with_first_choices
    try:
        yield
    finally:
        composition.create_defaults_list = create


def _first_choice(override: Override, repo: IConfigRepository) -> Override:
    """Return the override to the first of its choices, if it is a sweep over choices of a group, else as it is."""
    if not (override.is_discrete_sweep() and repo.group_exists(override.key_or_group)):
        return override
    loader: Any = repo  # both know the choices of a group, which ``glob`` needs
    choices = replace(override, config_loader=loader).sweep_string_iterator()
    name = override.get_key_element()
    parsed = OverridesParser.create().parse_overrides([f"{name}={choice}" for choice in list(choices)[:1]])
    return parsed[0] if parsed else override


def _grid(defaults: Sequence[Any], repo: IConfigRepository) -> list[Override]:
    """Return the swept options of the configurations of a sweep, the last of each name."""
    grid: dict[str, Any] = {}
    for default in defaults:
        loaded = repo.load_config(default.config_path) if default.config_path else None
        if loaded is not None and OmegaConf.is_dict(loaded.config):
            grid |= OmegaConf.select(loaded.config, PARAMETERS) or {}
    return OverridesParser.create().parse_overrides([f"{name}={value}" for name, value in grid.items()])
