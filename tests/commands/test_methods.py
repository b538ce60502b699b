"""Promises of whole runs of a method: files, costs, resumption, several processes, and what later commands read."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tests.faults.commands import Ended, run, start, until
from tests.faults.faulty import Tells
from tests.handmade_commands import write_prompts
from tests.several import ENVIRONMENT
from tests.tone import write_tone

from lmsteer.evaluation.divergence import DivergenceMeter
from lmsteer.evaluation.results import read_result
from lmsteer.generation.generator import Generator
from lmsteer.generation.sampling import Nucleus
from lmsteer.methods.method_file import load_controller
from lmsteer.models.random_models import tiny
from lmsteer.records import read_generations
from lmsteer.steering.provenance import METHOD_KEY

METHODS = {
    "prompt": ["method.positive='warm and funny '", "method.negative='dull and slow '"],
    "dexperts": ["method.rank=2"],
    "residual_vector": [],
    "diffmean": [],
}
PASSES = {"prompt": {1.0: 1, -5.0: 2}, "dexperts": {1.0: 3, -5.0: 3}}
TRAINED = ("dexperts", "residual_vector")
MEASURED = ("model", "corpus", "corpus.path", "steer.name", "cache")
"""Options of a fit that calibrate and evaluate have too."""
FILES = {".lock", "config.yaml", "method.safetensors", "generations.jsonl", "metrics.json", "values.safetensors"}
FILES |= {"timing.json", "report.html", "sources.json"}
PROTOCOL = ["protocol.samples=2", "protocol.prompts.own.n=4", "protocol.strengths=[-5,1]", "decoding.max_new_tokens=6"]


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of every fit: 6 steps, three looks at the dev loss."""
    path = write_tone(tmp_path_factory.mktemp("corpus"), rows=300)
    corpus = ["model=tiny", "corpus=file", f"corpus.path={path}", "steer.name=tone", "logger=none", "cache=off"]
    return [*corpus, "trainer.max_steps=6", "trainer.val_check_interval=2", "data.batch_size=8", "data.dev_rows=16"]


@pytest.fixture(scope="module", params=list(METHODS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def finished(command: str, *options: str, log: Path) -> Ended:
    done = run(command, options, log)
    assert done.status == 0, done.said
    return done


@pytest.fixture(scope="module")
def whole(name: str, common: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of a method."""
    folder = tmp_path_factory.mktemp(name)
    options = [*common, *PROTOCOL, f"method={name}", *METHODS[name], f"hydra.run.dir={folder / 'run'}"]
    finished("train", *options, log=folder / "log")
    return folder / "run"


def test_train_does_the_whole_job_and_counts_the_passes(whole: Path, name: str, common: list[str]) -> None:
    assert {path.name for path in whole.iterdir()} == FILES | ({"adapters"} if name == "dexperts" else set())
    result = read_result(whole / "metrics.json")
    assert [(row.method, row.strength) for row in result.rows] == [
        ("plain", {}),
        (name, {"tone": -5.0}),
        (name, {"tone": 1.0}),
    ]
    passes = {row.strength["tone"]: row.cost.passes for row in result.rows if row.cost and row.strength}
    assert passes == PASSES.get(name, {1.0: 1, -5.0: 1})
    before = {path: path.stat().st_mtime_ns for path in whole.iterdir() if path.is_file()}
    options = [*common, *PROTOCOL, f"method={name}", *METHODS[name], f"hydra.run.dir={whole}"]
    assert "finished already" in finished("train", *options, log=whole.parent / "again").said
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {path.name for path in before if before[path] != after[path]} <= {".lock", "config.yaml"}
    refused = run("train", [*options, "seed=1"], whole.parent / "other")
    assert "holds a run with another configuration" in refused.error


def test_generate_writes_with_the_file_what_the_library_writes(whole: Path, tmp_path: Path) -> None:
    prompts = write_prompts(tmp_path / "p.jsonl", ["The film is", "people who learn to live", "I would"])
    options = [
        "model=tiny",
        f"prompts.path={prompts}",
        "samples=3",
        "seed=4",
        "dtype=float32",
        "decoding.max_new_tokens=5",
    ]
    file, out = whole / "method.safetensors", tmp_path / "texts"
    finished("generate", *options, f"steer_file={file}", "strength=-2", f"hydra.run.dir={out}", log=tmp_path / "log")
    written = read_generations(out / "generations.jsonl")
    assert [generation.strength for generation in written] == [{"tone": -2.0}] * 3
    model = tiny()
    generator = Generator(
        model, [generation.prompt for generation in written], decoding=Nucleus(max_new_tokens=5), samples=3, seed=4
    )
    controller = load_controller(file, model)[0]
    expected = {g.prompt.id: g.texts for batch in generator.run([{"tone": -2.0}], controller) for g in batch}
    assert {generation.prompt.id: generation.texts for generation in written} == expected


def test_calibrate_notes_the_strength_in_the_file(whole: Path, common: list[str], tmp_path: Path) -> None:
    copied = Path(shutil.copy(whole / "method.safetensors", tmp_path / "method.safetensors"))
    corpus = [
        item for item in common if item.split("=")[0] in ("model", "corpus", "corpus.path", "steer.name", "cache")
    ]
    options = ["protocol.prompts.own.n=4", "protocol.samples=2", "protocol.strengths=[-1,1]", "protocol.kl=0.01"]
    options += ["decoding.max_new_tokens=6", f"steer_file={copied}", f"hydra.run.dir={tmp_path / 'run'}"]
    finished("calibrate", *corpus, *options, log=tmp_path / "log")
    model = tiny()
    controller, provenance = load_controller(copied, model)
    entries = [entry for entry in provenance.calibration if entry["budget"] == "kl 0.01"]
    assert sorted(entry["direction"] for entry in entries) == [-1, 1]
    assert all(entry["reached"] == pytest.approx(0.01, rel=0.02) for entry in entries)
    assert all(entry["strength"] * entry["direction"] > 0 for entry in entries)
    texts = read_generations(next((tmp_path / "run").glob("plain*.jsonl")))
    meter = DivergenceMeter(model, texts, Nucleus(max_new_tokens=6))
    for entry in entries:
        nats = float(meter.nats(controller.at(model, {"tone": entry["strength"]})).mean())
        assert nats == pytest.approx(0.01, rel=0.1)
    before, after = (load_file(path) for path in (whole / "method.safetensors", copied))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_evaluate_measures_the_generations_as_the_run_did(
    whole: Path, name: str, common: list[str], tmp_path: Path
) -> None:
    corpus = [
        item for item in common if item.split("=")[0] in ("model", "corpus", "corpus.path", "steer.name", "cache")
    ]
    options = [*corpus, f"generations={whole / 'generations.jsonl'}", f"hydra.run.dir={tmp_path / 'out'}"]
    finished("evaluate", *options, log=tmp_path / "log")
    ours, theirs = (read_result(folder / "metrics.json").rows for folder in (whole, tmp_path / "out"))
    assert [(row.method, row.strength) for row in ours] == [(row.method, row.strength) for row in theirs]
    assert [row.settings for row in ours] == [row.settings for row in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert {key: value.value for key, value in mine.metrics.items()} == pytest.approx(
            {key: value.value for key, value in other.metrics.items()}, rel=1e-2
        )


def killed_at(options: list[str], folder: Path, pattern: str) -> bool:
    """Start a fit and kill it once a file is there; whether it was alive."""
    begun = folder / "begun"
    begun.unlink(missing_ok=True)
    started = start("train", options, folder / "log", Tells(begun))
    until(lambda: not started.process.is_alive() or (begun.exists() and any(folder.glob(pattern))), folder / "log")
    time.sleep(0.01)
    return started.kill()


def test_a_killed_fit_ends_with_the_same_file(name: str, common: list[str], tmp_path: Path) -> None:
    """An adapter method is killed over either adapter."""
    fit = [item for item in common if not item.startswith("trainer.max_steps")]
    fit += ["protocol=none", "trainer.max_steps=40", f"method={name}", *METHODS[name]]
    finished("train", *fit, f"hydra.run.dir={tmp_path / 'unbroken'}", log=tmp_path / "log")
    places = {"dexperts": ["positive", "negative"], "residual_vector": ["."]}.get(name)
    patterns = [f"run/checkpoints/{place}/*.ckpt" for place in places] if places else ["run/config.yaml"]
    alive = [killed_at([*fit, f"hydra.run.dir={tmp_path / 'run'}"], tmp_path, pattern) for pattern in patterns]
    if places:
        assert all(alive), "the case needs fits that are killed"
        assert not (tmp_path / "run" / "method.safetensors").exists()
    finished("train", *fit, f"hydra.run.dir={tmp_path / 'run'}", log=tmp_path / "log")
    expected = sorted(path for path in (tmp_path / "unbroken").rglob("*.safetensors"))
    assert len(expected) == (3 if name == "dexperts" else 1)
    for path in expected:
        assert (tmp_path / "run" / path.relative_to(tmp_path / "unbroken")).read_bytes() == path.read_bytes()
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.fixture(scope="module")
def two_processes(
    name: str, common: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, list[str]], Path]:
    """Run a command in two processes; return its folder."""

    def command(command: str, options: list[str]) -> Path:
        folder = tmp_path_factory.mktemp("two")
        arguments = [*options, "trainer=ddp", "trainer.devices=2", f"hydra.run.dir={folder / 'run'}"]
        done = subprocess.run(
            [sys.executable, "-m", f"src.{command}", *arguments],
            capture_output=True, text=True, env=ENVIRONMENT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return folder / "run"

    return command


def test_two_processes_do_what_one_does(
    whole: Path, name: str, common: list[str], two_processes: Callable[[str, list[str]], Path]
) -> None:
    """Weights agree to float tolerance; a prompt has none, so its texts are the same."""
    two = two_processes("train", [*common, *PROTOCOL, f"method={name}", *METHODS[name]])
    alone, together = (load_file(folder / "method.safetensors") for folder in (whole, two))
    assert alone.keys() == together.keys()
    for key, tensor in alone.items():
        torch.testing.assert_close(together[key], tensor, rtol=1e-3, atol=1e-4)
    names = sorted(str(path.relative_to(whole)) for path in whole.rglob("*"))
    assert sorted(str(path.relative_to(two)) for path in two.rglob("*")) == names
    if name == "prompt":
        for file in ("method.safetensors", "generations.jsonl", "metrics.json", "values.safetensors"):
            assert (two / file).read_bytes() == (whole / file).read_bytes(), file


@pytest.mark.parametrize("name", ["dexperts"], indirect=True)
def test_two_processes_generate_with_a_file_what_one_does(
    whole: Path, tmp_path: Path, two_processes: Callable[[str, list[str]], Path]
) -> None:
    prompts = write_prompts(tmp_path / "p.jsonl", [f"The {noun} is" for noun in ("film", "story", "night", "people")])
    options = ["model=tiny", f"prompts.path={prompts}", "samples=2", "batch_size=2", "decoding.max_new_tokens=5"]
    options += [f"steer_file={whole / 'method.safetensors'}", "strength=2"]
    finished("generate", *options, f"hydra.run.dir={tmp_path / 'one'}", log=tmp_path / "log")
    two = two_processes("generate", options)
    assert (two / "generations.jsonl").read_bytes() == (tmp_path / "one" / "generations.jsonl").read_bytes()


def test_the_file_says_how_it_was_made(whole: Path, name: str) -> None:
    with safe_open(whole / "method.safetensors", framework="np") as file:
        metadata = json.loads(file.metadata()[METHOD_KEY])
    assert metadata["method"] == name
    assert metadata["attribute"] == "tone"
    steps = metadata["training"].get("steps")
    assert steps == (6 if name in TRAINED else None)
    curves = metadata["training"].get("curves") or {"": metadata["training"].get("curve")}
    for curve in curves.values() if name in TRAINED else ():
        assert [step for step, _ in curve["train"]] == list(range(1, 7))
        assert [step for step, _ in curve["dev"]] == [2, 4, 6]
