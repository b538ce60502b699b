"""Whatever moment a process is killed at, the same command ends with the same bytes."""

import hashlib
import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.faults.commands import run, start, until
from tests.faults.conftest import assert_same, places
from tests.faults.faulty import Tells

STAGES = {
    "fit": "config.yaml",
    "plain": "steer.safetensors",
    "generate": "plain.0.jsonl",
    "evaluate": "generations.jsonl",
    "report": "metrics.json",
}
"""Stages of a run by the file after which each comes."""


def digest(folder: Path) -> str:
    """Of all files that decide how a run goes on."""
    state = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if "lock" not in path.name and path.name not in ("timing.json", "timing.json.tmp"):
            state.update(f"{path.relative_to(folder)}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return state.hexdigest()


def torn(state: Path, noise: random.Random) -> Iterator[str]:
    """Cut off the end of files that a process may have been killed over; their names."""
    for path in sorted(state.rglob("*")):
        if path.suffix == ".tmp" and path.stat().st_size:
            content = path.read_bytes()
            path.write_bytes(content[: noise.randrange(len(content))])
            yield path.name


def test_from_every_state_that_a_killed_process_can_leave_the_run_ends_the_same(
    options: list[str], states: Path, unbroken: Path, tmp_path: Path
) -> None:
    """Between any two changes of files; where a file was being written, as much of it as there may be."""
    seen, noise = set(), random.Random(0)
    for state in sorted(states.iterdir()):
        shutil.copytree(state, tmp_path / "all")
        cut = list(torn(tmp_path / "all", noise))
        if (found := digest(tmp_path / "all")) not in seen:
            seen.add(found)
            done = run("train", [*options, *places(tmp_path / "all")], tmp_path / "log")
            assert done.status == 0, f"state {state.name}, cut: {cut}\n{done.said}"
            assert_same(tmp_path / "all", unbroken)
        shutil.rmtree(tmp_path / "all")
    assert len(seen) > 40


def stage(folder: Path) -> str:
    """The stage in which a process was killed."""
    return [name for name, path in STAGES.items() if (folder / path).exists()][-1]


def killed(command: str, options: list[str], folder: Path, after: str, seconds: float) -> bool:
    """Start a command and kill it so long after it has begun to work and a file is there; whether it was alive."""
    begun = folder / "begun"
    begun.unlink(missing_ok=True)
    started = start(command, options, folder / "log", Tells(begun))
    until(lambda: not started.process.is_alive() or (begun.exists() and any(folder.glob(after))), folder / "log")
    time.sleep(seconds)
    return started.kill()


def test_killed_at_twenty_random_moments_a_run_ends_the_same(
    options: list[str], unbroken: Path, tmp_path: Path
) -> None:
    """Four runs, each killed in the fit, over the plain texts, in generation, in scoring and over the report."""
    noise, hits = random.Random(1), Counter[str]()
    durations = json.loads((unbroken / "run" / "timing.json").read_text()) | {"report": 0.1}
    for number in range(4):
        folder = tmp_path / str(number)
        folder.mkdir()
        given = [*options, *places(folder)]
        for name, file in STAGES.items():
            moment = noise.uniform(0, 0.8) * durations[name]
            if killed("train", given, folder, f"run/{file}", moment):
                hits[stage(folder / "run")] += 1
        done = run("train", given, folder / "log")
        assert done.status == 0, f"run {number}, kills: {hits}\n{done.said}"
        assert_same(folder, unbroken)
    print(hits)
    assert hits.keys() == STAGES.keys(), hits
    assert hits.total() >= 15, hits


def test_three_commands_each_killed_twice_end_with_the_same_files(options: list[str], tmp_path: Path) -> None:
    noise, alive = random.Random(2), 0
    fit = [item for item in options if not item.startswith(("protocol.", "decoding.", "trainer.max_steps"))]
    prompts, made = tmp_path / "prompts.jsonl", list[Path]()
    prompts.write_text("".join(json.dumps({"prompt": {"text": f"The film {n} is"}}) + "\n" for n in range(12)))
    for folder in (tmp_path / "unbroken", tmp_path / "broken"):
        folder.mkdir()
        model, common = ["model=tiny"], [item for item in options if item.startswith(("corpus", "steer.name"))]
        asked = [f"prompts.path={prompts}", "strength=5", "batch_size=5", "decoding.max_new_tokens=16"]
        steer, texts = folder / "fit/steer.safetensors", folder / "texts/generations.jsonl"
        jobs = {
            "train": ([*fit, "trainer.max_steps=30", "protocol=none", "cache=off"], "fit", "fit/checkpoints"),
            "generate": ([*model, *asked, f"steer_file={steer}"], "texts", "texts/*.batches/*.jsonl"),
            "evaluate": ([*model, *common, f"generations={texts}", f"cache={folder}/cache"], "found", "cache/scores"),
        }
        for command, (own, place, after) in jobs.items():
            given = [*own, f"hydra.run.dir={folder / place}"]
            for _ in range(2 if folder.name == "broken" else 0):
                alive += killed(command, given, folder, after, noise.uniform(0, 0.04))
            done = run(command, given, folder / "log")
            assert done.status == 0, done.said
        made.append(folder)
    for name in ("fit/steer.safetensors", "texts/generations.jsonl", "found/metrics.json", "found/report.html"):
        assert (made[0] / name).read_bytes() == (made[1] / name).read_bytes(), name
    assert alive >= 4
