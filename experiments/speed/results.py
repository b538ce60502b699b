"""Collect the measurements of the benchmark: the content of speed.json."""

import datetime
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import transformers

from experiments.speed.measure import (
    BY_ROW,
    DECODING,
    FIT,
    FIT_AGAIN,
    FOLDED,
    PLAIN_BATCH,
    PLAIN_PROMPT,
    PLAIN_SAMPLE,
    PLAIN_STEP,
    TEXTS,
    UNSTEERED,
    Bench,
    Curve,
    Scaling,
)
from experiments.study import Results
from lmsteer.steering.steer import Steer

COMPARED = {
    "fit": (PLAIN_STEP, FIT),
    "fit_again": (PLAIN_STEP, FIT_AGAIN),
    "generate": (PLAIN_SAMPLE, FOLDED),
    "generate_transformers": (PLAIN_BATCH, FOLDED),
    "perplexity": (PLAIN_PROMPT, TEXTS),
}
"""Names of the timed work of the plain version and of lmsteer, by the key in speed.json."""
OVERHEADS = {"steering_overhead": FOLDED, "steering_overhead_rows": BY_ROW}


def collect_results(
    bench: Bench, steer: Steer, curves: Sequence[Curve], nats_difference: float, scaling: Scaling
) -> Results:
    """Collect everything that was measured in a run.

    Args:
        curves: Losses of the plain fit and of lmsteer's.
        nats_difference: Relative difference of the nats of the continuations.
    """
    meter, work, model = bench.meter, bench.work, bench.model
    peaks = {
        key: {"plain": meter.peak[plain_name], "ours": meter.peak[name]} for key, (plain_name, name) in COMPARED.items()
    }
    losses = zip(*([loss for _, loss in curve] for curve in curves), strict=False)
    encoded = model.tokenizer([row.text for row in bench.corpus.train])["input_ids"]
    return {
        **compare_seconds(bench),
        "memory": {"unit": "MiB", "before": meter.before, **peaks},
        "agreement": {
            "loss": {
                "steps": min(map(len, curves)),
                "max_relative_difference": max(abs(loss - plain_loss) / plain_loss for plain_loss, loss in losses),
            },
            "nats": {"texts": len(meter.seconds[PLAIN_PROMPT]) * work.samples, "relative_difference": nats_difference},
        },
        "scaling": scaling,
        "model": {
            "name": model.name,
            "width": model.width,
            "vocabulary": model.head.vocabulary,
            "parameters": sum(parameter.numel() for parameter in model.lm.parameters()),
        },
        "steer": {
            "rank": work.rank,
            "dimensions": list(steer.dimensions),
            "parameters": sum(parameter.numel() for parameter in steer.parameters()),
        },
        "work": {
            **asdict(work),
            "written": work.written,
            "scored": work.scored,
            "new_tokens": DECODING.max_new_tokens,
            "sentence_tokens": sum(map(len, encoded)) / len(encoded),
            "corpus": bench.corpus.name,
            "seed": bench.seed,
        },
        "machine": describe_machine(model.device, model.head.weight.dtype),
    }


def compare_seconds(bench: Bench) -> Results:
    """Compare the seconds of both sides for the same work.

    In ``COMPARED`` the plain seconds are the median of one piece of the work times the number of pieces, and ``ratio``
    is plain over ours. In ``OVERHEADS`` ``plain`` is unsteered, ``ours`` steered, and ``ratio`` steered over unsteered.
    """
    work, meter = bench.work, bench.meter
    calls = work.written / (bench.prompts_per_call * work.samples)
    fit, samples = f"{work.steps} steps of 32 sentences", f"{work.written} samples of {DECODING.max_new_tokens} tokens"
    pieces = {
        "fit": (work.steps, f"{fit}, extraction included"),
        "fit_again": (work.steps, f"{fit}, another seed, hidden states stored"),
        "generate": (work.written, f"{samples}, one a call"),
        "generate_transformers": (calls, f"{samples}, {work.written / calls:g} a call of transformers' generate"),
        "perplexity": (work.scored // work.samples, f"{work.scored} texts"),
    }
    results: Results = {}
    for key, (plain_name, name) in COMPARED.items():
        count, description = pieces[key]
        plain_seconds, seconds = meter.median(plain_name) * count, meter.median(name)
        results[key] = {
            **{"plain": plain_seconds, "ours": seconds, "unit": "s", "ratio": plain_seconds / seconds},
            "work": description,
            "plain_is": f"median of {len(meter.seconds[plain_name])} {plain_name}s × {count:g}",
            "measured": {"plain": meter.seconds[plain_name], "ours": meter.seconds[name]},
        }
    for key, name in OVERHEADS.items():
        unsteered, steered = meter.median(UNSTEERED), meter.median(name)
        strengths = "one strength, folding included" if name == FOLDED else "a strength for each prompt"
        results[key] = {
            **{"plain": unsteered, "ours": steered, "unit": "s", "ratio": steered / unsteered},
            "work": f"{samples}, {strengths}",
            "measured": {"plain": meter.seconds[UNSTEERED], "ours": meter.seconds[name]},
        }
    return results


def describe_machine(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Describe the machine, the versions and the date of the measurements."""
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text(encoding="utf-8").split("\n") if cpu_info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "dtype": str(dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "date": datetime.date.today().isoformat(),
    }
