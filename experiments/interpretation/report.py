"""Runs of src.interpret side by side: python -m experiments.interpretation.report RUN [RUN…]."""

import sys
from pathlib import Path

from lmsteer.analysis.interpretation_file import Interpretation, read_interpretation
from lmsteer.errors import InputError
from lmsteer.reporting.interpretation_report import fraction, interval

HEADINGS = (
    *("dimension", "texts", "n", "effective rank", "AUC", "of direction 1", "as a constant", "random matrices"),
)


def row(found: Interpretation) -> list[str]:
    """What sums up a run."""
    facts, chance = found.facts, found.chance
    fitted = f"{facts['dimension']} of {facts['fitted_on']}" if facts["dimension"] == "dummy" else facts["dimension"]
    return [
        str(fitted),
        f"{facts['corpus']}, {facts['part']}",
        f"{facts['plus']} + {facts['minus']}",
        f"{found.effective_rank:.1f}",
        interval(found.kept[-1].auc),
        interval(found.kept[0].auc),
        interval(found.alike),
        f"{fraction(chance.low[-1])} to {fraction(chance.high[-1])}" if chance else "-",
    ]


def main(folders: list[Path]) -> str:
    """The runs as a table of Markdown, in their order."""
    rows = [row(read_interpretation(folder / "interpretation.json")) for folder in folders]
    lines = [HEADINGS, ["---"] * len(HEADINGS), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python -m experiments.interpretation.report RUN [RUN…]")
    try:
        print(main([Path(argument) for argument in sys.argv[1:]]))
    except InputError as error:
        sys.exit(f"Error: {error}")
