"""Promises of the comparison with transformers alone, in a process of its own; no test looks at how long it took."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from experiments.export.comparison import markdown
from experiments.export.run import KEYS, exported
from lmsteer.cli.configuration import CONF
from lmsteer.models.random_models import tiny
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import Provenance, save_steer


def test_a_fresh_process_without_lmsteer_says_what_the_steered_model_does(
    steer: Steer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_steer(tmp_path / "steer.safetensors", steer, Provenance("tiny-0", tiny().head.fingerprint()))
    texts = ["The film is", "I would like to know", "a storm"]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"prompt": {"text": text}}) + "\n" for text in texts))
    overrides = ["model=tiny", f"prompts.path={tmp_path / 'p.jsonl'}", f"steer_file={tmp_path / 'steer.safetensors'}"]
    overrides += ["strength={sentiment:3,dummy:-1}", "decoding.max_new_tokens=6", "batch_size=2", "repeats=1"]
    with initialize_config_dir(CONF, version_base="1.3"):
        config = compose("exported", overrides=[f"run_dir={tmp_path / 'run'}", "dtype=float32", *overrides])
    assert set(config) == KEYS
    found = exported(config)
    assert found["lmsteer_was_imported"] is False
    assert found["from_steered"] < 1e-4 < 0.1 < found["from_plain"]
    assert found["same_continuations"] == {"plain": 3, "exported": 3}
    assert [len(times["pairs"]) for times in found["times"].values()] == [1, 1]
    assert markdown(found) in capsys.readouterr().out
    before = (tmp_path / "run/export.json").stat().st_mtime_ns
    assert exported(config) == found
    assert (tmp_path / "run/export.json").stat().st_mtime_ns == before
