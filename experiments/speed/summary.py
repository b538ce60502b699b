"""What was measured, as the content of speed.json."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import transformers

from experiments.speed.bench import DECODING, Bench
from experiments.speed.fit import AGAIN, FIT, STEP, Curve
from experiments.speed.generation import FOLDED, ROWS, SAMPLE, TRANSFORMERS, UNSTEERED, prompts_in_one_call
from experiments.speed.meter import Meter
from experiments.speed.perplexity import FAMILY, TEXTS
from experiments.speed.scaling import Series
from lmsteer.steering.steer import Steer

COMPARED = ("fit", "fit_again", "generate", "generate_transformers", "perplexity")
OVERHEADS = ("steering_overhead", "steering_overhead_rows")

Summary = dict[str, Any]


def summary(bench: Bench, steer: Steer, curves: Sequence[Curve], nats: float, scaling: Series) -> Summary:
    """Everything that is known of a run.

    Args:
        curves: Loss of the plain and of our fit.
        nats: Relative difference of the continuations' nats.
    """
    return {
        **comparisons(bench),
        "memory": memory(bench.meter),
        "agreement": {
            "loss": {"steps": min(map(len, curves)), "max_relative_difference": largest_difference(*curves)},
            "nats": {"texts": len(bench.meter.seconds[FAMILY]) * bench.work.samples, "relative_difference": nats},
        },
        "scaling": scaling,
        "model": {
            "name": bench.ours.name,
            "width": bench.ours.width,
            "vocabulary": bench.ours.head.vocabulary,
            "parameters": sum(parameter.numel() for parameter in bench.ours.lm.parameters()),
        },
        "steer": {
            "rank": bench.work.rank,
            "dimensions": list(steer.dimensions),
            "parameters": sum(parameter.numel() for parameter in steer.parameters()),
        },
        "work": {
            **asdict(bench.work),
            "written": bench.work.written,
            "scored": bench.work.scored,
            "new_tokens": DECODING.max_new_tokens,
            "sentence_tokens": _mean_tokens(bench),
            "corpus": bench.corpus.name,
            "seed": bench.seed,
        },
        "machine": machine(bench),
    }


def comparisons(bench: Bench) -> Summary:
    """Seconds of both sides for the same work, and their quotient.

    For the first five ``ratio`` is plain over ours: how many times faster ours is. For the two overheads ``plain`` is
    unsteered, ``ours`` steered, and ``ratio`` steered over unsteered.
    """
    work, meter = bench.work, bench.meter
    calls = work.written / (prompts_in_one_call(bench) * work.samples)
    fit, written = f"{work.steps} steps of 32 sentences", f"{work.written} samples of {DECODING.max_new_tokens} tokens"
    return {
        "fit": faster(meter, (STEP, work.steps), FIT, f"{fit}, extraction included"),
        "fit_again": faster(meter, (STEP, work.steps), AGAIN, f"{fit}, another seed, hidden states stored"),
        "generate": faster(meter, (SAMPLE, work.written), FOLDED, f"{written}, one a call"),
        "generate_transformers": faster(
            meter,
            (TRANSFORMERS, calls),
            FOLDED,
            f"{written}, {work.written / calls:g} a call of transformers' generate",
        ),
        "steering_overhead": overhead(meter, FOLDED, f"{written}, one strength, folding included"),
        "steering_overhead_rows": overhead(meter, ROWS, f"{written}, a strength for each prompt"),
        "perplexity": faster(meter, (FAMILY, work.scored // work.samples), TEXTS, f"{work.scored} texts"),
    }


def faster(meter: Meter, plain: tuple[str, float], ours: str, work: str) -> Summary:
    """Plain over ours; the plain seconds are those of one piece of the work times the number of pieces."""
    name, times = plain
    seconds = meter.median(name) * times, meter.median(ours)
    source = f"median of {len(meter.seconds[name])} {name}s × {times:g}"
    return {
        **_comparison(*seconds, seconds[0] / seconds[1]),
        "work": work,
        "plain_is": source,
        **_runs(meter, name, ours),
    }


def overhead(meter: Meter, steered: str, work: str) -> Summary:
    """Steered over unsteered, at the same batches."""
    seconds = meter.median(UNSTEERED), meter.median(steered)
    return {**_comparison(*seconds, seconds[1] / seconds[0]), "work": work, **_runs(meter, UNSTEERED, steered)}


def _comparison(plain: float, ours: float, ratio: float) -> Summary:
    return {"plain": plain, "ours": ours, "unit": "s", "ratio": ratio}


def _runs(meter: Meter, plain: str, ours: str) -> Summary:
    """Seconds of every measured call."""
    return {"measured": {"plain": meter.seconds[plain], "ours": meter.seconds[ours]}}


def memory(meter: Meter) -> Summary:
    """Peak MiB of each part beyond the two models, which are in memory throughout."""
    parts = {
        "fit": (STEP, FIT),
        "fit_again": (STEP, AGAIN),
        "generate": (SAMPLE, FOLDED),
        "generate_transformers": (TRANSFORMERS, FOLDED),
        "perplexity": (FAMILY, TEXTS),
    }
    peaks = {part: {"plain": meter.peak[plain], "ours": meter.peak[ours]} for part, (plain, ours) in parts.items()}
    return {"unit": "MiB", "before": meter.before, **peaks}


def largest_difference(plain: Curve, ours: Curve) -> float:
    """Largest relative difference between the losses of the same steps."""
    return max(abs(a - b) / a for (_, a), (_, b) in zip(plain, ours, strict=False))


def machine(bench: Bench) -> Summary:
    """What the figures were measured on, and when."""
    device = bench.ours.device
    return {
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "dtype": str(bench.ours.head.weight.dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "date": datetime.date.today().isoformat(),
    }


def cpu_name() -> str:
    """What the processor calls itself."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8").split("\n") if known.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _mean_tokens(bench: Bench) -> float:
    encoded = bench.ours.tokenizer([row.text for row in bench.corpus.train])["input_ids"]
    return sum(map(len, encoded)) / len(encoded)
