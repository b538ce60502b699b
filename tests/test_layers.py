"""The layers import one way only: see docs/architecture.md."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
CONFIG = {"hydra", "omegaconf"}
FRAMEWORKS = CONFIG | {"pytorch_lightning", "wandb"}

# Part of the library -> what nothing in it may import: packages, and other parts of the library.
FORBIDDEN = {
    "errors.py": {*FRAMEWORKS, "torch", "transformers", "lmsteer"},
    "records.py": {*FRAMEWORKS, "torch", "transformers", "lmsteer.data", "lmsteer.steering"},
    "metrics": {*FRAMEWORKS, "transformers", "lmsteer.data", "lmsteer.steering", "lmsteer.records", "lmsteer.scoring"},
    "steering": {*FRAMEWORKS, "lmsteer.data", "lmsteer.generation", "lmsteer.scoring", "lmsteer.reporting"},
    "generation": {*FRAMEWORKS, "lmsteer.data", "lmsteer.scoring", "lmsteer.reporting"},
    "scoring": {
        *FRAMEWORKS,
        "lmsteer.generation",
        "lmsteer.reporting",
        "lmsteer.training.module",
        "lmsteer.training.fit",
    },
    "data": {*CONFIG, "wandb", "lmsteer.generation", "lmsteer.scoring", "lmsteer.reporting", "lmsteer.training.module"},
    "task.py": {*CONFIG, "wandb", "transformers", "lmsteer.generation", "lmsteer.scoring", "lmsteer.reporting"},
    "": CONFIG,
}


def imports(path: Path) -> set[str]:
    """Modules that a file imports, relative imports not being used here."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_the_walk_sees_imports() -> None:
    assert "lmsteer.models.head" in imports(SOURCE / "lmsteer" / "task.py")


@pytest.mark.parametrize("part", list(FORBIDDEN))
def test_no_part_imports_what_lies_above_it(part: str) -> None:
    place = SOURCE / "lmsteer" / part
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    assert files
    wrong = [
        f"{path.relative_to(SOURCE)} imports {module}"
        for path in files
        for module in sorted(imports(path))
        for barred in FORBIDDEN[part]
        if (module + ".").startswith(barred + ".") and module != "lmsteer.errors"
    ]
    assert not wrong
