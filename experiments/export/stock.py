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
CLOCKS = {"clock": time.perf_counter, "processor": time.process_time}


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
        texts = {
            side: [continuation(model, tokenizer, inputs, options) for inputs in read] for side, model in models.items()
        }
        times = race(models, tokenizer, job, options)
    save_file(logits, path.with_name("logits.safetensors"))
    found = {"texts": texts, "times": times, "lmsteer": "lmsteer" in sys.modules}
    path.with_name("stock.json").write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")


def continuation(model: Any, tokenizer: Any, inputs: Any, options: dict[str, Any]) -> str:
    """The text behind one prompt."""
    written = model.generate(**inputs, **options)[0]
    before = tokenizer.decode(inputs["input_ids"][0], skip_special_tokens=True)
    return str(tokenizer.decode(written, skip_special_tokens=True))[len(before) :]


def race(
    models: dict[str, Any], tokenizer: Any, job: dict[str, Any], options: dict[str, Any]
) -> dict[str, dict[str, list[float]]]:
    """Seconds of the same batch by turns, by the clock and of the processor; the first turns do not count.

    What else runs on the machine disturbs the clock far more than the time that the processor spends on this.
    """
    tokenizer.padding_side, tokenizer.pad_token = "left", tokenizer.eos_token
    batch = tokenizer(job["prompts"][: job["batch"]], padding=True, return_tensors="pt")
    times: dict[str, dict[str, list[float]]] = {kind: {side: [] for side in SIDES} for kind in CLOCKS}
    for turn in range(job["repeats"] + 1):
        for side in SIDES if turn % 2 else reversed(SIDES):
            start = {kind: clock() for kind, clock in CLOCKS.items()}
            models[side].generate(**batch, **options)
            for kind, clock in CLOCKS.items():
                times[kind][side].append(clock() - start[kind])
    return {kind: {side: found[1:] for side, found in both.items()} for kind, both in times.items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
