"""Compare finished runs: tables, the cost of control, and one page; with a key also a W&B Report.

python -m src.report runs=RUN
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lmsteer.annotation.annotation_result import read_annotation
from lmsteer.cli.configuration import check_config
from lmsteer.cli.options import OF_COMMAND
from lmsteer.cli.terminal import show
from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import FinishedRun, find_runs, read_run
from lmsteer.evaluation.final_values import final_values
from lmsteer.reporting.annotation_report import with_people
from lmsteer.reporting.annotation_tables import annotation_blocks
from lmsteer.reporting.comparison import compare_rivals, compare_runs
from lmsteer.reporting.comparison_formats import latex, long_csv, markdown
from lmsteer.reporting.comparison_report import comparison_report
from lmsteer.reporting.comparison_rows import Block
from lmsteer.reporting.comparison_tables import blocks
from lmsteer.reporting.measured_speed import MeasuredSpeed, read_speed
from lmsteer.reporting.pareto import pareto
from lmsteer.reporting.plots import write_png
from lmsteer.reporting.published import published
from lmsteer.reporting.wandb_report import ReportTarget, missing_requirement, save_report
from lmsteer.storage.atomic_files import atomic_write_lines

logger = logging.getLogger(__name__)
PAGE, PICTURE = "report.html", "pareto.png"


@dataclass(frozen=True)
class WrittenReport:
    """What a report was made of.

    Attributes:
        group: Name of the folder of the runs, if no other was given.
        runs: The runs, and what was scored as they were.
    """

    title: str
    group: str
    tables: Sequence[Block]
    runs: Sequence[FinishedRun]


def report(cfg: DictConfig) -> None:
    """Write the files, print the table, and save the W&B Report where there is a key."""
    config = check_config(cfg, OF_COMMAND["report"])
    written = write_report(
        [Path(run) for run in ([config["runs"]] if isinstance(config["runs"], str) else config["runs"])],
        Path(config["run_dir"]),
        title=config["title"] or "",
        group=config["group"] or "",
        against=config["against"] or "",
        with_published=config["published"] == "auto",
        rescored=_named_files(config["rescore"] or {}),
        cache=config["cache"],
        speed=read_speed(Path(config["speed"])) if config["speed"] else None,
        annotation=Path(config["annotation"]) if config["annotation"] else None,
    )
    if config["wandb"] == "none":
        return
    if requirement := missing_requirement():
        logger.info("W&B report: left out, as %s; the page has the same tables and texts", requirement)
        return
    target = ReportTarget(config["project"], config["entity"], written.group)
    address = save_report(written.tables, _final_names(written.runs), title=written.title, target=target)
    show(f"W&B report: {address}")


def write_report(
    folders: Sequence[Path],
    out: Path,
    *,
    title: str = "",
    group: str = "",
    against: str = "",
    with_published: bool = True,
    rescored: Mapping[str, Path] | None = None,
    cache: str = "auto",
    speed: MeasuredSpeed | None = None,
    annotation: Path | None = None,
) -> WrittenReport:
    """Write tables, picture and page of finished runs to a folder, and print the table.

    Args:
        folders: Each is a run, or a folder whose subfolders are runs.
        title: Title of the page; empty: the group and the protocol.
        group: Empty: the name of the folder of the first run's folder.
        against: Row that the others are compared with, as ``METHOD`` or ``METHOD/ROW``; empty: the plain model.
        with_published: Whether to add tables of published figures.
        rescored: Files of generations to score as the first run was, by the name of their rows.
        cache: Cache of their scores: ``auto``, ``off`` or a folder.
        speed: What the speed study has measured, for the tables of costs.
        annotation: The ``annotation.json`` of people who judged texts of the runs.

    Raises:
        InputError: If a folder has no finished run, runs were measured by different protocols, or a file is unusable.
    """
    finished, unfinished = find_runs(folders)
    for folder in unfinished:
        logger.warning("not finished, left out: %s", folder)
    runs = [read_run(folder) for folder in finished]
    runs += _rescored(runs[0], rescored or {}, out / "rescored", cache)
    comparison = compare_runs(runs, against=against)
    rivals = None if against else compare_rivals(runs, comparison)
    figure, judged = pareto(comparison), read_annotation(annotation) if annotation else None
    comparison = with_people(comparison, judged) if judged else comparison
    tables = blocks(comparison, published() if with_published else None, rivals, speed)
    tables += annotation_blocks(judged)[:2] if judged else []
    group = group or finished[0].resolve().parent.name  # the folder of a sweep, or of single runs
    title = title or f"{group}: {comparison.protocol.get('name')}"
    page = comparison_report(tables, runs, title=title, picture=figure, unfinished=unfinished)
    table = markdown(tables)
    out.mkdir(parents=True, exist_ok=True)
    contents = {"table.md": table, "table.tex": latex(tables), "table.csv": long_csv(comparison), PAGE: page}
    for name, content in contents.items():
        atomic_write_lines(out / name, content.rstrip("\n").split("\n"))
    if figure is None:
        (out / PICTURE).unlink(missing_ok=True)
    else:
        write_png(out / PICTURE, figure)
    show(f"{table}\n\nreport: {out.resolve() / PAGE}")
    return WrittenReport(title, group, tables, runs)


def _rescored(run: FinishedRun, files: Mapping[str, Path], folder: Path, cache: str) -> list[FinishedRun]:
    """Score the files of others as a run was scored; models are imported only for that."""
    if not files:
        return []
    from lmsteer.cli.rescore import rescore
    from lmsteer.scoring.cache import score_cache

    scores = score_cache(cache)
    return [read_run(rescore(run, name, file, folder / name, scores=scores)) for name, file in files.items()]


def _named_files(files: Mapping[Any, str]) -> dict[str, Path]:
    """Check the names, which are those of rows and of folders; one of digits alone comes as a number."""
    named = {str(name): Path(file) for name, file in files.items()}
    for name in named:
        if name == "plain" or not re.fullmatch(r"[^./\\][^/\\]*", name):
            raise InputError(f"rescore={name}: a name without / or a dot at its start is expected, and not plain")
    return named


def _final_names(runs: Sequence[FinishedRun]) -> list[str]:
    """Name the attributes and perplexities that the runs logged at their end."""
    attributes = {metric.name for run in runs for metric in run.result.metrics if metric.is_attribute}
    names = dict.fromkeys(name for run in runs for name in final_values(run.result))
    return [name for name in names if name.partition("/")[0] in attributes | {"perplexity"}]
