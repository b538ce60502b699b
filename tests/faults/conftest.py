"""A small run by the command, unbroken, and what an interrupted one must have in common with it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tests.faults.commands import run
from tests.faults.faulty import Snapshots
from tests.tone import write_tone

from lmsteer.storage.shards import KEY_BYTES, KEYS

RESULTS = ("config.yaml", "sources.json", "steer.safetensors", "generations.jsonl", "metrics.json")
RESULTS += ("values.safetensors", "report.html")
"""Files of a run that are functions of its configuration alone."""
LEFT = (".tmp", ".batches", ".ckpt")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", os.pathsep.join(["src", ".", os.environ.get("PYTHONPATH", "")]))
        yield


@pytest.fixture(scope="session")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Those of a run with every stage: 6 steps, 3 looks at the dev loss, 3 batches of the plain model, 12 steered."""
    path = write_tone(tmp_path_factory.mktemp("corpus"), rows=300)
    model = ["model=tiny", "steer.name=tone", "steer.rank=4", "steer.epsilon=0.05"]
    corpus = ["corpus=file", f"corpus.path={path}", "data.batch_size=4", "data.dev_rows=16"]
    fit = ["trainer.max_steps=6", "trainer.val_check_interval=2", "logger=none"]
    protocol = ["protocol.samples=2", "protocol.prompts.own.n=6", "protocol.batch_size=4", "decoding.max_new_tokens=8"]
    return [*model, *corpus, *fit, *protocol, "protocol.kl=1e-3", "protocol.calibration_prompts=2"]


def places(folder: Path, run: str = "run") -> list[str]:
    """Options that put the run and all that it keeps for others into one folder."""
    return [f"hydra.run.dir={folder / run}", f"cache={folder / 'cache'}"]


@pytest.fixture(scope="session")
def unbroken(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("unbroken")
    done = run("train", [*options, *places(folder)], folder / "log")
    assert done.status == 0, done.said
    assert {path.name for path in (folder / "run").iterdir()} == {*RESULTS, "timing.json", ".lock"}
    return folder


@pytest.fixture(scope="session")
def states(options: list[str], unbroken: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that such a run can leave when it is killed, each in a folder of its own, in order."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "all").mkdir()
    watching = Snapshots(folder / "all", folder / "states")
    done = run("train", [*options, *places(folder / "all")], folder / "log", watching)
    assert done.status == 0, done.said
    assert_same(folder / "all", unbroken)
    return folder / "states"


def entries(folder: Path) -> list[bytes]:
    """The keys of all entries in the stores below a folder, sorted."""
    found = []
    for path in (folder / "cache").rglob("*.safetensors"):
        packed = load_file(path)[KEYS].numpy().tobytes()
        found += [packed[start : start + KEY_BYTES] for start in range(0, len(packed), KEY_BYTES)]
    return sorted(found)


def assert_same(folder: Path, expected: Path, run: str = "run") -> None:
    """The results have the same bytes, the stores hold the same entries once each, and nothing else is left."""
    for name in RESULTS:
        assert (folder / run / name).read_bytes() == (expected / "run" / name).read_bytes(), f"{folder}: {name}"
    assert {path.name for path in (folder / run).iterdir()} == {*RESULTS, "timing.json", ".lock"}
    assert entries(folder) == entries(expected)
    assert len(set(entries(folder))) == len(entries(folder))
    texts = "cache/scores/plain/*.jsonl"
    plain = [sorted(path.read_bytes() for path in place.glob(texts)) for place in (folder, expected)]
    assert plain[0] == plain[1] != []
    assert [path for path in folder.rglob("*") if path.suffix in LEFT] == []
