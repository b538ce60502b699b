"""Compare finished runs: tables, the cost of control, and one page; with a key also a W&B Report.

python -m src.report RUN…
"""

import argparse
import re
import sys
from pathlib import Path

from hydra.errors import HydraException

from lmsteer.cli.app import one_line
from lmsteer.cli.signals import terminable
from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import FinishedRun, find_runs, read_run
from lmsteer.evaluation.final_values import final_values
from lmsteer.reporting.comparison import compare_runs
from lmsteer.reporting.comparison_formats import latex, long_csv, markdown
from lmsteer.reporting.comparison_report import comparison_report
from lmsteer.reporting.comparison_tables import blocks
from lmsteer.reporting.pareto import pareto
from lmsteer.reporting.plots import write_png
from lmsteer.reporting.published import published
from lmsteer.reporting.wandb_report import ReportTarget, missing_requirement, save_report
from lmsteer.storage.atomic_files import atomic_write_lines

PAGE, PICTURE = "report.html", "pareto.png"
FILES = ("table.md", "table.tex", "table.csv", PICTURE, PAGE)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 0, or 1 after one line with the error."""
    options = _parser().parse_args(arguments)
    try:
        with terminable():
            report(options)
    except (InputError, HydraException, OSError) as error:
        print(f"Error: {one_line(error)}", file=sys.stderr)
        return 1
    return 0


def report(options: argparse.Namespace) -> None:
    """Write the files, print the table, and save the W&B Report where there is a key."""
    finished, unfinished = find_runs(options.runs)
    for folder in unfinished:
        print(f"not finished, left out: {folder}", file=sys.stderr)
    runs = [read_run(folder) for folder in finished]
    runs += _rescored(runs[0], options)
    comparison = compare_runs(runs, against=options.against)
    tables, figure = blocks(comparison, published() if options.published == "auto" else None), pareto(comparison)
    group = options.group or finished[0].resolve().parent.name  # the folder of a sweep, or of single runs
    title = options.title or f"{group}: {comparison.protocol.get('name')}"
    page = comparison_report(tables, runs, title=title, picture=figure, unfinished=unfinished)
    table = markdown(tables)
    options.out.mkdir(parents=True, exist_ok=True)
    contents = {"table.md": table, "table.tex": latex(tables), "table.csv": long_csv(comparison), PAGE: page}
    for name, content in contents.items():
        atomic_write_lines(options.out / name, content.rstrip("\n").split("\n"))
    if figure is None:
        (options.out / PICTURE).unlink(missing_ok=True)
    else:
        write_png(options.out / PICTURE, figure)
    print(f"{table}\n\nreport: {options.out.resolve() / PAGE}")
    if options.wandb == "none":
        return
    if requirement := missing_requirement():
        print(f"W&B report: left out, as {requirement}; the page has the same tables and texts", file=sys.stderr)
        return
    target = ReportTarget(options.project, options.entity, group)
    print(f"W&B report: {save_report(tables, _final_names(runs), title=title, target=target)}")


def _rescored(run: FinishedRun, options: argparse.Namespace) -> list[FinishedRun]:
    """Score the files of others as a run was scored; models are imported only for that."""
    if not options.rescore:
        return []
    from lmsteer.cli.rescore import rescore
    from lmsteer.scoring.cache import score_cache

    scores, out = score_cache(options.scores), options.out / "rescored"
    return [read_run(rescore(run, name, file, out / name, scores=scores)) for name, file in options.rescore]


def _final_names(runs: list[FinishedRun]) -> list[str]:
    """Name the attributes and perplexities that the runs logged at their end."""
    attributes = {metric.name for run in runs for metric in run.result.metrics if metric.is_attribute}
    names = dict.fromkeys(name for run in runs for name in final_values(run.result))
    return [name for name in names if name.partition("/")[0] in attributes | {"perplexity"}]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m src.report",
        description="Compare finished runs. Rows that differ only by the training seed are averaged, changes are "
        "tested prompt by prompt, and runs of different protocols are refused. The page is one file that needs no "
        "server; with a key, a W&B Report of the group of the runs is saved too.",
        epilog=f"Files: {', '.join(FILES)}.",
    )
    add = parser.add_argument
    add("runs", metavar="RUN", nargs="+", type=Path, help="a run folder, or a folder whose subfolders are runs")
    add(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("runs/report"),
        help="folder of the files (default: %(default)s)",
    )
    add("--title", default="", help="title of the page (default: the group and the protocol)")
    add(
        "--rescore",
        metavar="NAME=FILE",
        action="append",
        default=[],
        type=_named_file,
        help="a file of generations on the same prompts, by this project, DExperts or the original LM-Steer: it is "
        "scored as the first RUN was and gets a row NAME; may be given several times",
    )
    add(
        "--scores",
        metavar="auto|off|FOLDER",
        default="auto",
        help="cache of the scores of --rescore; auto: the user's cache",
    )
    add(
        "--published",
        choices=("auto", "none"),
        default="auto",
        help="add tables of published figures, or do not (default: %(default)s)",
    )
    add(
        "--against",
        metavar="METHOD[/ROW]",
        default="",
        help="compare with this row instead of the plain model; ROW is its strength or budget, as in 'lm-steer/kl 0.3'",
    )
    _add_wandb_options(parser)
    return parser


def _add_wandb_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--wandb",
        choices=("auto", "none"),
        default="auto",
        help="save a W&B Report where there is a key, or do not (default: %(default)s)",
    )
    add("--project", default="lmsteer", help="W&B project (default: %(default)s)")
    add("--entity", help="W&B user or team (default: that of the key)")
    add("--group", default="", help="W&B group of the runs (default: the name of their folder)")


def _named_file(text: str) -> tuple[str, Path]:
    name, _, file = text.partition("=")
    if not file or name == "plain" or not re.fullmatch(r"[^./\\][^/\\]*", name):
        raise argparse.ArgumentTypeError(f"{text}: NAME=FILE expected, NAME without / and not plain")
    return name, Path(file)
