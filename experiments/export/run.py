"""Compare an exported checkpoint, read by transformers alone, with the steered model, and its speed with the plain one.

python -m experiments.export.run steer_file=RUN/steer.safetensors strength=5 dtype=float32

Shapes: P prompts, V vocabulary.
"""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from omegaconf import DictConfig
from safetensors.torch import load_file
from torch import Tensor

from experiments.study import Results, open_run, run_study
from lmsteer.cli.app import entry_point
from lmsteer.cli.configuration import build
from lmsteer.commands.generate import named_strength
from lmsteer.export.exporter import Export
from lmsteer.generation.decoding import Decoding
from lmsteer.generation.generator import Generator
from lmsteer.records import Prompt
from lmsteer.reporting.text import interval, markdown_table, number
from lmsteer.storage.atomic_files import atomic_write_lines

TYPES: dict[str, Any] = {"strength": Any, "batch_size": int, "repeats": int}
STOCK_SCRIPT = Path(__file__).with_name("stock.py")


def compare_export(cfg: DictConfig) -> Results:
    """Write ``export.json`` and ``export.md`` in the run folder; print their paths."""
    config, run = open_run(cfg, TYPES)
    prompts = build(config["prompts"])().prompts
    model = build(config["model"], device=config["device"], dtype=config["dtype"])
    export = Export(model, Path(config["steer_file"]))
    strength, decoding = named_strength(config["strength"], export.steer), build(config["decoding"])

    def compute() -> Results:
        run.begin()
        export.checkpoint(run.path("checkpoint"), strength)
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
        subprocess.run([sys.executable, "-I", str(STOCK_SCRIPT), str(run.path("job.json"))], check=True)
        results = compare_with_stock(export, strength, prompts, decoding, run.folder)
        shutil.rmtree(run.path("plain"))
        return results

    return run_study(run, "export", compute, report=export_table)


def compare_with_stock(
    export: Export, strength: Mapping[str, float], prompts: Sequence[Prompt], decoding: Decoding, folder: Path
) -> Results:
    """Compare the output of ``stock.py`` in a folder with the steered model in memory."""
    stock = json.loads((folder / "stock.json").read_text(encoding="utf-8"))
    logits = load_file(folder / "logits.safetensors")
    steered_PV = steered_logits(export, strength, prompts)
    generator = Generator(export.model, prompts, decoding=decoding)
    texts = {
        side: {g.prompt.id: g.texts[0] for batch in generator.run([named], export.steer) for g in batch}
        for side, named in (("plain", {}), ("exported", strength))
    }
    return {
        "model": export.model.name,
        "dtype": str(export.model.head.weight.dtype).removeprefix("torch."),
        "strength": dict(strength),
        "prompts": len(prompts),
        "new_tokens": decoding.max_new_tokens,
        "lmsteer_was_imported": stock["lmsteer"],
        "from_steered": float((logits["exported"] - steered_PV).abs().max()),
        "from_plain": float((logits["exported"] - logits["plain"]).abs().max()),
        "largest_logit": float(steered_PV.abs().max()),
        "same_continuations": {
            side: sum(text == texts[side][prompt.id] for text, prompt in zip(stock_texts, prompts, strict=True))
            for side, stock_texts in stock["texts"].items()
        },
        "times": {clock: compare_times(times) for clock, times in stock["times"].items()},
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
    }


@torch.inference_mode()
def steered_logits(export: Export, strength: Mapping[str, float], prompts: Sequence[Prompt]) -> Tensor:
    """Compute the logits (P, V) after each prompt, of the model with the steer hooked in front of its head."""
    with export.steer.apply(export.model, strength) as lm:
        inputs = [export.model.tokenizer(prompt.text, return_tensors="pt").to(lm.device) for prompt in prompts]
        return torch.stack([lm(**encoded).logits[0, -1].float().cpu() for encoded in inputs])


def compare_times(times: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return median seconds, their ratio, and the quartiles of the ratios of neighboring repeats."""
    pairs = [exported / plain for exported, plain in zip(times["exported"], times["plain"], strict=True)]
    low, _, high = quantiles(pairs, n=4) if len(pairs) > 1 else pairs * 3
    medians = {side: median(seconds) for side, seconds in times.items()}
    return {**medians, "ratio": medians["exported"] / medians["plain"], "quartiles": [low, high], "pairs": pairs}


def export_table(results: Results) -> str:
    """Write the content of export.json as a Markdown table."""
    same, total = results["same_continuations"], results["prompts"]
    rows = [
        ["largest difference of a logit, exported − steered", f"{results['from_steered']:.2g}"],
        ["largest difference of a logit, exported − plain", f"{results['from_plain']:.3g}"],
        ["largest logit", f"{results['largest_logit']:.3g}"],
        [
            "greedy continuations equal to lmsteer's: exported, plain",
            f"{same['exported']} of {total}, {same['plain']} of {total}",
        ],
    ]
    for clock, times in results["times"].items():
        low, high = times["quartiles"]
        ratio = interval({"value": times["ratio"], "low": low, "high": high}, 3)
        seconds = f"{number(times['exported'])}, {number(times['plain'])}"
        rows += [[f"seconds by the {clock}: exported, plain", seconds]]
        rows += [[f"ratio by the {clock}, with quartiles of pairs", ratio]]
    return markdown_table([f"{results['model']}, {results['dtype']}", ""], rows)


if __name__ == "__main__":
    entry_point("config", Path(__file__).parent, TYPES)(compare_export)()
