"""Tables and picture of a measured run: python -m experiments.speed.report RUN/speed.json [PICTURE.png]."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import linregress

from experiments.study import Results
from lmsteer.cli.terminal import show
from lmsteer.errors import InputError
from lmsteer.reporting.plots import COLORS, MARKERS, STYLE, write_png
from lmsteer.reporting.published import published
from lmsteer.reporting.text import markdown_table

COMPARED = {
    "fit": "fit,\nextraction included",
    "fit_again": "fit again,\nhidden states stored",
    "generate": "generate,\nagainst one a call",
    "generate_transformers": "generate, against\ntransformers' batches",
    "perplexity": "perplexity,\nagainst one text a call",
}
OVERHEADS = {"steering_overhead": "one strength,\nfolded", "steering_overhead_rows": "a strength for\neach prompt"}
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
        _table(["work", "plain, s", "lmsteer, s", "times faster", "plain, MiB", "lmsteer, MiB"], compared),
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
        [f"rank {steer['rank']}, {' '.join(name.split())}", f"{learned:,}", share, f"{measured[key]['ratio']:.3f}"]
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
    tokens, seconds = series["tokens"], series["seconds"]
    return float(linregress(tokens, seconds).rvalue ** 2) if len(tokens) > 2 else 1.0


def speed_figure(measured: Results) -> Figure:
    """Draw the ratios, the overheads with the published one as a dotted line, and time against tokens."""
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(12.0, 3.4), layout="constrained")
        faster, overhead, scaling = figure.subplots(1, 3, width_ratios=[5, 4, 5])
        _draw_bars(faster, {name: measured[key]["ratio"] for key, name in COMPARED.items()}, fmt="×%.3g", padding=3)
        faster.set_xlabel("times faster than the plain version")
        ratios = {name: measured[key]["ratio"] for key, name in OVERHEADS.items()}
        _draw_bars(overhead, ratios, fmt="%.3f", label_type="center", color="white")
        overhead.axvline(PUBLISHED["LM-Steer"]["decoding_time"].value, color=COLORS[1], linestyle=":")
        overhead.set_xlabel("time over unsteered (dotted: published)")
        for index, (name, series) in enumerate(measured["scaling"].items()):
            scaling.plot(series["tokens"], series["seconds"], color=COLORS[index], marker=MARKERS[index], label=name)
        scaling.set(xlim=0, ylim=0, xlabel="tokens", ylabel="seconds")
        scaling.xaxis.set_major_locator(MaxNLocator(4))
        scaling.legend(loc="upper left")
    return figure


def _draw_bars(axes: Axes, ratios: dict[str, float], **label: Any) -> None:
    bars = axes.barh(list(ratios), list(ratios.values()), color=COLORS[0], height=0.6)
    axes.bar_label(bars, **label)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.3 * max(*ratios.values(), 1.0))
    axes.grid(axis="y", visible=False)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python -m experiments.speed.report RUN/speed.json [PICTURE.png]")
    try:
        results = read_speed(Path(sys.argv[1]))
        show(speed_tables(results))
        if len(sys.argv) == 3:
            write_png(Path(sys.argv[2]), speed_figure(results))
    except InputError as error:
        sys.exit(f"Error: {error}")
