"""What transformers alone said, against the steered model in memory.

Shapes: P prompts, V vocabulary.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from lmsteer.export.exporter import Export
from lmsteer.generation.decoding import Decoding
from lmsteer.generation.generator import Generator
from lmsteer.records import Prompt


def comparison(
    what: Export, strength: Mapping[str, float], prompts: Sequence[Prompt], decoding: Decoding, folder: Path
) -> dict[str, Any]:
    """Every figure, as plain values."""
    theirs = json.loads((folder / "stock.json").read_text(encoding="utf-8"))
    logits = load_file(folder / "logits.safetensors")
    steered_PV = steered_logits(what, strength, prompts)
    generator = Generator(what.model, prompts, decoding=decoding)
    ours = {
        side: {g.prompt.id: g.texts[0] for batch in generator.run([given], what.steer) for g in batch}
        for side, given in (("plain", {}), ("exported", strength))
    }
    return {
        "model": what.model.name,
        "dtype": str(what.model.head.weight.dtype).removeprefix("torch."),
        "strength": dict(strength),
        "prompts": len(prompts),
        "new_tokens": decoding.max_new_tokens,
        "lmsteer_was_imported": theirs["lmsteer"],
        "from_steered": _furthest(logits["exported"], steered_PV),
        "from_plain": _furthest(logits["exported"], logits["plain"]),
        "largest_logit": float(steered_PV.abs().max()),
        "same_continuations": {
            side: sum(text == ours[side][prompt.id] for text, prompt in zip(texts, prompts, strict=True))
            for side, texts in theirs["texts"].items()
        },
        "times": {kind: _race(times) for kind, times in theirs["times"].items()},
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
    }


@torch.inference_mode()
def steered_logits(what: Export, strength: Mapping[str, float], prompts: Sequence[Prompt]) -> Tensor:
    """Logits (P, V) behind each prompt, of the model with the steer hooked in front of its head."""
    with what.steer.apply(what.model, strength) as lm:
        read = [what.model.tokenizer(prompt.text, return_tensors="pt").to(lm.device) for prompt in prompts]
        return torch.stack([lm(**inputs).logits[0, -1].float().cpu() for inputs in read])


def markdown(found: Mapping[str, Any]) -> str:
    """The figures as a table."""
    same, total = found["same_continuations"], found["prompts"]
    rows = {
        "largest difference of a logit, exported − steered": f"{found['from_steered']:.2g}",
        "the same, exported − plain": f"{found['from_plain']:.3g}",
        "largest logit": f"{found['largest_logit']:.3g}",
        "greedy continuations as ours: exported, plain": f"{same['exported']} of {total}, {same['plain']} of {total}",
    }
    for kind, times in found["times"].items():
        low, high = times["quartiles"]
        rows |= {
            f"seconds by the {kind}: exported, plain": f"{times['exported']:.2f}, {times['plain']:.2f}",
            f"ratio by the {kind}, and quartiles of pairs": f"{times['ratio']:.3f} [{low:.3f}, {high:.3f}]",
        }
    heading = f"| {found['model']}, {found['dtype']} | |\n| --- | --- |"
    return "\n".join([heading, *(f"| {name} | {value} |" for name, value in rows.items())])


def _race(times: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Medians, their ratio, and quartiles of the ratios of turns that stood side by side."""
    pairs = [exported / plain for exported, plain in zip(times["exported"], times["plain"], strict=True)]
    low, _, high = quantiles(pairs, n=4) if len(pairs) > 1 else pairs * 3
    medians = {side: median(seconds) for side, seconds in times.items()}
    return {**medians, "ratio": medians["exported"] / medians["plain"], "quartiles": [low, high], "pairs": pairs}


def _furthest(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())
