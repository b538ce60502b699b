"""The package in parts: what the core does alone, and the one line that names a missing extra."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import MissingConfigException
from tests.test_layers import imports, modules

from lmsteer.cli.app import one_line
from lmsteer.errors import InputError
from lmsteer.extras import OPTIONAL, MissingExtraError, explain_missing_extra, missing_extra

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
GROUPS = ("all", "dev")
FOUND_OTHERWISE = {"wandb-workspaces"}
"""Looked for without an import."""
SMALL = ["model=tiny", "protocol=none"]
WITHIN = {"PIL": "matplotlib"}
"""Packages that another one brings, which is imported with them."""
BLOCK = """
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, path=None, target=None: None if name in {!r} else find(name, path, target)
"""


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


def names(requirements: list[str]) -> set[str]:
    return {re.split("[<>=]", requirement)[0] for requirement in requirements}


def run_without(packages: set[str], code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process in which packages are not installed."""
    return subprocess.run([sys.executable, "-c", BLOCK.format(packages) + code], capture_output=True, text=True)


def command_without(package: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``lmsteer …`` in a process in which a package is not installed."""
    code = f"sys.argv = {['lmsteer', *arguments]!r}\nfrom lmsteer.cli.main import main\nmain()"
    return run_without({package}, code)


def test_every_optional_package_is_in_the_extra_that_is_named() -> None:
    extras = {extra: names(given) for extra, given in PROJECT["optional-dependencies"].items() if extra not in GROUPS}
    found = {(distribution, extra) for extra, given in extras.items() for distribution in given - FOUND_OTHERWISE}
    assert found == set(OPTIONAL.values())


def test_everything_that_is_imported_is_in_the_core_or_in_an_extra() -> None:
    imported = {name.split(".")[0] for path in modules() for name in imports(path)} - {"lmsteer", "pip"}
    third_party = {WITHIN.get(name, name) for name in imported - set(sys.stdlib_module_names)}
    core, distributions = names(PROJECT["dependencies"]), packages_distributions()
    assert all(name in OPTIONAL or core & set(distributions[name]) for name in third_party)


def test_the_core_applies_a_steer_file() -> None:
    brought_by_others = {"jinja2", "markupsafe", "pydantic", "yaml"}  # torch and transformers need these
    done = run_without(set(OPTIONAL) - brought_by_others, (ROOT / "tests" / "core_only.py").read_text(encoding="utf-8"))
    assert done.stdout == "a steer was applied with the core alone\n", done.stderr


@pytest.mark.parametrize(
    ("package", "arguments", "line"),
    [
        ("hydra", ["train"], "lmsteer train needs hydra-core; pip install 'lmsteer[train]'"),
        ("matplotlib", ["report", "runs=x"], "lmsteer report needs matplotlib; pip install 'lmsteer[train]'"),
        slow("xllamacpp", ["serve"], "lmsteer serve needs xllamacpp; pip install 'lmsteer[serve]'"),
        slow("pytorch_lightning", ["train"], "lmsteer train needs pytorch-lightning; pip install 'lmsteer[train]'"),
        slow("sklearn", ["train"], "protocol.scorers.tfidf-snippets needs scikit-learn; pip install 'lmsteer[score]'"),
        slow("wandb", ["train", *SMALL], "lmsteer train needs wandb; pip install 'lmsteer[wandb]'"),
    ],
)
def test_a_missing_extra_is_named_in_one_line(package: str, arguments: list[str], line: str, tmp_path: Path) -> None:
    done = command_without(package, *arguments, f"hydra.run.dir={tmp_path}")
    assert (done.returncode, done.stderr, done.stdout) == (1, f"Error: {line}\n", "")


def test_help_lists_the_commands_without_hydra() -> None:
    done = command_without("hydra", "--help")
    assert done.returncode == 0
    assert re.search(r"^  train +Fit a steer", done.stdout, re.MULTILINE)


def test_other_failed_imports_keep_their_traceback() -> None:
    done = command_without("lmsteer.cli.signals", "train")
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("ModuleNotFoundError: No module named 'lmsteer.cli.signals'\n")


def test_the_library_names_the_extra_too() -> None:
    code = "import lmsteer\ntry: lmsteer.fit\nexcept ImportError as error: print(error)"
    done = run_without({"pytorch_lightning"}, code)
    assert done.stdout == "lmsteer.fit needs pytorch-lightning; pip install 'lmsteer[train]'\n", done.stderr


@pytest.mark.parametrize(
    ("file", "line"),
    [
        (
            "hydra/launcher/submitit_slurm",
            "hydra/launcher=slurm needs hydra-submitit-launcher; pip install 'lmsteer[slurm]'",
        ),
        ("hydra/sweeper/optuna", "hydra/sweeper=optuna needs hydra-optuna-sweeper; pip install 'lmsteer[optuna]'"),
    ],
)
def test_a_plugin_of_hydra_that_is_not_installed_is_named(file: str, line: str) -> None:
    assert one_line(MissingConfigException("Could not load it.", missing_cfg_file=file)) == line


def test_a_cause_is_looked_at_and_errors_of_the_user_pass() -> None:
    absent = ModuleNotFoundError("No module named 'wandb'", name="wandb")
    wrapped = ImportError("cannot be located")
    wrapped.__cause__ = absent
    assert isinstance(missing_extra(wrapped, "x"), MissingExtraError)
    for other in (ModuleNotFoundError(name="wandb.sdk"), ModuleNotFoundError("no name"), ImportError(name="wandb")):
        assert missing_extra(other, "x") is None
        with pytest.raises(type(other)) as caught, explain_missing_extra("x"):
            raise other
        assert caught.value is other
    with pytest.raises(InputError, match="mine"), explain_missing_extra("x"):
        raise InputError("mine") from absent
