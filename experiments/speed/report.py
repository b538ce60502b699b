"""Tables and picture of a measured run: python -m experiments.speed.report RUN/speed.json [PICTURE.png]."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.study import Results
from lmsteer.errors import InputError
from lmsteer.reporting.plots import Panel, metric_vs, write_png
from lmsteer.reporting.published import published
from lmsteer.reporting.text import markdown_table

COMPARED = {
    "fit": "fit",
    "fit_again": "again",
    "generate": "generate",
    "generate_transformers": "batches",
    "perplexity": "perplexity",
}
OVERHEADS = {"steering_overhead": "folded", "steering_overhead_rows": "strength by row"}
KEYS = {*COMPARED, *OVERHEADS, "memory", "agreement", "scaling", "model", "steer", "work", "machine"}
PUBLISHED = {entry.method: entry.metrics for entry in published().entries if entry.table == "efficiency"}
"""The paper's efficiency row: share of learned parameters, and decoding time over that of the language model."""


def read_speed(path: Path) -> Results:
    """Read a file of ``experiments.speed.run``.

    Raises:
        InputError: If the file cannot be read or is not a speed.json.
    """
    try:
        measured = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}; a speed.json of experiments.speed.run is expected") from error
    if not isinstance(measured, dict) or not measured.keys() >= KEYS:
        raise InputError(f"{path}: not a speed.json of experiments.speed.run")
    return measured


def speed_tables(measured: Results) -> str:
    """Write the measurements, the agreement of the two sides, and the paper's efficiency row."""
    model, agreement, memory = measured["model"], measured["agreement"], measured["memory"]
    loss, nats = agreement["loss"], agreement["nats"]
    compared = [
        [
            *(measured[key]["work"], _seconds(measured[key]["plain"]), _seconds(measured[key]["ours"])),
            *(f"**{measured[key]['ratio']:.1f}**", *(f"{memory[key][side]:,.0f}" for side in ("plain", "ours"))),
        ]
        for key in COMPARED
    ]
    overheads = [
        [entry["work"], _seconds(entry["plain"]), _seconds(entry["ours"]), f"**{entry['ratio']:.3f}**"]
        for entry in (measured[key] for key in OVERHEADS)
    ]
    sections = (
        f"{_machine(measured)}; {model['name']} ({model['parameters'] / 1e6:.0f} M parameters) in "
        f"{measured['machine']['dtype']}, plain in float32.",
        _table(["work", "plain, s", "ours, s", "times faster", "plain, MiB", "ours, MiB"], compared),
        _table(["decoding", "unsteered, s", "steered, s", "steered over unsteered"], overheads),
        _table(
            ["work", "tokens", "seconds", "tokens/s", "R² of a straight line"],
            [_scaling_cells(name, series) for name, series in measured["scaling"].items()],
        ),
        f"MiB are the peak beyond both models. Losses of the first {loss['steps']} steps differ by at most "
        f"{loss['max_relative_difference']:.1e} of the plain ones, the nats of {nats['texts']} scored texts by "
        f"{nats['relative_difference']:.1e} of their sum.",
        "Parameters of the attribute alone, as the dummy is off when the steer writes:",
        _table(["LM-Steer here", "parameters", "% of the LM", "decoding time over the LM"], efficiency_rows(measured)),
        "Published, on GPT2-large with other hardware and code, and so apart:",
        _table(["method", "% of the LM", "decoding time over the LM"], published_rows()),
    )
    return "\n\n".join(sections)


def efficiency_rows(measured: Results) -> list[list[str]]:
    """List the measured cells of the paper's efficiency row."""
    steer, model = measured["steer"], measured["model"]
    learned = steer["parameters"] // len(steer["dimensions"])
    share = f"{100 * learned / model['parameters']:.3f}"
    return [
        [f"rank {steer['rank']}, {name}", f"{learned:,}", share, f"{measured[key]['ratio']:.3f}"]
        for key, name in OVERHEADS.items()
    ]


def published_rows() -> list[list[str]]:
    """List the published cells; empty where the paper gives no figure."""
    return [
        [
            method,
            f"{100 * figures['parameters'].value:.1f}" if "parameters" in figures else "",
            f"{figures['decoding_time'].value:.2f}",
        ]
        for method, figures in PUBLISHED.items()
    ]


def _machine(measured: Results) -> str:
    machine = measured["machine"]
    return (
        f"{machine['date']}, {machine['cpu']}, {machine['threads']} threads, {machine['device']}, torch "
        f"{machine['torch']}, transformers {machine['transformers']}"
    )


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown_table(headings, rows, escaped=False)


def _scaling_cells(name: str, series: dict[str, list[float]]) -> list[str]:
    tokens, seconds = series["tokens"], series["seconds"]
    sizes = ", ".join(f"{size:,}" for size in tokens), ", ".join(map(_seconds, seconds))
    return [name, *sizes, f"{tokens[-1] / seconds[-1]:,.0f}", f"{straightness(series):.4f}"]


def _seconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def straightness(series: dict[str, list[float]]) -> float:
    """Return R² of a straight line of seconds in tokens; 1 for fewer than three sizes."""
    tokens, seconds = np.array(series["tokens"], dtype=float), np.array(series["seconds"])
    if len(tokens) < 3:
        return 1.0
    residuals = seconds - np.polyval(np.polyfit(tokens, seconds, 1), tokens)
    return float(1 - residuals.var() / seconds.var())


def speed_figure(measured: Results) -> Figure:
    """Draw the ratios, the overheads with the published one as a dotted line, and time against tokens."""
    paper = PUBLISHED["LM-Steer"]["decoding_time"].value
    panels = {
        "faster": _category_panel(COMPARED, "times faster than the plain version", log_y=True),
        "overhead": _category_panel(OVERHEADS, f"decoding time over unsteered (published: {paper})"),
        "scaling": Panel(title="time against tokens", x_label="tokens", y_label="seconds"),
    }
    references = pd.DataFrame(
        {"panel": panel, "value": value} for panel, value in (("faster", 1.0), ("overhead", 1.0), ("overhead", paper))
    )
    return metric_vs(pd.DataFrame(_points(measured)), panels, columns=3, references=references, size=(4.4, 3.2))


def _category_panel(names: dict[str, str], title: str, *, log_y: bool = False) -> Panel:
    return Panel(title=title, x_ticks={float(x): name for x, name in enumerate(names.values())}, log_y=log_y)


def _points(measured: Results) -> Iterator[dict[str, Any]]:
    limits = {"low": None, "high": None}
    for panel, names in (("faster", COMPARED), ("overhead", OVERHEADS)):
        for x, key in enumerate(names):
            yield {"panel": panel, "group": "ratio", "x": x, "value": measured[key]["ratio"], **limits}
    for name, series in measured["scaling"].items():
        for tokens, seconds in zip(series["tokens"], series["seconds"], strict=True):
            yield {"panel": "scaling", "group": name, "x": tokens, "value": seconds, **limits}


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python -m experiments.speed.report RUN/speed.json [PICTURE.png]")
    try:
        results = read_speed(Path(sys.argv[1]))
        print(speed_tables(results))
        if len(sys.argv) == 3:
            write_png(Path(sys.argv[2]), speed_figure(results))
    except InputError as error:
        sys.exit(f"Error: {error}")
