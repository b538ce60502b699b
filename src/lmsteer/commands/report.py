"""One page over finished runs: tables, what control costs, curves and texts of each; and the same as a W&B Report.

python -m src.report RUN…
"""

import argparse
import sys
from pathlib import Path

from lmsteer.cli.configuration import one_line
from lmsteer.cli.signals import terminable
from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import FinishedRun, find_runs, read_run
from lmsteer.reporting.comparison import compare_runs
from lmsteer.reporting.comparison_report import overview
from lmsteer.reporting.comparison_tables import blocks
from lmsteer.reporting.pareto import pareto
from lmsteer.reporting.published import published
from lmsteer.reporting.tracking import final_values
from lmsteer.reporting.wandb_report import Place, save_report, why_not
from lmsteer.storage.atomic_files import atomic_write_lines


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 0, or 1 after one line on what is wrong."""
    options = _parser().parse_args(arguments)
    try:
        with terminable():
            report(options)
    except (InputError, OSError) as error:
        print(f"Error: {one_line(error)}", file=sys.stderr)
        return 1
    return 0


def report(options: argparse.Namespace) -> None:
    """Write the page; save the W&B Report where there is a key."""
    finished, unfinished = find_runs(options.runs)
    runs = [read_run(folder) for folder in finished]
    found = compare_runs(runs, against=options.against)
    tables = blocks(found, published() if options.published == "auto" else None)
    place = Place(options.project, options.entity, options.group or _common_folder(finished).name)
    title = options.title or f"{place.group}: {found.protocol.get('name')}"
    page = overview(tables, runs, title=title, picture=pareto(found), unfinished=unfinished)
    options.out.mkdir(parents=True, exist_ok=True)
    atomic_write_lines(options.out / "report.html", page.rstrip("\n").split("\n"))
    print(f"report: {(options.out / 'report.html').resolve()}")
    if options.wandb == "none":
        return
    if reason := why_not():
        print(f"W&B report: left out, as {reason}; the page has the same tables, curves and texts", file=sys.stderr)
        return
    print(f"W&B report: {save_report(tables, _finals(runs), title=title, place=place)}")


def _common_folder(runs: list[Path]) -> Path:
    """The folder that holds the first run: a sweep's, or that of single runs."""
    return runs[0].resolve().parent


def _finals(runs: list[FinishedRun]) -> list[str]:
    """Names of the attributes and perplexities that the runs logged at their end."""
    attributes = {metric.name for run in runs for metric in run.result.metrics if metric.is_attribute}
    names = dict.fromkeys(name for run in runs for name in final_values(run.result))
    return [name for name in names if name.partition("/")[0] in attributes | {"perplexity"}]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m src.report",
        description="One page over finished runs, in one file that needs no server; with a key also a W&B Report of "
        "the group that they were logged in.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="a run folder, or one whose subfolders are")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("runs/report"), help="default: %(default)s")
    parser.add_argument("--title", default="", help="default: the group and the protocol")
    parser.add_argument(
        "--published", choices=("auto", "none"), default="auto", help="published figures in a block apart, or none"
    )
    parser.add_argument("--against", metavar="METHOD[/ROW]", default="", help="as for src.tables")
    parser.add_argument(
        "--wandb", choices=("auto", "none"), default="auto", help="save a W&B Report where there is a key, or do not"
    )
    parser.add_argument("--project", default="lmsteer", help="W&B project (default: %(default)s)")
    parser.add_argument("--entity", help="W&B user or team (default: the key's own)")
    parser.add_argument("--group", default="", help="group of the runs (default: the folder that holds them)")
    return parser
