"""Write samples with vLLM, in an environment of its own, whenever a line of standard input names a way of steering.

python experiments/speed/vllm_speed.py JOB.json
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest

FOLDER = "LMSTEER_PROCESSOR"


def main(path: Path) -> None:
    """Start an engine for each way of steering; print the seconds of every run."""
    job = json.loads(path.read_text(encoding="utf-8"))
    engines = {"plain": start(job), "adapter": start(job, enable_lora=True, max_lora_rank=64)}
    os.environ[FOLDER] = job["processor"]  # read by the plugin when an engine starts
    engines["processor"] = start(job)
    prompts = [{"prompt_token_ids": ids} for ids in job["prompts"]]
    steer = {"steer": job["strength"]}
    for line in sys.stdin:
        way = line.strip()
        params = SamplingParams(
            n=job["samples"],
            temperature=1.0,
            top_p=0.9,
            max_tokens=job["tokens"],
            ignore_eos=True,
            detokenize=False,
            extra_args=steer if way == "processor" else None,
        )
        adapter = LoRARequest("steer", 1, job["adapter"]) if way == "adapter" else None
        start_time = time.perf_counter()
        outputs = engines[way].generate(prompts, params, lora_request=adapter, use_tqdm=False)
        seconds = time.perf_counter() - start_time
        assert all(len(one.token_ids) == job["tokens"] for output in outputs for one in output.outputs)
        print(f"SECONDS {seconds}", flush=True)


def start(job: dict[str, Any], **options: Any) -> LLM:
    """Start an engine."""
    sizes = {"max_model_len": 128, "max_num_seqs": job["batch_size"]}
    return LLM(job["model"], dtype=job["dtype"], enable_prefix_caching=False, **sizes, **options)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
