"""Tables of a composition as Markdown: python -m experiments.composition.report RUN."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.composition.grid import FACTORS_ADDED, cross_terms
from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import FinishedRun, read_run
from lmsteer.evaluation.metric_names import Metric
from lmsteer.metrics.paired_test import PairedChange
from lmsteer.reporting.comparison import Comparison, Measurement, compare_runs
from lmsteer.reporting.comparison_formats import markdown as tables
from lmsteer.reporting.comparison_tables import blocks
from lmsteer.runs.stages import STEER
from lmsteer.steering.interference import Interference
from lmsteer.steering.steer_file import load_steer

WANTED = {"positivity": 1, "expected_maximum_toxicity": -1}
"""Which way each attribute shall go at positive strengths."""
READING = (
    "Plain → steered, then the change on the same prompts with its 95 % bootstrap interval over prompts. **Bold**: it "
    "goes the wanted way, the interval of the change leaves 0 out, and the intervals of both values (below) are apart; "
    "in parentheses: the interval of the change holds 0, or it goes the other way."
)


def markdown(run: FinishedRun) -> str:
    """Interference, both attributes at once, then every cell with its intervals and changes."""
    steer, provenance = load_steer(run.folder / STEER)
    interference, found = Interference(**provenance.derivation["interference"]), compare_runs([run])
    cross = (
        f"Adding the factors (of {steer.p1.shape[2] // 2} columns) instead of the matrices brings in products "
        f"whose size is {cross_terms(steer):.2f} of that of the sum."
    )
    parts = ["## Interference", interference.markdown(), cross]
    parts += ["## Both at once", at_once(found, interference.dimensions), READING]
    return "\n\n".join([*parts, "## All cells", tables(blocks(found, None))])


def at_once(found: Comparison, pair: Sequence[str]) -> str:
    """The rows where both attributes have one positive strength, and those of added factors."""
    metrics = [metric for metric in found.metrics if metric.base in WANTED]
    rows = [["prompts", "strength", *(metric.heading for metric in metrics), "perplexity"]]
    rows.append(["---"] * len(rows[0]))
    for place, other in found.references.items():
        row, plain = found.rows[place], found.rows[other]
        values = [row.strength.get(name) for name in pair]
        if FACTORS_ADDED not in row.strength and (values[0] != values[1] or values[0] is None or values[0] <= 0):
            continue
        label = f"{row.strength_label} ({row.budget})" if row.budget else row.strength_label
        cells = [_cell(m, plain.metrics[m.name], row.metrics[m.name], found.changes[place, m.name]) for m in metrics]
        rows.append([row.prompts, label, *cells, _words(found.changes[place, "perplexity"], "×{:.2f}".format)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(metric: Metric, plain: Measurement, steered: Measurement, change: PairedChange) -> str:
    before, after = (metric.format(one.interval.value) for one in (plain, steered))
    words = f"{before} → {after}, {_words(change, _signed)}"
    if not is_wanted(metric, change):
        return f"({words})"
    return f"**{words}**" if are_apart(plain, steered) else words


def is_wanted(metric: Metric, change: PairedChange) -> bool:
    """Whether a change goes the wanted way beyond its interval."""
    if change.low is None or change.high is None:
        return False
    return change.low > 0 if WANTED[metric.base] > 0 else change.high < 0


def are_apart(one: Measurement, other: Measurement) -> bool:
    """Whether two intervals share no value; never so where one is missing."""
    (a, b), (c, d) = ((m.interval.low, m.interval.high) for m in (one, other))
    return None not in (a, b, c, d) and bool(b < c or d < a)  # type: ignore[operator]


def _words(change: PairedChange, form: Callable[[float], str]) -> str:
    """A change with its interval, if it has one."""
    if change.low is None or change.high is None:
        return form(change.change)
    return f"{form(change.change)} [{form(change.low)}, {form(change.high)}]"


def _signed(difference: float) -> str:
    return f"{difference:+.2f}".replace("0.", ".", 1)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m experiments.composition.report RUN")
    try:
        print(markdown(read_run(Path(sys.argv[1]))))
    except InputError as error:
        sys.exit(f"Error: {error}")
