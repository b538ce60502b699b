"""The table of interference between the dimensions of a steer."""

import itertools

from lmsteer.reporting.text import markdown_table, number
from lmsteer.steering.interference import Interference


def interference_table(interference: Interference) -> str:
    """Write a Markdown table with a line for each pair of dimensions, then the values expected by chance."""
    overlap = f"overlap of the leading {interference.leading} directions,"
    headings = ["dimensions", "cosine of the matrices", f"{overlap} context side", f"{overlap} output side"]
    rows = [
        [
            f"{interference.dimensions[j]}, {interference.dimensions[k]}",
            number(interference.cosine[j][k], 3, signed=True),
            number(interference.context_overlap[j][k], 3),
            number(interference.output_overlap[j][k], 3),
        ]
        for j, k in itertools.combinations(range(len(interference.dimensions)), 2)
    ]
    chance = number(interference.chance_overlap, 3)
    return markdown_table(headings, [*rows, ["by chance", f"±{number(interference.chance_cosine, 3)}", chance, chance]])
