"""Promises of the comparison of engines: it finds no difference where there is none, and every one that there is."""

from pathlib import Path

import pytest
import torch
from tests.export.tiny_gguf import write_base
from tests.handmade_commands import study_config, write_prompts, write_steer

from experiments.export.engines import compare, compare_engines, in_process
from lmsteer.models.random_models import tiny
from lmsteer.steering.steer import Steer


def test_engines_of_this_process_and_llama_cpp_agree_on_a_tiny_model(steer: Steer, tmp_path: Path) -> None:
    steer_file = write_steer(tmp_path / "steer.safetensors", steer)
    prompts = write_prompts(tmp_path / "prompts.jsonl", ["The film is", "I would like to know", "a storm"])
    base = write_base(tmp_path / "base.gguf", tiny())
    options = ["model=tiny", f"prompts.path={prompts}", f"steer_file={steer_file}", f"gguf={base}"]
    options += ["compared_strengths=[-3,0,2]", f"run_dir={tmp_path / 'run'}"]
    engines = compare_engines(study_config("export", *options, name="engines"))["engines"]
    exact = [name for name in engines if name.endswith("float32")]
    assert len(exact) == 5
    for name in exact:
        assert all(one["same"] == 3 and one["largest"] < 2e-3 for one in engines[name]), name
    assert "llama.cpp, adapter, F32" in engines
    assert max(one["largest"] for one in engines["lmsteer, bfloat16"]) > 2e-3
    assert "| sentiment -3" in (tmp_path / "run/engines.md").read_text(encoding="utf-8")


def test_differences_are_those_of_the_likeliest_tokens() -> None:
    reference = [[{1: -0.5, 2: -1.0, 3: -2.0, 4: -3.0, 5: -4.0, 6: -5.0}, {1: -0.5, 2: -1.0, 3: -9.0}]]
    engine = [[{1: -0.5, 2: -1.25, 3: -2.0, 4: -3.0, 5: -4.0, 6: -50.0}, {2: -1.0, 1: -1.5}]]
    (found,) = compare(reference, engine)
    assert found == {"largest": 7.5, "median": 0.0, "same": 1}  # token 3 counts as -1.5


def test_a_list_of_an_engine_has_log_probabilities_of_all_tokens() -> None:
    logits = torch.randn(384)
    ((found,),) = in_process(lambda ids, strength: logits * strength, [[1, 2]], [2.0])
    assert len(found) == 100
    assert found[int(logits.argmax())] == pytest.approx(float((2 * logits).log_softmax(-1).max()))
