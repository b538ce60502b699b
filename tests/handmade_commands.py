"""What commands need and say: a configuration, a steer of the tiny model, prompts, and the line of a refusal."""

import json
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

import experiments
from lmsteer.cli.app import CONF, command, entry_point
from lmsteer.models.random_models import tiny
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import save_steer

STUDIES = Path(experiments.__file__).parent


def command_config(name: str, *overrides: str) -> Any:
    """Compose a configuration, as the command does."""
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose(name, overrides=list(overrides))


def study_config(study: str, *overrides: str, name: str = "config") -> Any:
    """Compose the configuration of a study, as its command does; a folder may have several."""
    with initialize_config_dir(str(STUDIES / study), version_base="1.3"):
        return compose(name, overrides=list(overrides))


def run_command(name: str, *options: str) -> int:
    """Run a command in this process as the program does and return its exit status, once its error is printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *options])
        try:
            command(name)()
        except SystemExit as end:
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
            return 1 if isinstance(end.code, str) else end.code or 0
    return 0


def write_steer(path: Path, steer: Steer, **provenance: Any) -> Path:
    """Save a steer as one of the tiny model."""
    save_steer(path, steer, Provenance(**{"model": "tiny-0", "fingerprint": tiny().head.fingerprint()} | provenance))
    return path


def write_prompts(path: Path, texts: Sequence[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


@pytest.fixture
def refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a command that refuses its options in one line and leaves its folder empty; give that line.

    The name is that of a command, or ``experiments/STUDY``, or ``experiments/STUDY:CONFIGURATION``. Words in the
    options stand for what the keywords say.
    """

    def decorate(name: str) -> Callable[..., Callable[[], None]]:
        kind, _, study = name.rpartition("/")
        if not kind:
            return entry_point(name)
        folder, _, configuration = study.partition(":")
        module = import_module(f"{kind}.{folder}.{configuration or 'run'}")
        return entry_point(configuration or "config", STUDIES / folder, module.TYPES)

    def run(name: str, command: Callable[..., Any], *overrides: str, **words: object) -> str:
        for word, meaning in words.items():
            overrides = tuple(item.replace(word, str(meaning)) for item in overrides)
        monkeypatch.setattr(sys, "argv", [name, f"hydra.run.dir={tmp_path / 'out'}", *overrides])
        with pytest.raises(SystemExit) as caught:
            decorate(name)(command)()
        error = str(caught.value)
        assert error.startswith("Error: ")
        assert "\n" not in error
        assert not list((tmp_path / "out").glob("*"))
        return error

    return run
