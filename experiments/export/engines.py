"""Compare one steer in several engines by the log-probabilities of the first token after a prompt.

python -m experiments.export.engines steer_file=RUN/steer.safetensors prompts.n=12 gguf=MODEL.gguf

Shapes: T tokens, V vocabulary.
"""

import functools
import json
import os
import subprocess
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from omegaconf import DictConfig
from peft import PeftModel
from peft.helpers import rescale_adapter_scale
from torch import Tensor

from experiments.export.llama_cpp import LISTED, Engine, Logprobs, llama_cpp_engines
from experiments.study import Results, open_run, run_study
from lmsteer.cli.app import entry_point
from lmsteer.cli.configuration import build
from lmsteer.export.exporter import Export
from lmsteer.models.head import Head
from lmsteer.models.language_model import LanguageModel
from lmsteer.processors.logit_steer import LogitSteer
from lmsteer.processors.steer_logits_processor import SteerLogitsProcessor
from lmsteer.processors.vllm_processor import ARGUMENT, FOLDER
from lmsteer.reporting.text import markdown_table
from lmsteer.runs.run import Run
from lmsteer.steering.fold import fold
from lmsteer.storage.atomic_files import atomic_write_lines

TYPES: dict[str, Any] = {"compared_strengths": list[float], "gguf": str | None, "vllm_python": str | None}
VLLM_SCRIPT = Path(__file__).with_name("vllm_logprobs.py")
COMPARED = 5
"""Likeliest tokens that are compared."""

Logits = Callable[[Tensor, float], Tensor]
"""From token ids (1, T) and a strength to the logits (V,) of the next token."""


def compare_engines(cfg: DictConfig) -> Results:
    """Write ``engines.json`` and ``engines.md`` in the run folder; print their paths."""
    config, run = open_run(cfg, TYPES)
    texts = [prompt.text for prompt in build(config["prompts"])().prompts]
    models = {dtype: build(config["model"], device="cpu", dtype=dtype) for dtype in ("float32", "bfloat16")}

    def compute() -> Results:
        run.begin()
        export, strengths = Export(models["float32"], Path(config["steer_file"])), config["compared_strengths"]
        prompts = models["float32"].tokenize(texts)
        engines = {
            f"{name}, {dtype}": in_process(logits, prompts, strengths)
            for dtype, model in models.items()
            for name, logits in own_engines(model, export, run).items()
        }
        if config["vllm_python"] is not None:
            engines |= vllm_engines(config["vllm_python"], export, run, prompts, strengths)
        if config["gguf"] is not None:
            adapter = attached(export, "gguf", run) / f"{export.steer.dimensions[0]}.gguf"
            engines |= llama_cpp_engines(Path(config["gguf"]), adapter, run.folder, prompts, strengths)
        reference = engines["lmsteer, float32"]
        return {
            "model": export.model.name,
            "dimension": export.steer.dimensions[0],
            "prompts": len(prompts),
            "strengths": strengths,
            "engines": {name: compare(reference, engine) for name, engine in engines.items()},
        }

    return run_study(run, "engines", compute, report=engines_table)


@torch.no_grad()
def in_process(logits: Logits, prompts: Sequence[list[int]], strengths: Sequence[float]) -> Engine:
    """Ask an engine of this process for all strengths and prompts."""

    def likeliest(ids: list[int], strength: float) -> Logprobs:
        top = logits(torch.tensor([ids]), strength).float().log_softmax(-1).topk(LISTED)
        return dict(zip(top.indices.tolist(), top.values.tolist(), strict=True))

    return [[likeliest(ids, strength) for ids in prompts] for strength in strengths]


def own_engines(model: LanguageModel, export: Export, run: Run) -> dict[str, Logits]:
    """Return the engines that run in this process: the definition, the folded head, PEFT and a logits processor."""
    steer, name = export.steer, export.steer.dimensions[0]
    adapter = attached(export, "adapter", run) / name
    logit_steer = LogitSteer.of(model.head, steer)
    by_peft = PeftModel.from_pretrained(deepcopy(model.lm), str(adapter)).eval()

    def definition(ids: Tensor, strength: float) -> Tensor:
        with steer.apply(model, strength) as lm:
            logits: Tensor = lm(input_ids=ids).logits[0, -1]
        return logits

    @functools.cache
    def head_at(strength: float) -> Head:
        return fold(model.head, steer, steer.strengths({name: strength}))

    def folded(ids: Tensor, strength: float) -> Tensor:
        logits: Tensor = head_at(strength)(model.hidden(ids)[0, -1])
        return logits

    def peft(ids: Tensor, strength: float) -> Tensor:
        with rescale_adapter_scale(by_peft, strength):
            logits: Tensor = by_peft(input_ids=ids).logits[0, -1]
        return logits

    def processor(ids: Tensor, strength: float) -> Tensor:
        plain = model.lm(input_ids=ids).logits[:, -1].float()  # as generate hands them to processors
        steered: Tensor = SteerLogitsProcessor(logit_steer, strength)(ids, plain)
        return steered[0]

    engines = {"folded head": folded, "PEFT adapter": peft, "transformers, processor": processor}
    return {"lmsteer": definition, **engines}


def attached(export: Export, form: Literal["adapter", "gguf", "processor"], run: Run, strength: float = 0) -> Path:
    """Export a form into the run folder, unless it is there; strength 0 leaves the strength to run time."""
    folder = run.path(f"{form}{strength:+g}" if strength else form)
    export.attached(form, folder, {export.steer.dimensions[0]: strength} if strength else {})
    return folder


def vllm_engines(
    python: str, export: Export, run: Run, prompts: Sequence[list[int]], strengths: Sequence[float]
) -> dict[str, Engine]:
    """Ask vLLM in processes of its own environment: the plugin, adapters, and a checkpoint for each strength."""
    base, name = run.path("base"), export.steer.dimensions[0]
    export.model.lm.save_pretrained(base)
    export.model.tokenizer.save_pretrained(base)
    processor = attached(export, "processor", run)
    adapters = [str(attached(export, "adapter", run, value) / name) if value else "" for value in strengths]
    for value in filter(None, strengths):
        export.checkpoint(run.path(f"checkpoint{value:+g}"), {name: value})
    checkpoints = [run.path(f"checkpoint{value:+g}") if value else base for value in strengths]

    def ask(model: Path, **request: Any) -> Any:
        job = {"model": str(model), "prompts": prompts, "listed": LISTED, **request}
        atomic_write_lines(run.path("job.json"), [json.dumps(job)])
        environment = {**os.environ, FOLDER: str(processor), "VLLM_CPU_KVCACHE_SPACE": "1"}
        environment.pop("PYTHONPATH", None)  # vLLM's environment has an lmsteer of its own
        subprocess.run([python, str(VLLM_SCRIPT), str(run.path("job.json"))], check=True, env=environment)
        answers = json.loads(run.path("answers.json").read_text(encoding="utf-8"))
        return [[{int(token): value for token, value in one.items()} for one in texts] for texts in answers]

    return {
        "vLLM, processor, float32": ask(base, steers=[{ARGUMENT: value} for value in strengths]),
        "vLLM, adapter, float32": ask(base, adapters=adapters),
        "vLLM, checkpoint, float32": [ask(folder, steers=[{}])[0] for folder in checkpoints],
    }


def compare(reference: Engine, engine: Engine) -> list[dict[str, Any]]:
    """Compare an engine at each strength: differences at the reference's likeliest tokens, and equal first tokens.

    A token that an engine does not list counts as its least likely listed one.
    """
    results = []
    for reference_texts, texts in zip(reference, engine, strict=True):
        differences, same = [], 0
        for expected, other in zip(reference_texts, texts, strict=True):
            least = min(other.values())
            compared = sorted(expected, key=lambda token: -expected[token])[:COMPARED]
            differences += [abs(expected[token] - other.get(token, least)) for token in compared]
            same += max(expected, key=expected.__getitem__) == max(other, key=other.__getitem__)
        results.append({"largest": max(differences), "median": median(differences), "same": same})
    return results


def engines_table(results: Results) -> str:
    """Write the content of engines.json as a Markdown table."""
    headings = [f"{results['dimension']} {strength:+g}" if strength else "0" for strength in results["strengths"]]
    rows = [
        [name, *(f"{one['largest']:.2g}, {one['median']:.2g}" for one in values), str(sum(v["same"] for v in values))]
        for name, values in results["engines"].items()
    ]
    total = results["prompts"] * len(results["strengths"])
    return markdown_table([results["model"], *headings, f"same first token, of {total}"], rows)


if __name__ == "__main__":
    entry_point("engines", Path(__file__).parent, TYPES)(compare_engines)()
