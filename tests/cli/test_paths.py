"""Options that name files mean the same wherever they are, and no pipe or device is opened."""

import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from tests.handmade_commands import run_command
from tests.special_files import pipe

from lmsteer.cli.configuration import check_config
from lmsteer.cli.options import OF_COMMAND
from lmsteer.cli.paths import resolve_output_folder, resolve_paths
from lmsteer.errors import InputError
from lmsteer.storage.user_cache import cache_folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user of a container: neither in the environment nor in the list of users."""

    def unknown(*_: object) -> None:
        raise KeyError

    for name in ("HOME", "XDG_CACHE_HOME", "LMSTEER_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def with_path(node: Any, path: str) -> Any:
    """Options with a path in place of every value."""
    if isinstance(node, dict):
        return {key: with_path(value, path) for key, value in node.items()}
    return [with_path(item, path) for item in node] if isinstance(node, list) else path


def resolved(options: dict[str, Any]) -> Any:
    config = OmegaConf.create(options)
    OmegaConf.set_struct(config, True)
    resolve_paths(config)
    return OmegaConf.to_container(config)


@pytest.mark.parametrize(
    "options",
    [
        {"corpus": {"path": "PATH"}},
        {"protocol": {"prompts": {"own": {"path": "PATH"}}, "scorers": {"replay": {"path": "PATH"}}}},
        *(
            {name: "PATH"}
            for name in ("steer_file", "generations", "checkpoint", "texts", "cache", "file", "dev", "runs")
        ),
        {"steer_files": ["PATH"]},
        {"runs": ["PATH"]},
        {"rescore": {"others": "PATH"}},
        {"model": {"id": "PATH"}},
    ],
)
def test_a_tilde_is_the_home_folder_in_every_option_that_names_files(options: dict[str, Any], home: Path) -> None:
    assert resolved(with_path(options, "~/a b.tsv")) == with_path(options, f"{home}/a b.tsv")


def test_other_options_and_references_stay_as_they_are(home: Path) -> None:
    options = {
        "title": "~/a",
        "corpus": {"path": None, "dev": 5},
        "path": "${title}",
        "cache": "???",
        "file": "~no-such-user/a",
    }
    config = OmegaConf.create(options)
    resolve_paths(config)
    assert OmegaConf.to_container(config) == options


def test_a_command_reads_and_writes_below_the_home_folder(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "p.jsonl").write_text('{"text": "The film"}\n')
    options = ["model=tiny", "samples=1", 'prompts.path="~/p.jsonl"', 'hydra.run.dir="~/out"']
    assert run_command("generate", *options) == 0, capsys.readouterr().err
    assert (home / "out" / "generations.jsonl").is_file()


@pytest.mark.parametrize("name", ["hydra.run.dir", "hydra.sweep.dir", "out"])
def test_the_folder_of_a_run_may_be_below_the_home_folder(name: str, home: Path) -> None:
    assert resolve_output_folder(f'{name}="~/my run"') == f'{name}="{home}/my run"'
    for unchanged in (f"{name}=runs/~", f"{name}='~no-such-user'", 'title="~/a"', "a.tsv"):
        assert resolve_output_folder(unchanged) == unchanged


def test_without_a_home_folder_one_line_says_what_to_set(no_home: None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="LMSTEER_CACHE"):
        cache_folder()
    with pytest.raises(InputError, match=r"corpus\.path=~/a: the home folder is unknown; set HOME"):
        resolved({"corpus": {"path": "~/a"}})
    assert run_command("generate", 'hydra.run.dir="~/out"') == 1
    assert capsys.readouterr().err.startswith("Error: hydra.run.dir=~/out: the home folder is unknown")
    assert not Path("~").exists()


def test_where_no_home_is_needed_none_is_asked_for(
    no_home: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert resolved({"corpus": {"path": "a.tsv"}, "cache": "off"})["cache"] == "off"
    monkeypatch.setenv("LMSTEER_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path


@pytest.mark.parametrize("options", [{"corpus": {"path": "PIPE"}}, {"steer_file": "PIPE"}, {"runs": ["PIPE"]}])
def test_a_pipe_is_refused_in_every_option_that_names_files(options: dict[str, Any], tmp_path: Path) -> None:
    with (
        pipe(tmp_path / "a.tsv") as path,
        pytest.raises(InputError, match=r"a\.tsv is a pipe, .* a regular file expected"),
    ):
        resolved(with_path(options, str(path)))


@pytest.mark.parametrize("option", ["steer_file", "prompts.path"])
def test_a_command_refuses_a_device_in_one_line(option: str, refusal: Any) -> None:
    def check(config: DictConfig) -> None:
        check_config(config, OF_COMMAND["generate"])

    error = refusal("generate", check, "model=tiny", f"{option}={os.devnull}")
    assert error == f"Error: {os.devnull} is a pipe, a device or a socket; a regular file expected"
