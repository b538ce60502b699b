"""The packages of the library import one way only: see docs/architecture.md."""

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[1] / "src" / "lmsteer"
LAYERS = (
    ("errors", "extras", "old_files"),
    ("storage", "distributed", "metrics", "behaviours"),
    ("records", "embedded"),
    ("models",),
    ("data", "steering"),
    ("reference",),
    ("scoring", "generation", "transfer", "distillation", "processors"),
    ("analysis", "annotation", "evaluation", "one_pass"),
    ("training",),
    ("methods",),
    ("reporting",),
    ("export", "runs"),
    ("serving",),
    ("commands", "cli"),
)
"""From the lowest to the highest: a module imports packages of lower layers, its own package, and its neighbours."""
HYDRA = ("hydra", "omegaconf")
LIGHTNING = ("pytorch_lightning", "lightning_fabric")
# Third-party packages, and the only packages of the library that import them.
ONLY_IN = {
    **{name: {"cli", "commands"} for name in HYDRA},
    **{name: {"data", "training", "methods", "runs", "reporting"} for name in LIGHTNING},
    "wandb": {"training", "reporting"},
    "matplotlib": {"reporting", "commands"},
    "jinja2": {"reporting", "export"},
    "py3langid": {"behaviours"},
    "aiohttp": {"serving"},
    "xllamacpp": {"serving"},
}
REPORTING_IS_READ_BY = {"reporting", "runs", "export", "commands", "cli"}


def modules() -> list[Path]:
    return sorted(LIBRARY.rglob("*.py"))


def package_of(path: Path) -> str:
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


@cache
def imports(path: Path) -> set[str]:
    """Modules that a file imports, relative imports not being used here."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@cache
def imported_packages() -> dict[str, set[str]]:
    """By package of the library the other ones that it imports."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path in modules():
        inside = [module.split(".") for module in imports(path)]
        found[package_of(path)] |= {parts[1] for parts in inside if parts[0] == "lmsteer"} - {package_of(path)}
    return found


def test_the_walk_sees_imports() -> None:
    assert "lmsteer.models.head.Head" in imports(LIBRARY / "steering" / "fold.py")


def test_every_package_has_a_layer() -> None:
    assert {package for layer in LAYERS for package in layer} == {package_of(path) for path in modules()} - {"__init__"}


@pytest.mark.parametrize("package", [package for layer in LAYERS for package in layer])
def test_a_package_imports_no_higher_layer(package: str) -> None:
    level = next(index for index, layer in enumerate(LAYERS) if package in layer)
    higher = {other for layer in LAYERS[level + 1 :] for other in layer}
    assert not imported_packages()[package] & higher


def test_no_two_packages_import_each_other() -> None:
    found = imported_packages()
    pairs = {(one, other) for one in found for other in found[one] if one < other and one in found.get(other, ())}
    assert pairs <= {("cli", "commands")}


@pytest.mark.parametrize("third_party", list(ONLY_IN))
def test_frameworks_stay_where_they_belong(third_party: str) -> None:
    users = {package_of(path) for path in modules() if third_party in {name.split(".")[0] for name in imports(path)}}
    assert users <= ONLY_IN[third_party]


def test_reporting_is_a_leaf() -> None:
    found = imported_packages()
    assert {package for package in found if "reporting" in found[package]} <= REPORTING_IS_READ_BY


def test_no_file_name_is_used_twice() -> None:
    names = [path.name for path in modules() if path.name != "__init__.py"]
    assert sorted(names) == sorted(set(names))
