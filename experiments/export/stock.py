"""What transformers alone makes of two checkpoints: logits, greedy continuations, seconds.

python experiments/export/stock.py JOB.json: run in a process of its own, which knows nothing of lmsteer.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

SIDES = ("plain", "exported")


def main(path: Path) -> None:
    """Do what the job says; results go beside it, as ``logits.safetensors`` and ``stock.json``."""
    job = json.loads(path.read_text(encoding="utf-8"))
    logging.disable_progress_bar()
    models = {side: AutoModelForCausalLM.from_pretrained(job[side], dtype="auto").eval() for side in SIDES}
    tokenizer = AutoTokenizer.from_pretrained(job["exported"])
    options = {
        "do_sample": False,
        "min_new_tokens": job["new_tokens"],  # no end of text before
        "max_new_tokens": job["new_tokens"],
        "suppress_tokens": tokenizer.all_special_ids,
        "pad_token_id": tokenizer.eos_token_id,
    }
    read = [tokenizer(text, return_tensors="pt") for text in job["prompts"]]
    with torch.inference_mode():
        logits = {
            side: torch.stack([model(**inputs).logits[0, -1].float() for inputs in read])
            for side, model in models.items()
        }
        texts = [continuation(models["exported"], tokenizer, inputs, options) for inputs in read]
        seconds = race(models, tokenizer, job, options)
    save_file(logits, path.with_name("logits.safetensors"))
    found = {"texts": texts, "seconds": seconds, "lmsteer": "lmsteer" in sys.modules}
    path.with_name("stock.json").write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")


def continuation(model: Any, tokenizer: Any, inputs: Any, options: dict[str, Any]) -> str:
    """The text behind one prompt."""
    written = model.generate(**inputs, **options)[0]
    before = tokenizer.decode(inputs["input_ids"][0], skip_special_tokens=True)
    return str(tokenizer.decode(written, skip_special_tokens=True))[len(before) :]


def race(
    models: dict[str, Any], tokenizer: Any, job: dict[str, Any], options: dict[str, Any]
) -> dict[str, list[float]]:
    """Seconds of the same batch by turns, one of the models first and then the other; the first turns do not count."""
    tokenizer.padding_side, tokenizer.pad_token = "left", tokenizer.eos_token
    batch = tokenizer(job["prompts"][: job["batch"]], padding=True, return_tensors="pt")
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    for turn in range(job["repeats"] + 1):
        for side in SIDES if turn % 2 else reversed(SIDES):
            start = time.perf_counter()
            models[side].generate(**batch, **options)
            seconds[side].append(time.perf_counter() - start)
    return {side: times[1:] for side, times in seconds.items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
