"""Compute log-probabilities of the first token with vLLM, in an environment of its own.

python experiments/export/vllm_logprobs.py JOB.json
"""

import json
import sys
from pathlib import Path

from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest


def main(path: Path) -> None:
    """Run a job; write ``answers.json`` next to it: by request and prompt the log-probabilities by token id."""
    job = json.loads(path.read_text(encoding="utf-8"))
    adapters, listed = job.get("adapters", []), job["listed"]
    engine = LLM(
        job["model"],
        dtype="float32",
        enforce_eager=True,
        max_model_len=512,
        max_num_seqs=16,
        max_logprobs=listed,
        logprobs_mode="processed_logprobs",
        enable_lora=bool(adapters),
        max_lora_rank=64,
    )
    prompts = [{"prompt_token_ids": ids} for ids in job["prompts"]]
    requests = [(steer, None) for steer in job.get("steers", [])]
    requests += [
        (None, LoRARequest(folder, index, folder) if folder else None) for index, folder in enumerate(adapters, start=1)
    ]
    answers = []
    for steer, adapter in requests:
        params = SamplingParams(temperature=0, max_tokens=1, logprobs=listed, extra_args=steer)
        outputs = engine.generate(prompts, params, lora_request=adapter, use_tqdm=False)
        first = [output.outputs[0].logprobs[0] for output in outputs]
        answers.append([{token: value.logprob for token, value in tokens.items()} for tokens in first])
    path.with_name("answers.json").write_text(json.dumps(answers), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
