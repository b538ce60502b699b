"""Three starts of the same command in the same folder at the same time, for every command that writes.

Each ends well or in one line that says that another one is at work, and the folder is that of a single start.
"""

import shutil
from pathlib import Path

import pytest
import torch
from tests.cli.test_option_surface import SURFACE
from tests.faults.commands import Ended, run, start
from tests.handmade_commands import write_prompts

MODEL = ["model=tiny", "dtype=float32"]
COMMANDS: dict[str, list[str]] = {
    "annotate": ["runs=[BASE/run,BASE/run]", "n_prompts=2"],
    "calibrate": ["steer_file=OUT/steer.safetensors", "protocol.kl=2e-3", "steer.name=tone", "cache=CACHE"],
    "compose": ["steer_files=[BASE/run/steer.safetensors]", "names=[joy]"],
    "convert": ["checkpoint=BASE/reference.pt", "names=[tone,dummy]", "epsilon=1e-3"],
    "evaluate": ["generations=BASE/run/generations.jsonl", "steer.name=tone", "cache=CACHE"],
    "export": ["steer_file=BASE/run/steer.safetensors", "form=adapter", "strength=3"],
    "generate": ["steer_file=BASE/run/steer.safetensors", "strength=2", "samples=2", "prompts.path=BASE/prompts.jsonl"],
    "highlight": ["steer_file=BASE/run/steer.safetensors", "file=BASE/texts.txt"],
    "interpret": ["steer_file=BASE/run/steer.safetensors", "steer.name=tone", "rows=20"],
    "report": ["runs=[BASE/run]"],
    "train": ["steer.name=tone", "protocol=none", "trainer.max_steps=4", "logger=none", "cache=CACHE"],
    "transfer": ["steer_file=BASE/run/steer.safetensors", "model@to=tiny", "to.seed=1", "texts=BASE/texts.txt"],
}
WITHOUT_FOLDER = {"fetch", "serve"}
"""Commands that write into no folder of a run."""
TIMES = {"timing.json", ".lock"}


def options_of(name: str, base: Path, corpus: list[str], folder: Path) -> list[str]:
    """The options of a start that writes ``folder/out``."""
    options = [*COMMANDS[name], *(MODEL if name not in ("annotate", "compose", "report") else [])]
    options += corpus if name in ("calibrate", "evaluate") else []
    options += corpus[:2] if name in ("interpret", "train") else []
    where = {"BASE": base, "OUT": folder, "CACHE": folder / "cache"}
    for word, path in where.items():
        options = [option.replace(word, str(path)) for option in options]
    return [*options, f"hydra.run.dir={folder / 'out'}"]


@pytest.fixture(scope="module")
def base(unbroken: Path) -> Path:
    """The folder of a finished run, with a checkpoint, prompts and texts next to it."""
    torch.save(
        [None, {name: torch.randn(2, 32, 4) for name in ("projector1", "projector2")}, 9], unbroken / "reference.pt"
    )
    write_prompts(unbroken / "prompts.jsonl", ["The film is", "A night"])
    (unbroken / "texts.txt").write_text("".join(f"a {tone} film {n}\n" for n in range(12) for tone in ("warm", "dull")))
    return unbroken


def content(folder: Path) -> dict[str, bytes]:
    """The files of a folder but for times, with paths of a test left out of those that name them."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in TIMES)
    return {
        str(path.relative_to(folder)): path.read_bytes().replace(str(folder.parent).encode(), b"FOLDER")
        for path in files
    }


def test_every_command_that_writes_a_folder_is_here() -> None:
    assert {line.split()[0] for line in SURFACE.read_text().splitlines()} - WITHOUT_FOLDER == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_three_at_once_leave_the_folder_of_one(name: str, options: list[str], base: Path, tmp_path: Path) -> None:
    corpus = [option for option in options if option.startswith(("corpus", "protocol.prompts", "protocol.samples"))]
    folders = [tmp_path / "alone", tmp_path / "three"]
    for folder in folders:
        folder.mkdir()
        shutil.copy(base / "run" / "steer.safetensors", folder)
    alone, together = (options_of(name, base, corpus, folder) for folder in folders)
    done = run(name, alone, tmp_path / "alone.log")
    assert done.status == 0, done.said
    started = [start(name, together, tmp_path / f"{number}.log") for number in range(3)]
    ended: list[Ended] = [one.end() for one in started]
    assert any(one.status == 0 for one in ended), [one.said for one in ended]
    for one in ended:
        assert one.status == 0 or "another" in one.error
    assert content(folders[1] / "out") == content(folders[0] / "out") != {}
    assert (folders[1] / "steer.safetensors").read_bytes() == (folders[0] / "steer.safetensors").read_bytes()
