"""Table and picture of a run folder: python -m experiments.embedded.report RUN [PICTURE.png]."""

import sys
from pathlib import Path

from lmsteer.evaluation.results import read_result
from lmsteer.reporting.plots import strength_curve, to_png
from lmsteer.reporting.result_table import markdown_table


def main(run: Path, picture: Path | None) -> None:
    """Print the Markdown table of a run; write its strength curve where a path is given."""
    result = read_result(run / "metrics.json")
    print(markdown_table(result))
    figure = strength_curve(result)
    if picture is not None and figure is not None:
        picture.write_bytes(to_png(figure))


if __name__ == "__main__":
    paths = [Path(argument) for argument in sys.argv[1:]]
    if not 1 <= len(paths) <= 2:
        sys.exit("usage: python -m experiments.embedded.report RUN [PICTURE.png]")
    main(paths[0], paths[1] if len(paths) == 2 else None)
