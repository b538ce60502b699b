"""Compute logits, greedy continuations and times of two checkpoints with transformers alone, without lmsteer.

python experiments/export/stock.py JOB.json
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
CLOCKS = {"clock": time.perf_counter, "processor": time.process_time}


def main(path: Path) -> None:
    """Run a job; write ``logits.safetensors`` and ``stock.json`` next to it."""
    job = json.loads(path.read_text(encoding="utf-8"))
    logging.disable_progress_bar()
    models = {
        side: AutoModelForCausalLM.from_pretrained(job[side], dtype="auto", trust_remote_code=False).eval()
        for side in SIDES
    }
    tokenizer = AutoTokenizer.from_pretrained(job["exported"], trust_remote_code=False)
    options = {
        "do_sample": False,
        "min_new_tokens": job["new_tokens"],  # no end of text before
        "max_new_tokens": job["new_tokens"],
        "suppress_tokens": tokenizer.all_special_ids,
        "pad_token_id": tokenizer.eos_token_id,
    }
    inputs = [tokenizer(text, return_tensors="pt") for text in job["prompts"]]
    with torch.inference_mode():
        logits = {
            side: torch.stack([model(**encoded).logits[0, -1].float() for encoded in inputs])
            for side, model in models.items()
        }
        texts = {
            side: [continue_prompt(model, tokenizer, encoded, options) for encoded in inputs]
            for side, model in models.items()
        }
        times = time_batches(models, tokenizer, job, options)
    save_file(logits, path.with_name("logits.safetensors"))
    results = {"texts": texts, "times": times, "lmsteer": "lmsteer" in sys.modules}
    path.with_name("stock.json").write_text(json.dumps(results, ensure_ascii=False), encoding="utf-8")


def continue_prompt(model: Any, tokenizer: Any, encoded: Any, options: dict[str, Any]) -> str:
    """Generate the continuation of one prompt."""
    tokens = model.generate(**encoded, **options)[0]
    prompt = tokenizer.decode(encoded["input_ids"][0], skip_special_tokens=True)
    return str(tokenizer.decode(tokens, skip_special_tokens=True))[len(prompt) :]


def time_batches(
    models: dict[str, Any], tokenizer: Any, job: dict[str, Any], options: dict[str, Any]
) -> dict[str, dict[str, list[float]]]:
    """Time the same batch with both models in alternation, by wall clock and by processor; the first pair is dropped.

    Other work on the machine disturbs the wall clock far more than the processor time of this process.
    """
    tokenizer.padding_side, tokenizer.pad_token = "left", tokenizer.eos_token
    batch = tokenizer(job["prompts"][: job["batch"]], padding=True, return_tensors="pt")
    times: dict[str, dict[str, list[float]]] = {name: {side: [] for side in SIDES} for name in CLOCKS}
    for repeat in range(job["repeats"] + 1):
        for side in SIDES if repeat % 2 else reversed(SIDES):
            start = {name: clock() for name, clock in CLOCKS.items()}
            models[side].generate(**batch, **options)
            for name, clock in CLOCKS.items():
                times[name][side].append(clock() - start[name])
    return {name: {side: seconds[1:] for side, seconds in by_side.items()} for name, by_side in times.items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
