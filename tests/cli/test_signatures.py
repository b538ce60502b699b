"""Promises of signatures that are read from source files: they are the real ones, and nothing heavy is imported."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lmsteer.cli.app import CONF
from lmsteer.cli.signatures import parameters

ROOT = Path(__file__).parents[2]
TARGETS = sorted(
    {
        target
        for path in Path(CONF).rglob("*.yaml")
        for target in re.findall(r"_target_: ([\w.]+)", path.read_text(encoding="utf-8"))
    }
)
READ = """
import json, sys
from lmsteer.cli.signatures import parameters_without_import

found = {target: parameters_without_import(target) for target in sys.argv[1:]}
names = {target: None if known is None else list(known) for target, known in found.items()}
print(json.dumps([names, sorted(sys.modules)]))
"""
REFUSED = """
import json, sys
from lmsteer.cli.app import command

sys.argv[0] = "train"
try:
    command("train")()
except SystemExit as end:
    print(json.dumps([end.code, sorted(sys.modules)]))
"""
HEAVY = {"torch", "pytorch_lightning", "transformers", "datasets", "lmsteer.commands.train"}


def in_a_fresh_process(program: str, *arguments: str) -> tuple[object, set[str]]:
    """What the program found, and the modules that it has imported."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found, modules = json.loads(done.stdout)
    return found, set(modules)


@pytest.fixture(scope="module")
def read() -> dict[str, list[str] | None]:
    """The parameters of every target of the configurations, as a process reads them that has imported no target."""
    found, modules = in_a_fresh_process(READ, *TARGETS)
    assert not HEAVY & modules
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_read_without_an_import_is_what_an_import_gives(target: str, read: dict[str, list[str] | None]) -> None:
    known = read[target]
    assert known is None or sorted(known) == sorted(parameters(target))


def test_what_is_slow_to_import_is_read(read: dict[str, list[str] | None]) -> None:
    classes = ["torch.optim.Adam", "pytorch_lightning.Trainer", "lmsteer.data.datamodule.SteerDataModule"]
    classes += ["lmsteer.training.module.SteerModule", "lmsteer.evaluation.protocol.Protocol"]
    assert all(read[target] for target in classes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["trainer.precision=8"], "trainer.precision=8: Input should be "),
        (["trainer.precision=[16-mixed]"], "trainer.precision=['16-mixed']: Input should be "),
        (["data.batch_size=many"], "data.batch_size='many': Input should be a valid integer"),
        (["solver=one_pass", "solver.damping=high"], "solver.damping='high': Input should be a valid number"),
        (["optimizer.lr=fast"], "optimizer.lr='fast': Input should be a valid number"),
        (["module.stop=never"], "module.stop='never': Input should be 'loss', 'control' or 'none'"),
        (["trainer.max_steps=null"], "trainer.max_steps=None: Input should be a valid integer"),
        (
            ["method=dexperts", "method.form=three"],
            "method.form='three': Input should be 'lora', 'anti_only' or 'full'",
        ),
        (["method=diffmean", "method.layer=mid"], "method.layer='mid': Input should be a valid integer"),
        (["steer.rank=high"], "steer.rank='high': Input should be "),
        (["protocol.samples=few"], "protocol.samples='few': Input should be a valid integer"),
        (["+steer.rnk=3"], "steer.rnk: unknown option; allowed are name, "),
        (["+data.row=3"], "data.row: unknown option; allowed are corpus, "),
        (["cache_gib=0"], "cache_gib=0: Input should be greater than 0"),
        (["+fast=true"], "fast: unknown option; allowed are "),
        (["~seed"], "seed: a value is needed"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_heavy_is_imported(
    options: list[str], message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    said, modules = in_a_fresh_process(REFUSED, "model=tiny", *options, f"hydra.run.dir={folder}")
    assert str(said).startswith(f"Error: {message}")
    assert not HEAVY & modules
    assert not list(folder.glob("*"))
