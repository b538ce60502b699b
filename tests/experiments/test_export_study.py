"""Promises of the comparison with transformers alone, in a process of its own; no test looks at how long it took."""

from pathlib import Path

from tests.handmade_commands import study_config, write_prompts, write_steer

from experiments.export.run import compare_export
from lmsteer.steering.steer import Steer


def test_a_fresh_process_without_lmsteer_computes_the_same_as_the_steered_model(steer: Steer, tmp_path: Path) -> None:
    steer_file = write_steer(tmp_path / "steer.safetensors", steer)
    prompts = write_prompts(tmp_path / "prompts.jsonl", ["The film is", "I would like to know", "a storm"])
    options = ["model=tiny", f"prompts.path={prompts}", f"steer_file={steer_file}"]
    options += ["strength={sentiment:3,dummy:-1}", "decoding.max_new_tokens=6", "batch_size=2", "repeats=1"]
    config = study_config("export", f"run_dir={tmp_path / 'run'}", "dtype=float32", *options)
    results = compare_export(config)
    assert results["lmsteer_was_imported"] is False
    assert results["from_steered"] < 1e-4 < 0.1 < results["from_plain"]
    assert results["same_continuations"] == {"plain": 3, "exported": 3}
    assert [len(times["pairs"]) for times in results["times"].values()] == [1, 1]
    assert "3 of 3, 3 of 3" in (tmp_path / "run/export.md").read_text(encoding="utf-8")
    before = (tmp_path / "run/export.json").stat().st_mtime_ns
    assert compare_export(config) == results
    assert (tmp_path / "run/export.json").stat().st_mtime_ns == before
