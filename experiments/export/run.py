"""Is an exported checkpoint, in the hands of transformers alone, the steered model, and as fast as the plain one?

python -m experiments.export.run steer_file=RUN/steer.safetensors strength=5 dtype=float32
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from experiments.export.comparison import comparison, markdown
from lmsteer.cli.configuration import build, entry_point, record, resolved
from lmsteer.commands.generate import named_strength
from lmsteer.export.exporter import Export
from lmsteer.runs.run import Run
from lmsteer.storage.atomic_files import atomic_write_lines

KEYS = {
    *("stack", "run_dir", "device", "dtype", "model", "prompts", "decoding", "steer_file", "strength"),
    *("batch_size", "repeats"),
}
KINDS: dict[str, Any] = {"repeats": int}
FOUND, STOCK = "export.json", Path(__file__).with_name("stock.py")


def exported(cfg: DictConfig) -> dict[str, Any]:
    """Write ``export.json`` in the run folder and print a table."""
    config = resolved(cfg, KEYS, KINDS)
    run = Run(Path(config["run_dir"]), record(config))
    prompts = build(config["prompts"])().prompts
    model = build(config["model"], device=config["device"], dtype=config["dtype"])
    what = Export(model, Path(config["steer_file"]))
    strength = named_strength(config["strength"], what.steer)
    decoding = build(config["decoding"])
    run.begin()
    if not run.is_complete(FOUND):
        what.checkpoint(run.path("checkpoint"), strength)
        model.lm.save_pretrained(run.path("plain"))
        job = {
            "plain": str(run.path("plain")),
            "exported": str(run.path("checkpoint")),
            "prompts": [prompt.text for prompt in prompts],
            "new_tokens": decoding.max_new_tokens,
            "batch": config["batch_size"],
            "repeats": config["repeats"],
        }
        atomic_write_lines(run.path("job.json"), [json.dumps(job)])
        subprocess.run([sys.executable, "-I", str(STOCK), str(run.path("job.json"))], check=True)
        found = comparison(what, strength, prompts, decoding, run.folder)
        atomic_write_lines(run.path(FOUND), [json.dumps(found, indent=1, ensure_ascii=False)])
        shutil.rmtree(run.path("plain"))
    result: dict[str, Any] = json.loads(run.path(FOUND).read_text(encoding="utf-8"))
    print(f"{markdown(result)}\n\n{run.path(FOUND)}")
    return result


if __name__ == "__main__":
    entry_point("exported")(exported)()
