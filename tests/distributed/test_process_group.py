"""Promises of several processes that do one run together."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.fitting import GradientFit
from tests.several import ENVIRONMENT, settings
from tests.tone import write_tone

from lmsteer.cli.launch import launch
from lmsteer.data.corpus import Corpus
from lmsteer.data.feature_store import FeatureStoreConfig
from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.distributed.processes import Processes
from lmsteer.errors import InputError
from lmsteer.generation.generator import Generator
from lmsteer.generation.sampling import Nucleus
from lmsteer.models.random_models import tiny
from lmsteer.one_pass.one_pass_solver import OnePassSolver
from lmsteer.records import Prompt, Row
from lmsteer.reference.padded_batches import PaddedDataModule
from lmsteer.runs.run import Run
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.training.fit import FitEnvironment, fit

WHAT = SteerConfig(name="tone", rank=4, epsilon=0.05, regularization=1e-3)
FITS = {
    "loss": GradientFit(steps=20, batch_size=8, dev_every=5, dev_rows=20),
    "control": GradientFit(steps=20, batch_size=3, dev_every=5, dev_rows=19, stop="control"),
    "stored": GradientFit(steps=20, batch_size=8, dev_every=5, dev_rows=20),
}
SETTINGS: list[tuple[dict[str, float], str]] = [({}, ""), ({"tone": -3.0}, ""), ({"tone": 3.0, "dummy": 1.0}, "")]
TEXTS = ["The film is", "This is not the worst thing that", "I would", "people who learn to live with what they", "and"]


def corpus() -> Corpus:
    """Texts of very different lengths, some of one token, of which nothing can be learned."""
    told = {1.0: "warm and funny", -1.0: "dull, slow and far too long"}
    rows = [
        Row(f"{'the story ' * (n % 7)}number {n} is {told[label]}" if n % 9 else "a" * (label > 0) or "b", label)
        for n in range(40)
        for label in (1.0, -1.0)
    ]
    return Corpus("toy", tuple(rows[:60]), tuple(rows[60:]))


def generator(batch_size: int = 6) -> Generator:
    prompts = [Prompt(f"id-{number}", text) for number, text in enumerate(TEXTS)]
    decoding = Nucleus(max_new_tokens=6)
    return Generator(tiny(), prompts, decoding=decoding, samples=3, batch_size=batch_size, prompts_name="test")


def steer() -> Steer:
    return Steer(32, dimensions=["tone", "dummy"], rank=4, epsilon=0.1, init_std=0.5, seed=1)


def in_one_pass(process_group: ProcessGroup, folder: Path) -> None:
    """A steer of one pass, its residuals kept."""
    found, provenance = fit(
        tiny(),
        corpus(),
        replace(WHAT, rank=2),
        OnePassSolver(permutations=39),
        environment=FitEnvironment(store=FeatureStoreConfig(where=str(folder / "kept")), process_group=process_group),
    )
    save_file(dict(found.state_dict()), folder / f"one_pass-{process_group.rank}-of-{process_group.size}.safetensors")
    (folder / f"found-{process_group.rank}-of-{process_group.size}.json").write_text(
        json.dumps(provenance.training["solver_result"])
    )


def everything(config: dict[str, Any], sweep: str, process_group: ProcessGroup) -> None:
    """Fit in several ways, then write generations into the folder of the configuration."""
    torch.set_num_threads(1)
    folder = Path(config["folder"])
    assert process_group.gather_in_order(process_group.shard(range(11))) == list(range(11))
    assert process_group.broadcast(process_group.rank) == 0
    assert process_group.all_gather(process_group.rank) == list(range(process_group.size))
    assert process_group.all_reduce_sum(process_group.rank, 0.5) == [
        sum(range(process_group.size)),
        process_group.size / 2,
    ]
    for name, fit_steer in FITS.items():
        store = FeatureStoreConfig(where=str(folder / f"store-{process_group.size}") if name == "stored" else "off")
        found, provenance = fit_steer(
            tiny(), corpus(), WHAT, environment=FitEnvironment(store=store, process_group=process_group)
        )
        mine = folder / f"{name}-{process_group.rank}-of-{process_group.size}"
        save_file(dict(found.state_dict()), mine.with_suffix(".safetensors"))
        mine.with_suffix(".json").write_text(json.dumps(provenance.training["curve"]))
    in_one_pass(process_group, folder)
    run = Run(folder / "run", "seed: 0\n", process_group)
    run.begin()
    for size in (6, 15):  # nine batches, and one of each strength
        generator(size).write(folder / f"{size}-{process_group.size}.jsonl", SETTINGS, steer(), process_group)
    generator(15).write(folder / f"one-{process_group.size}.jsonl", SETTINGS[2:], steer(), process_group)


@pytest.fixture(scope="module", params=[2, 3])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """What one process and several have made of the same."""
    place = tmp_path_factory.mktemp("world")
    threads = torch.get_num_threads()
    everything({"folder": str(place)}, "", ProcessGroup())
    torch.set_num_threads(threads)
    launch(everything, settings(request.param) | {"folder": str(place)})
    return place, request.param


@pytest.mark.parametrize("name", list(FITS))
def test_several_processes_fit_the_weights_of_one(folder: tuple[Path, int], name: str) -> None:
    place, size = folder
    alone = load_file(place / f"{name}-0-of-1.safetensors")
    for rank in range(size):
        together = load_file(place / f"{name}-{rank}-of-{size}.safetensors")
        for key, weights in alone.items():
            torch.testing.assert_close(together[key], weights, rtol=0, atol=1e-5)
    assert len({(place / f"{name}-{rank}-of-{size}.safetensors").read_bytes() for rank in range(size)}) == 1


@pytest.mark.parametrize("name", list(FITS))
def test_losses_and_dev_figures_are_those_of_the_whole_batch(folder: tuple[Path, int], name: str) -> None:
    place, size = folder
    alone, together = (json.loads((place / f"{name}-0-of-{n}.json").read_text()) for n in (1, size))
    assert set(alone) == set(together) >= {"train", "dev"}
    for key, curve in alone.items():
        torch.testing.assert_close(torch.tensor(together[key]), torch.tensor(curve), rtol=1e-5, atol=1e-5)


def test_sums_of_several_processes_give_the_one_pass_steer_of_one(folder: tuple[Path, int]) -> None:
    place, size = folder
    alone = load_file(place / "one_pass-0-of-1.safetensors")
    matrix = alone["p1"][0] @ alone["p2"][0].T
    for rank in range(size):
        together = load_file(place / f"one_pass-{rank}-of-{size}.safetensors")
        torch.testing.assert_close(together["p1"][0] @ together["p2"][0].T, matrix, rtol=1e-3, atol=1e-4)
    one, several = (json.loads((place / f"found-0-of-{n}.json").read_text()) for n in (1, size))
    torch.testing.assert_close(torch.tensor(several["spectrum"]), torch.tensor(one["spectrum"]), rtol=1e-5, atol=1e-7)
    assert several["null"]["above"] == one["null"]["above"]


def test_generations_of_several_processes_are_those_of_one(folder: tuple[Path, int]) -> None:
    place, size = folder
    for name in ("6", "15", "one"):
        assert (place / f"{name}-{size}.jsonl").read_bytes() == (place / f"{name}-1.jsonl").read_bytes()
    assert not list(place.glob("*.batches"))


def interrupted(config: dict[str, Any], sweep: str, process_group: ProcessGroup) -> None:
    """Write generations; ``die`` stops rank zero after two batches and the others after one."""
    torch.set_num_threads(1)
    writing = generator()
    original, written = writing.batch, []

    def batch(*arguments: Any) -> Any:
        if config["die"] and len(written) == (2 if process_group.is_rank_zero else 1):
            raise InputError(f"died after {len(written)}")
        written.append(arguments)
        return original(*arguments)

    writing.batch = batch  # type: ignore[method-assign]
    writing.write(Path(config["folder"]) / "cut.jsonl", SETTINGS, steer(), process_group)
    (Path(config["folder"]) / f"batches-{process_group.rank}").write_text(str(len(written)))


@pytest.mark.parametrize("processes", [2, 3])
def test_generation_resumes_with_any_number_of_processes(tmp_path: Path, processes: int) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    generator().write(tmp_path / "whole.jsonl", SETTINGS, steer())
    torch.set_num_threads(threads)
    with pytest.raises(InputError, match="died after"):
        launch(interrupted, settings(2) | {"folder": str(tmp_path), "die": True})
    launch(interrupted, settings(processes) | {"folder": str(tmp_path), "die": False})
    assert (tmp_path / "cut.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    batches = sum(int((tmp_path / f"batches-{rank}").read_text()) for rank in range(processes))
    assert batches < 9, "finished batches are not generated again"
    assert not list(tmp_path.glob("*.batches"))


def test_numbers_of_processes() -> None:
    assert Processes(strategy="ddp", devices=3).number(gpus=0) == 3
    assert Processes(strategy="ddp", devices="auto").number(gpus=4) == 4
    assert Processes.of({"strategy": "ddp", "devices": 3, "precision": None}).number(gpus=3) == 3
    assert Processes().number(gpus=0) == Processes().number(gpus=4) == 1
    with pytest.raises(InputError, match="no GPU is used here"):
        Processes(strategy="ddp", devices="auto").number(gpus=0)
    with pytest.raises(InputError, match="shows 2 GPU"):
        Processes(strategy="ddp", devices=3).number(gpus=2)
    for devices in (0, True, "2", None):
        with pytest.raises(InputError, match=rf"trainer\.devices={devices}: auto, or an integer of 1 or more"):
            Processes(strategy="ddp", devices=devices)
    with pytest.raises(InputError, match="trainer=ddp takes more"):
        Processes(devices=2)
    with pytest.raises(InputError, match=r"trainer\.strategy=fsdp: auto \(one process\) or ddp expected"):
        Processes(strategy="fsdp")


def test_fewer_rows_than_processes_and_padded_batches_are_refused() -> None:
    nine = FitEnvironment(process_group=ProcessGroup(rank=0, size=9))
    large = replace(FITS["control"], batch_size=9)
    for fit_steer, message in (
        (FITS["loss"], r"data\.batch_size: 8, but 9 processes"),
        (replace(large, dev_rows=8), "dev rows: 8, but 9 processes"),
        (replace(large, rows=8), "train rows: 8, but 9 processes"),
    ):
        with pytest.raises(InputError, match=message):
            fit_steer(tiny(), corpus(), WHAT, environment=nine)
    with pytest.raises(InputError, match="train rows: 8, but 9 processes"):
        fit(tiny(), corpus(), WHAT, OnePassSolver(), data=replace(large, rows=8).data, environment=nine)
    with pytest.raises(InputError, match="data=padded: one process"):
        replace(FITS["loss"], datamodule=PaddedDataModule)(
            tiny(), corpus(), WHAT, environment=FitEnvironment(process_group=ProcessGroup(rank=0, size=2))
        )


def test_a_whole_run_of_two_processes_generates_and_measures_what_one_does(tmp_path: Path) -> None:
    """From one steer on, as the weights agree to 1e-5 only."""
    fitted = ["trainer.max_steps=6", "data.batch_size=4", "steer.name=tone", "steer.rank=4", "steer.epsilon=0.05"]
    small = ["protocol.samples=2", "protocol.prompts.own.n=5", "protocol.batch_size=4", "protocol.perplexity=1.2"]
    kept = ["logger=none", "cache=off", "corpus=file", f"corpus.path={write_tone(tmp_path, rows=200)}"]
    command = [sys.executable, "-m", "src.train", "model=tiny", *fitted, *small, *kept]
    two, one = tmp_path / "two", tmp_path / "one"

    def train(*overrides: str) -> str:
        done = subprocess.run([*command, *overrides], capture_output=True, text=True, env=ENVIRONMENT, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout + done.stderr

    said = train("trainer=ddp", "trainer.devices=2", f"hydra.run.dir={two}")
    assert said.count("report: ") == 1, "one process prints"
    one.mkdir()
    for name in ("config.yaml", "steer.safetensors"):
        shutil.copy(two / name, one / name)
    train(f"hydra.run.dir={one}")
    for name in ("steer.safetensors", "generations.jsonl", "metrics.json", "values.safetensors"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}
    assert "finished already" in train("trainer=ddp", "trainer.devices=2", f"hydra.run.dir={two}")
