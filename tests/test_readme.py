"""What the README prints works."""

import itertools
import re
import shlex
from pathlib import Path

import pytest
from tests.cli.test_configuration import checked, options_of

import lmsteer
from lmsteer.cli.fetched_run import pack_run
from lmsteer.cli.options import OF_COMMAND
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^ +python -m src\.(\w+)(.*)$", README, re.MULTILINE)


@pytest.mark.parametrize(("command", "rest"), COMMANDS)
def test_every_command_composes(command: str, rest: str) -> None:
    words = shlex.split(rest, comments=True)
    for overrides in jobs(pack_run(words) if command == "fetch" else words):
        config = checked(command, *overrides)
        assert set(config) == options_of(command, config)


def jobs(overrides: list[str]) -> list[list[str]]:
    """The overrides of each job of a multirun, or those of the one run."""
    if "-m" not in overrides:
        return [overrides]
    grid = [(name, values.split(",")) for name, _, values in (item.partition("=") for item in overrides) if values]
    assert len(grid) == len(overrides) - 1
    return [
        [f"{name}={value}" for (name, _), value in zip(grid, choice, strict=True)]
        for choice in itertools.product(*(values for _, values in grid))
    ]


def test_the_commands_are_found() -> None:
    assert {command for command, _ in COMMANDS} == set(OF_COMMAND)
    assert len(COMMANDS) >= 14


def test_every_path_and_link_is_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    assert all((ROOT / link).exists() for link in links)


def test_it_stays_short() -> None:
    assert len(README.splitlines()) < 150


def test_the_library_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    section = README.split("## Library")[1]
    code = "\n".join(line[4:] for line in section.split("Inside `with")[0].splitlines() if line.startswith("    "))

    def small() -> LanguageModel:
        return tiny(width=64)

    monkeypatch.setattr(lmsteer, "smollm2", small)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert "I think that" in capsys.readouterr().out
    assert (tmp_path / "mood.safetensors").exists()


def test_every_promise_of_the_architecture_names_a_test_that_exists() -> None:
    architecture = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", architecture)
    assert len(named) >= 10
    for path, test in named:
        assert f"\ndef {test}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{test}"
