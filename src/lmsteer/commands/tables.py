"""Put finished runs side by side: tables in the layout of the paper, and a figure of what control costs.

python -m src.tables RUN…
"""

import argparse
import re
import sys
from pathlib import Path

from hydra.errors import HydraException

from lmsteer.cli.configuration import one_line
from lmsteer.cli.rescore import rescore
from lmsteer.cli.signals import terminable
from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import find_runs, read_run
from lmsteer.reporting.comparison import Comparison, compare_runs
from lmsteer.reporting.comparison_formats import html, latex, long_csv, markdown
from lmsteer.reporting.comparison_tables import blocks
from lmsteer.reporting.pareto import pareto
from lmsteer.reporting.plots import to_png
from lmsteer.reporting.published import published
from lmsteer.scoring.cache import score_cache
from lmsteer.storage.atomic_files import atomic_write, atomic_write_lines

FILES = ("table.md", "table.tex", "table.html", "table.csv", "pareto.png")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 0, or 1 after one line on what is wrong."""
    options = _parser().parse_args(arguments)
    try:
        with terminable():
            print(tables(options))
    except (InputError, HydraException, OSError) as error:
        print(f"Error: {one_line(error)}", file=sys.stderr)
        return 1
    return 0


def tables(options: argparse.Namespace) -> str:
    """Write the files; return the table as Markdown."""
    finished, unfinished = find_runs(options.runs)
    for folder in unfinished:
        print(f"not finished, left out: {folder}", file=sys.stderr)
    runs = [read_run(folder) for folder in finished]
    scores = score_cache(options.scores)
    for name, file in options.rescore:
        runs.append(read_run(rescore(runs[0], name, file, options.out / "rescored" / name, scores=scores)))
    found = compare_runs(runs, against=options.against)
    return write(options.out, found, with_published=options.published == "auto")


def write(out: Path, found: Comparison, *, with_published: bool) -> str:
    """Write every format into a folder."""
    laid_out, picture = blocks(found, published() if with_published else None), pareto(found)
    text = markdown(laid_out)
    title = f"Tables: {found.protocol.get('name')}"
    out.mkdir(parents=True, exist_ok=True)
    page = html(laid_out, title=title, picture=picture)
    for name, content in zip(FILES, (text, latex(laid_out), page, long_csv(found)), strict=False):
        atomic_write_lines(out / name, content.rstrip("\n").split("\n"))
    if picture is not None:
        with atomic_write(out / "pareto.png") as temporary:
            temporary.write_bytes(to_png(picture))
    else:
        (out / "pareto.png").unlink(missing_ok=True)
    return f"{text}\n\ntables: {out.resolve() / 'table.html'}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m src.tables",
        description="Put finished runs side by side. Rows that differ by the training seed alone are averaged, changes "
        "are tested prompt by prompt, and runs of different protocols are refused.",
        epilog=f"Written: {', '.join(FILES)}.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="a run folder, or one whose subfolders are")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("runs/tables"), help="default: %(default)s")
    parser.add_argument(
        "--rescore",
        metavar="NAME=FILE",
        action="append",
        default=[],
        type=_named_file,
        help="a file of generations on the same prompts, ours or a plain DExperts or LM-Steer one: scored as the first "
        "RUN was, and shown as NAME; may be given several times",
    )
    parser.add_argument(
        "--scores",
        metavar="auto|off|FOLDER",
        default="auto",
        help="where scores of --rescore are kept, so that nothing is scored twice; auto: the user's cache",
    )
    parser.add_argument(
        "--published", choices=("auto", "none"), default="auto", help="published figures in a block apart, or none"
    )
    parser.add_argument(
        "--against",
        metavar="METHOD[/ROW]",
        default="",
        help="compare with this row instead of the plain model; ROW is its strength or budget, as in 'lm-steer/kl 0.3'",
    )
    return parser


def _named_file(text: str) -> tuple[str, Path]:
    name, _, file = text.partition("=")
    if not file or name == "plain" or not re.fullmatch(r"[^./\\][^/\\]*", name):
        raise argparse.ArgumentTypeError(f"{text}: NAME=FILE expected, NAME without / and not plain")
    return name, Path(file)
