"""Tables and input files of the interpretation study: python -m experiments.interpretation.run COMMAND FILE….

    runs RUN…          table of runs of src.interpret
    seeds STEER STEER… table of the agreement of directions between training seeds
    split STEER OUT    steer file whose dimensions are the steer, its first direction and its other directions
    labels RTP OUT     stored toxicity scores as a labeled file for corpus=file

Shapes: D width, R directions.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from torch import Tensor

from lmsteer.analysis.interpretation_file import Interpretation, read_interpretation
from lmsteer.cli.terminal import show
from lmsteer.errors import InputError
from lmsteer.reporting.text import MISSING, interval, markdown_table, number
from lmsteer.scoring.replay import read_scores
from lmsteer.steering.directions import Directions, randomized
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer, save_steer
from lmsteer.storage.atomic_files import atomic_write_lines

LEADING = 5
"""Directions of a steer that are searched for in another one."""


def runs_table(*folders: Path) -> str:
    """Write a row for each run of src.interpret."""
    headings = [
        "dimension",
        "texts",
        "n",
        "effective rank",
        "AUC",
        "of direction 1",
        "as a constant",
        "random matrices",
    ]
    return markdown_table(headings, [_run_row(read_interpretation(run / "interpretation.json")) for run in folders])


def _run_row(interpretation: Interpretation) -> list[str]:
    facts, chance = interpretation.facts, interpretation.chance
    dimension = str(facts["dimension"])
    return [
        f"{dimension} of {facts['fitted_on']}" if dimension == "dummy" else dimension,
        f"{facts['corpus']}, {facts['part']}",
        f"{facts['plus']} + {facts['minus']}",
        number(interpretation.effective_rank, 1),
        interval(interpretation.cumulative_auc[-1].auc),
        interval(interpretation.cumulative_auc[0].auc),
        interval(interpretation.as_constant),
        f"{number(chance.low[-1])} to {number(chance.high[-1])}" if chance else MISSING,
    ]


def seeds_table(first: Path, second: Path, *others: Path) -> str:
    """Write the agreement of every pair of steers, and of a random matrix with the second one's singular values."""
    steers = [load_steer(path)[0].directions(0) for path in (first, second, *others)]
    pairs = {f"{i}, {j}": (steers[i], steers[j]) for i, j in combinations(range(len(steers)), 2)}
    pairs["0, a random matrix"] = (steers[0], randomized(steers[1], 0))
    leading = min(LEADING, *(len(directions.sizes_R) for directions in steers))
    rows = [[label, *map(number, nearest_direction(*pair)[:leading].tolist())] for label, pair in pairs.items()]
    return markdown_table(["steers", *(f"direction {i}" for i in range(1, leading + 1))], rows)


def nearest_direction(steer: Directions, other: Directions) -> Tensor:
    """Measure how near the nearest direction of another steer is to each leading direction of a steer, in [0, 1].

    The measure is the absolute cosine of the matrices ``u v^T`` and ``u' v'^T``.
    """
    cosine_RR = (steer.output_DR.T @ other.output_DR) * (steer.context_DR.T @ other.context_DR)
    return cosine_RR[:LEADING].abs().amax(1)


def split_steer(steer: Steer) -> Steer:
    """Return a steer of three dimensions: the first one unchanged, its first direction, and its other directions.

    Raises:
        InputError: If the steer has a bias.
    """
    if steer.bias is not None:
        raise InputError("the steer has a bias, which has no directions; a steer of form=matrix expected")
    directions = steer.directions(0)
    context_DR, output_DR = (directions.context_DR * directions.sizes_R).float(), directions.output_DR.float()
    factors = {"first": (context_DR[:, :1], output_DR[:, :1]), "rest": (context_DR[:, 1:], output_DR[:, 1:])}
    return Steer.from_factors({steer.dimensions[0]: steer.factors(0), **factors}, epsilon=steer.epsilon)


def write_split(source: Path, out: Path) -> str:
    """Write the split steer of a steer file; return the path."""
    steer, provenance = load_steer(source)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    derivation = {"kind": "parts", "source": digest}
    save_steer(out, split_steer(steer), replace(provenance, calibration=[], derivation=derivation))
    return str(out)


def write_labels(source: Path, out: Path) -> str:
    """Write each text that has a stored score, with a label from 1 (not toxic) to -1 (toxic); return the path."""
    scores = read_scores(source, "toxicity")
    lines = (json.dumps({"text": text, "label": 1 - 2 * score}, ensure_ascii=False) for text, score in scores.items())
    atomic_write_lines(out, lines)
    return str(out)


COMMANDS: dict[str, tuple[Callable[..., str], range]] = {
    "runs": (runs_table, range(1, sys.maxsize)),
    "seeds": (seeds_table, range(2, sys.maxsize)),
    "split": (write_split, range(2, 3)),
    "labels": (write_labels, range(2, 3)),
}
"""Functions of the commands, and how many files each takes."""


def main(arguments: Sequence[str]) -> None:
    """Run a command and print its table or path."""
    name, *files = arguments or [""]
    command, allowed = COMMANDS.get(name, (None, range(0)))
    if command is None or len(files) not in allowed:
        sys.exit("usage: python -m experiments.interpretation.run runs RUN… | seeds STEER STEER… | split|labels IN OUT")
    try:
        show(command(*map(Path, files)))
    except (InputError, OSError) as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
