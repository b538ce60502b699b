"""Promises of the speed of engines: every one writes all samples in turns. No test checks how long anything took."""

from pathlib import Path

from tests.export.tiny_gguf import write_base
from tests.handmade_commands import study_config, write_prompts, write_steer

from experiments.speed.engine_speed import decode_in_turns, engine_speed, speed_table
from lmsteer.models.random_models import tiny
from lmsteer.steering.steer import Steer

MACHINE = {"date": "2026-11-30", "cpu": "a processor", "threads": 2, "torch": "2.13.0"}


def test_engines_write_in_turns_and_every_other_round_goes_backwards() -> None:
    calls: list[str] = []

    def decode(name: str, seconds: float) -> float:
        calls.append(name)
        return seconds

    engines = {
        "one": {"plain": lambda: decode("1p", 1.0), "adapter": lambda: decode("1a", 2.0)},
        "two": {"plain": lambda: decode("2p", 3.0)},
    }
    seconds = decode_in_turns(engines, rounds=2)
    assert seconds == {"one": {"plain": [1.0, 1.0], "adapter": [2.0, 2.0]}, "two": {"plain": [3.0, 3.0]}}
    assert calls == ["2p", "1a", "1p", "1p", "1a", "2p", "2p", "1a", "1p"]


def test_a_ratio_is_that_to_the_plain_seconds_of_the_same_round() -> None:
    seconds = {"an engine": {"plain": [1.0, 2.0, 4.0], "adapter": [1.5, 2.0, 4.4]}}
    sizes = {"model": "m", "samples": 10, "tokens": 20, "strength": {"tone": 5.0}, "machine": MACHINE}
    lines = speed_table({**sizes, "seconds": seconds}).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[-2:]]
    assert cells == [
        ["an engine", "plain", "100", "", ""],
        ["an engine", "adapter", "100", "**1.100**", "1.000 to 1.500"],
    ]


def test_this_project_and_llama_cpp_write_all_samples(steer: Steer, tmp_path: Path) -> None:
    steer_file = write_steer(tmp_path / "steer.safetensors", steer)
    prompts = write_prompts(tmp_path / "prompts.jsonl", ["The film is", "I would like to know", "a storm"])
    options = [
        "model=tiny",
        "prompts=any",
        f"prompts.path={prompts}",
        f"steer_file={steer_file}",
        "prompts.n=3",
        "dtype=float32",
    ]
    options += [f"gguf={write_base(tmp_path / 'base.gguf', tiny())}", "samples=2", "tokens=3", "rounds=2"]
    results = engine_speed(study_config("speed", *options, f"run_dir={tmp_path / 'run'}", name="engine_speed"))
    assert {engine: list(ways) for engine, ways in results["seconds"].items()} == {
        "lmsteer, float32": ["plain", "folded head"],
        "llama.cpp, F32": ["plain", "adapter"],
    }
    assert all(len(seconds) == 2 for ways in results["seconds"].values() for seconds in ways.values())
    assert results["samples"] == 6
