"""What transformers alone said, against the steered model in memory.

Shapes: P prompts, V vocabulary.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from lmsteer.export import Export
from lmsteer.generation.decoding import Decoding
from lmsteer.generation.generate import Generator
from lmsteer.records import Prompt
from lmsteer.steering.model import SteeredLM


def comparison(
    what: Export, strength: Mapping[str, float], prompts: Sequence[Prompt], decoding: Decoding, folder: Path
) -> dict[str, Any]:
    """Every figure, as plain values."""
    theirs = json.loads((folder / "stock.json").read_text(encoding="utf-8"))
    logits = load_file(folder / "logits.safetensors")
    steered_PV = steered_logits(what, strength, prompts)
    generator = Generator(what.model, prompts, decoding=decoding)
    ours = {g.prompt.id: g.texts[0] for batch in generator.run([strength], what.steer) for g in batch}
    seconds = theirs["seconds"]
    ratios = sorted(a / b for a, b in zip(seconds["exported"], seconds["plain"], strict=True))
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
        "same_continuations": sum(
            text == ours[prompt.id] for text, prompt in zip(theirs["texts"], prompts, strict=True)
        ),
        "seconds": {side: median(times) for side, times in seconds.items()},
        "ratio": median(seconds["exported"]) / median(seconds["plain"]),
        "ratio_of_pairs": median(ratios),
        "ratios": ratios,
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
    }


@torch.inference_mode()
def steered_logits(what: Export, strength: Mapping[str, float], prompts: Sequence[Prompt]) -> Tensor:
    """Logits (P, V) behind each prompt, of the model with the steer hooked in front of its head."""
    steered = SteeredLM(what.model.lm, what.steer)
    with steered.at(what.steer.strengths(strength)[None]) as lm:
        read = [what.model.tokenizer(prompt.text, return_tensors="pt").to(lm.device) for prompt in prompts]
        return torch.stack([lm(**inputs).logits[0, -1].float().cpu() for inputs in read])


def markdown(found: Mapping[str, Any]) -> str:
    """The figures as a table."""
    seconds = found["seconds"]
    rows = {
        "largest difference of a logit, exported − steered": f"{found['from_steered']:.2g}",
        "the same, exported − plain": f"{found['from_plain']:.3g}",
        "largest logit": f"{found['largest_logit']:.3g}",
        "greedy continuations that are the same": f"{found['same_continuations']} of {found['prompts']}",
        "seconds, plain and exported": f"{seconds['plain']:.3f}, {seconds['exported']:.3f}",
        "ratio of medians; median of ratios": f"{found['ratio']:.3f}; {found['ratio_of_pairs']:.3f}",
    }
    heading = f"| {found['model']}, {found['dtype']} | |\n| --- | --- |"
    return "\n".join([heading, *(f"| {name} | {value} |" for name, value in rows.items())])


def _furthest(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())
