"""What every study shares: run it once into a folder, or tabulate finished runs on the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from pydantic import JsonValue

from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import find_runs, read_run
from lmsteer.evaluation.metric_names import Metric
from lmsteer.reporting.comparison import Comparison, ComparisonRow, Measurement, compare_runs
from lmsteer.reporting.plots import write_png
from lmsteer.runs.run import Run
from lmsteer.storage.atomic_files import atomic_write_lines

Results = dict[str, Any]
"""What a study measured, as plain values of JSON."""


def run_study(
    run: Run,
    name: str,
    compute: Callable[[], Results],
    *,
    report: Callable[[Results], str],
    figure: Callable[[Results], Figure],
) -> Results:
    """Compute the results of a study unless the folder holds them, then write its report and its picture.

    Writes ``NAME.json``, ``NAME.md`` and ``NAME.png`` in the run folder and prints their paths.

    Args:
        compute: Called only where ``NAME.json`` is not there yet; refuses bad input before the folder is taken.
        report: Write the results as Markdown.
        figure: Draw the results.
    """
    json_file, markdown_file, picture = (run.path(f"{name}.{suffix}") for suffix in ("json", "md", "png"))
    if not run.is_complete(json_file.name):
        results = compute()
        run.begin()
        atomic_write_lines(json_file, [json.dumps(results, indent=1, ensure_ascii=False)])
    results = json.loads(json_file.read_text(encoding="utf-8"))
    atomic_write_lines(markdown_file, [report(results)])
    write_png(picture, figure(results))
    print("\n".join(map(str, (json_file, markdown_file, picture))))
    return dict(results)


def read_comparison(folders: Sequence[Path]) -> Comparison:
    """Read finished runs as one comparison; unfinished ones are named on standard error.

    Raises:
        InputError: If there is no finished run, or the runs cannot be in one table.
    """
    finished, unfinished = find_runs(folders)
    for folder in unfinished:
        print(f"not finished, left out: {folder}", file=sys.stderr)
    return compare_runs([read_run(folder) for folder in finished])


def read_setting(row: ComparisonRow, name: str) -> JsonValue:
    """Read a setting of the training of a row, such as ``rank`` or ``train_rows``.

    Raises:
        InputError: If the steer file of the row does not record it.
    """
    if row.settings.get(name) is None:
        raise InputError(f"the steer file of a run of {row.method} does not record its {name}")
    return row.settings[name]


def format_measurement(metric: Metric, measurement: Measurement) -> str:
    """Write a value with its interval over prompts and its standard deviation over seeds: ``.74 [.70, .78] ±.02``."""
    text, interval = metric.format(measurement.interval.value), measurement.interval
    if interval.low is not None and interval.high is not None:
        text += f" [{metric.format(interval.low)}, {metric.format(interval.high)}]"
    return text if measurement.sd is None else f"{text} ±{metric.format(measurement.sd)}"


def tabulate(
    module: str, table: Callable[[Comparison], str], figure: Callable[[Comparison], Figure] | None = None
) -> None:
    """Run the command line ``python -m MODULE RUN… [PICTURE.png]``: print a table, draw a picture where one is named.

    Args:
        figure: None for a study without a picture.
    """
    paths = [Path(argument) for argument in sys.argv[1:]]
    picture = paths.pop() if paths and paths[-1].suffix == ".png" else None
    if not paths or (picture is not None and figure is None):
        sys.exit(f"usage: python -m {module} RUN…{' [PICTURE.png]' if figure else ''}")
    try:
        comparison = read_comparison(paths)
        print(table(comparison))
        if picture is not None and figure is not None:
            write_png(picture, figure(comparison))
    except InputError as error:
        sys.exit(f"Error: {error}")
