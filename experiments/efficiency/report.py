"""The paper's efficiency row from a measured run: python -m experiments.efficiency.report RUN/speed.json."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from experiments.efficiency.published import DECODING_TIME, PERCENT
from experiments.speed.report import read_speed, table
from lmsteer.errors import InputError


def markdown(measured: dict[str, Any]) -> str:
    """What was measured here, then what is published, each in a table of its own."""
    model, machine, work = measured["model"], measured["machine"], measured["work"]
    where = machine["device"] if machine["device"] != "cpu" else f"{machine['cpu']}, {machine['threads']} threads"
    parts = (
        f"Measured {machine['date']} on {where}: {model['name']}, {model['parameters']:,} parameters, "
        f"{machine['dtype']}, {work['written']} samples of {work['new_tokens']} tokens.",
        table(["LM-Steer here", "parameters", "% of the LM", "decoding time over the unsteered LM"], ours(measured)),
        "Published, on GPT2-large with other hardware and code, and so apart:",
        table(["method", "% of the LM", "decoding time over the LM"], published()),
    )
    return "\n\n".join(parts)


def ours(measured: dict[str, Any]) -> list[list[str]]:
    """Rows of our table: a steer's parameters are those of its attribute alone, the dummy being off when it writes."""
    steer, model = measured["steer"], measured["model"]
    learned = steer["parameters"] // len(steer["dimensions"])
    times = {
        "folded, one strength": measured["steering_overhead"]["ratio"],
        "a strength for each prompt": measured["steering_overhead_rows"]["ratio"],
    }
    return [
        [f"rank {steer['rank']}, {how}", f"{learned:,}", f"{100 * learned / model['parameters']:.3f}", f"{time:.3f}"]
        for how, time in times.items()
    ]


def published() -> list[list[str]]:
    """Rows of the paper's table; empty where it names no figure."""
    return [
        [name, f"{PERCENT[name]:.1f}" if name in PERCENT else "", f"{time:.2f}"] for name, time in DECODING_TIME.items()
    ]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m experiments.efficiency.report RUN/speed.json")
    try:
        print(markdown(read_speed(Path(sys.argv[1]))))
    except InputError as error:
        sys.exit(f"Error: {error}")
