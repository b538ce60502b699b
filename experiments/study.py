"""Run a study once into a folder, or tabulate finished runs on the command line; helpers that several studies share."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from omegaconf import DictConfig
from pydantic import JsonValue

from lmsteer.cli.configuration import build, check_config
from lmsteer.cli.identity import run_identity
from lmsteer.cli.terminal import show
from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import find_runs, read_run
from lmsteer.evaluation.metric_names import Metric
from lmsteer.evaluation.plan import Plan
from lmsteer.generation.plain_texts import PlainTexts
from lmsteer.metrics.classes import PromptMetric
from lmsteer.metrics.intervals import Array, bootstrap_interval
from lmsteer.reporting.comparison import Comparison, ComparisonRow, Measurement, compare_runs
from lmsteer.reporting.plots import write_png
from lmsteer.reporting.text import escape_terminal, metric_interval, metric_number
from lmsteer.runs import stages
from lmsteer.runs.run import Run
from lmsteer.scoring.cache import ScoreCache
from lmsteer.scoring.scorer import Scorer
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer, save_steer
from lmsteer.storage.atomic_files import atomic_write_lines

Results = dict[str, Any]
"""Results of a study as plain values of JSON."""


def run_study(
    run: Run,
    name: str,
    compute: Callable[[], Results],
    *,
    report: Callable[[Results], str],
    figure: Callable[[Results], Figure] | None = None,
) -> Results:
    """Compute the results of a study unless the folder holds them, then write its report and its picture.

    Writes ``NAME.json``, ``NAME.md`` and ``NAME.png`` in the run folder and prints their paths.

    Args:
        compute: Called only where ``NAME.json`` is missing; it refuses bad input before the folder is taken, and calls
            ``run.begin`` itself if it stores intermediate results there.
        report: Write the results as Markdown.
        figure: Draw the results; None for a study without a picture.
    """
    json_file, markdown_file, picture = (run.path(f"{name}.{suffix}") for suffix in ("json", "md", "png"))
    if not run.is_complete(json_file.name):
        results = compute()
        run.begin()
        atomic_write_lines(json_file, [json.dumps(results, indent=1, ensure_ascii=False)])
    results = json.loads(json_file.read_text(encoding="utf-8"))
    atomic_write_lines(markdown_file, [report(results)])
    if figure is not None:
        write_png(picture, figure(results))
    show("\n".join(map(str, (json_file, markdown_file, *([picture] if figure else [])))))
    return dict(results)


def open_run(cfg: DictConfig, types: Mapping[str, Any]) -> tuple[dict[str, Any], Run]:
    """Check the configuration of a study; return it as plain values, with its run folder.

    Raises:
        InputError: As ``check_config``, or if the folder holds anything else.
    """
    config = check_config(cfg, types)
    return config, Run(Path(config["run_dir"]), run_identity(config))


def write_generations(
    run: Run, plan: Plan, steer: Steer, provenance: Provenance, cache: ScoreCache | None
) -> tuple[Provenance, Path]:
    """Save a steer in the run folder, calibrate it and generate as a plan says; skip stages that are complete.

    Returns:
        The provenance with calibrated strengths, and the path of the generations.
    """
    run.begin()
    if not run.is_complete(stages.STEER):
        save_steer(run.path(stages.STEER), steer, provenance)
    fitted = load_steer(run.path(stages.STEER), plan.model)
    plain = stages.plain_stage(run, plan.generators, PlainTexts(cache.folder / "plain" if cache else None))
    provenance = stages.calibrate_stage(run, plan, plain, run.path(stages.STEER), fitted)
    return provenance, stages.generate_stage(run, plan, plain, fitted[0], provenance)


def build_scorers(config: Mapping[str, Any], option: str) -> dict[str, Scorer]:
    """Build the scorers of an option, by name.

    Raises:
        InputError: If the option does not hold choices of ``conf/scorer``, or as the scorers refuse theirs.
    """
    nodes = config[option]
    if not isinstance(nodes, dict) or not nodes or not all(isinstance(node, dict) for node in nodes.values()):
        raise InputError(f"{option}={nodes!r}: choices in conf/scorer expected, as scorer@{option}=[NAME,…]")
    return {name: build(node) for name, node in nodes.items()}


def score_texts(scorer: Scorer, texts: Sequence[str], cache: ScoreCache | None) -> Array:
    """Score texts, through the cache if there is one: (N,) in [0, 1], float64."""
    scores: Array = (cache.scores(scorer, texts) if cache else scorer(texts)).double().numpy()
    return scores


def mean_interval(values: Array, seed: int = 0) -> dict[str, Any]:
    """Estimate a mean with its 95 % bootstrap interval over texts, as plain values."""
    return asdict(bootstrap_interval([values], PromptMetric.statistic, seed=seed))


def read_comparison(folders: Sequence[Path]) -> Comparison:
    """Read finished runs as one comparison; unfinished ones are named on standard error.

    Raises:
        InputError: If there is no finished run, or the runs cannot be in one table.
    """
    finished, unfinished = find_runs(folders)
    for folder in unfinished:
        print(f"not finished, left out: {escape_terminal(str(folder))}", file=sys.stderr)
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
    text = metric_interval(metric, measurement.interval)
    return text if measurement.sd is None else f"{text} ±{metric_number(metric, measurement.sd)}"


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
        show(table(comparison))
        if picture is not None and figure is not None:
            write_png(picture, figure(comparison))
    except InputError as error:
        sys.exit(f"Error: {error}")
