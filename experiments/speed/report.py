"""Table of a measured run as Markdown: python -m experiments.speed.report RUN/speed.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from experiments.speed.figure import straightness
from experiments.speed.summary import COMPARED, OVERHEADS
from lmsteer.errors import InputError

KEYS = {*COMPARED, *OVERHEADS, "memory", "agreement", "scaling", "model", "steer", "work", "machine"}


def read_speed(path: Path) -> dict[str, Any]:
    """What ``experiments.speed.run`` has written.

    Raises:
        InputError: If the file cannot be read or is another one.
    """
    try:
        measured = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}; a speed.json of experiments.speed.run is expected") from error
    if not isinstance(measured, dict) or not measured.keys() >= KEYS:
        raise InputError(f"{path}: not a speed.json of experiments.speed.run")
    return measured


def markdown(measured: dict[str, Any]) -> str:
    """Tables of what was measured, and how far the two sides agree."""
    machine, model, agreement = measured["machine"], measured["model"], measured["agreement"]
    loss, nats = agreement["loss"], agreement["nats"]
    parts = (
        f"{machine['date']}, {machine['cpu']}, {machine['threads']} threads, {machine['device']}, torch "
        f"{machine['torch']}, transformers {machine['transformers']}; {model['name']} "
        f"({model['parameters'] / 1e6:.0f} M parameters) in {machine['dtype']}, plain in float32.",
        table(
            ["work", "plain, s", "ours, s", "times faster", "plain, MiB", "ours, MiB"],
            [_compared(measured[name], measured["memory"][name]) for name in COMPARED],
        ),
        table(
            ["decoding", "unsteered, s", "steered, s", "steered over unsteered"],
            [_overhead(measured[name]) for name in OVERHEADS],
        ),
        table(
            ["work", "tokens", "seconds", "tokens/s", "R² of a straight line"],
            [_series(name, series) for name, series in measured["scaling"].items()],
        ),
        f"MiB are the peak beyond both models. Losses of the first {loss['steps']} steps differ by at most "
        f"{loss['max_relative_difference']:.1e} of the plain ones, the nats of {nats['texts']} scored texts by "
        f"{nats['relative_difference']:.1e} of their sum.",
    )
    return "\n\n".join(parts)


def _compared(one: dict[str, Any], memory: dict[str, float]) -> list[str]:
    peaks = [f"{memory[side]:,.0f}" for side in ("plain", "ours")]
    return [one["work"], _seconds(one["plain"]), _seconds(one["ours"]), f"**{one['ratio']:.1f}**", *peaks]


def _overhead(one: dict[str, Any]) -> list[str]:
    return [one["work"], _seconds(one["plain"]), _seconds(one["ours"]), f"**{one['ratio']:.3f}**"]


def _series(name: str, series: dict[str, list[float]]) -> list[str]:
    tokens, seconds = series["tokens"], series["seconds"]
    sizes = ", ".join(f"{size:,}" for size in tokens), ", ".join(map(_seconds, seconds))
    return [name, *sizes, f"{tokens[-1] / seconds[-1]:,.0f}", f"{straightness(series):.4f}"]


def _seconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown, figures to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m experiments.speed.report RUN/speed.json")
    try:
        print(markdown(read_speed(Path(sys.argv[1]))))
    except InputError as error:
        sys.exit(f"Error: {error}")
