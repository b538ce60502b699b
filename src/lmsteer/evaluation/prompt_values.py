"""Read and write the values for each prompt, from which intervals and paired tests are computed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lmsteer.errors import InputError
from lmsteer.metrics.intervals import Array
from lmsteer.storage.atomic_files import atomic_write

KEY = "lmsteer"


@dataclass(frozen=True)
class PromptValues:
    """The values of one row of a result for each prompt.

    Attributes:
        prompts: Distinct texts of the prompts, in the order of the values.
        values: Values by name of the metric, float64: (prompts,), or (prompts, columns) for a statistic of columns.
    """

    prompts: tuple[str, ...]
    values: dict[str, Array]


def write_values(path: Path, rows: Sequence[PromptValues]) -> None:
    """Write the values of all rows of a result, in its order, deterministically."""
    arrays = {f"{i}/{name}": np.ascontiguousarray(v) for i, row in enumerate(rows) for name, v in row.values.items()}
    sets = list(dict.fromkeys(row.prompts for row in rows))
    index = {"prompts": sets, "rows": [sets.index(row.prompts) for row in rows]}
    data = save(arrays, metadata={KEY: json.dumps(index, ensure_ascii=False)})
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def read_values(path: Path) -> list[PromptValues]:
    """Read the values of all rows of a result.

    Raises:
        InputError: If the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="np") as file:
            index = json.loads((file.metadata() or {})[KEY])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        sets = [tuple(prompts) for prompts in index["prompts"]]
        rows = [PromptValues(sets[number], {}) for number in index["rows"]]
        for key, array in arrays.items():
            row, _, name = key.partition("/")
            rows[int(row)].values[name] = array
    except (OSError, SafetensorError, KeyError, IndexError, ValueError, TypeError) as error:
        raise InputError(f"{path}: missing or damaged; evaluate the run again") from error
    return rows
