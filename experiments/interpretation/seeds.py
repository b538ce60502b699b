"""Whether other training seeds find the same directions.

python -m experiments.interpretation.seeds STEER STEER [STEER…]

Shapes: D width, R directions.
"""

import sys
from itertools import combinations
from pathlib import Path

from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.reporting.interpretation_report import fraction
from lmsteer.steering.directions import Directions, randomized
from lmsteer.steering.steer_file import load_steer

SHOWN = 5
"""Directions that are looked for."""


def alike(one: Directions, other: Directions) -> Tensor:
    """How near the nearest direction of the other steer is to each of the first ones, in [0, 1].

    Two directions are as near as the matrices ``u v^T`` and ``u' v'^T``, by the absolute value of their cosine.
    """
    near_RR = (one.output_DR.T @ other.output_DR) * (one.context_DR.T @ other.context_DR)
    return near_RR[:SHOWN].abs().amax(1)


def main(paths: list[Path]) -> str:
    """A table of Markdown: every pair, and what random matrices of the same singular values have."""
    found = [load_steer(path)[0].directions(0) for path in paths]
    rows = [["steers", *(f"direction {i}" for i in range(1, SHOWN + 1))]]
    rows.append(["---", *["---:"] * SHOWN])
    for one, other in combinations(range(len(paths)), 2):
        rows.append([f"{one}, {other}", *map(fraction, alike(found[one], found[other]).tolist())])
    by_chance = alike(found[0], randomized(found[1], 0))
    rows.append(["0, a random matrix", *map(fraction, by_chance.tolist())])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python -m experiments.interpretation.seeds STEER STEER [STEER…]")
    try:
        print(main([Path(argument) for argument in sys.argv[1:]]))
    except InputError as error:
        sys.exit(f"Error: {error}")
