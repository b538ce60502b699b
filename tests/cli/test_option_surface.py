"""The options of all commands are those of ``options.txt``, so that none comes, goes or changes its name unnoticed.

A line of it is a command and the dotted name of an option of its default configuration, or of one of its methods; a
list is one option.
Write it anew after a change that is meant: ``python -m tests.cli.test_option_surface``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from tests.handmade_commands import command_config

from lmsteer.analysis.highlighter import Decision
from lmsteer.cli.app import CONF
from lmsteer.cli.configuration import HYDRA_KEYS
from lmsteer.cli.options import OF_COMMAND
from lmsteer.export.exporter import Form
from lmsteer.transfer.steer_maps import Kind

SURFACE = Path(__file__).with_name("options.txt")
CHOICES = {"transfer": ["model@to=tiny"]}
"""Choices that a default configuration lacks."""
METHODS = sorted(path.stem for path in (Path(CONF) / "method").glob("*.yaml"))


def leaves(node: Any, name: str = "") -> Iterator[str]:
    """The dotted names of all values but those that say what Hydra builds; an object without options is a value."""
    options = {key: value for key, value in node.items() if key not in HYDRA_KEYS} if isinstance(node, dict) else {}
    if not options:
        yield name
    for key, value in options.items():
        yield from leaves(value, f"{name}.{key}" if name else str(key))


def surface() -> list[str]:
    """A line for each option of each command."""
    composed = {name: command_config(name, *CHOICES.get(name, [])) for name in sorted(OF_COMMAND)}
    options = [
        f"{command} {option}"
        for command, config in composed.items()
        for option in sorted(leaves(OmegaConf.to_container(config, resolve=False)))
    ]
    methods = {name: command_config("train", f"method={name}").method for name in METHODS}
    return options + [
        f"train method={name} {option}"
        for name, node in methods.items()
        for option in sorted(leaves(OmegaConf.to_container(node, resolve=False), "method"))
    ]


def test_the_options_of_all_commands_are_those_that_are_written_down() -> None:
    assert surface() == SURFACE.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("command", "option", "expected"),
    [("transfer", "kind", Kind), ("highlight", "decision", Decision), ("export", "form", Form)],
)
def test_the_words_that_an_option_takes_are_those_of_the_library(command: str, option: str, expected: Any) -> None:
    """The table of options spells them out, as it imports nothing heavy."""
    assert OF_COMMAND[command][option] == expected


def test_the_kinds_that_are_compared_are_kinds() -> None:
    assert OF_COMMAND["transfer"]["compared_kinds"] == list[Kind]


if __name__ == "__main__":
    SURFACE.write_text("\n".join(surface()) + "\n", encoding="utf-8")
