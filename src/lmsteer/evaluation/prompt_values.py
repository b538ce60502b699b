"""The values of single prompts behind ``metrics.json``: what intervals and paired tests are made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.storage.atomic_files import atomic_write

KEY = "lmsteer"


@dataclass(frozen=True)
class PromptValues:
    """What one row of a result measured for each prompt.

    Attributes:
        prompts: Texts of the prompts, in the order of the values; distinct.
        values: By name of the metric: (prompts,), or (prompts, columns) where a statistic has several, float64.
    """

    prompts: tuple[str, ...]
    values: dict[str, Tensor]


def write_values(path: Path, rows: Sequence[PromptValues]) -> None:
    """Write the values of all rows of a result, in its order; the same values give the same bytes."""
    tensors = {f"{i}/{name}": v.contiguous() for i, row in enumerate(rows) for name, v in row.values.items()}
    sets = list(dict.fromkeys(row.prompts for row in rows))
    known = {"prompts": sets, "rows": [sets.index(row.prompts) for row in rows]}
    data = save(tensors, metadata={KEY: json.dumps(known, ensure_ascii=False)})
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def read_values(path: Path) -> list[PromptValues]:
    """Read what ``write_values`` wrote.

    Raises:
        InputError: If the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            known = json.loads((file.metadata() or {})[KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        sets = [tuple(prompts) for prompts in known["prompts"]]
        rows = [PromptValues(sets[place], {}) for place in known["rows"]]
        for key, tensor in tensors.items():
            number, _, name = key.partition("/")
            rows[int(number)].values[name] = tensor
    except (OSError, SafetensorError, KeyError, IndexError, ValueError, TypeError) as error:
        raise InputError(f"{path}: missing or damaged; evaluate the run again") from error
    return rows
