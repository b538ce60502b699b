"""Cache what methods tune by all that it depends on, so that two methods which tune the same adapter fit it once."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError
from lmsteer.storage.atomic_files import atomic_write, is_complete

Tuned = tuple[dict[str, Tensor], dict[str, Any]]
"""Weights by name, and the curve of their training."""
KEY = "fit"


class FitCache:
    """Tuned weights in a folder that any number of processes may share; they are those of a fit of their own.

    Args:
        folder: Folder of the cache. None: no cache.

    Attributes:
        saved_seconds: Seconds that the fits have taken whose weights were read instead: part of the cost of a method.

    Example:
        >>> weights, curve = FitCache().tuned(["all inputs"], lambda: ({"w": torch.ones(2)}, {"train": [[1, 5.0]]}))
        >>> weights["w"].tolist(), curve
        ([1.0, 1.0], {'train': [[1, 5.0]]})
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder, self.saved_seconds = folder, 0.0

    def tuned(self, inputs: object, fit: Callable[[], Tuned], process_group: ProcessGroup | None = None) -> Tuned:
        """Return what ``fit`` returns, or returned for the same inputs before.

        Args:
            inputs: All that the weights depend on besides the code; their ``repr`` identifies them.
            process_group: Processes that fit together, all of which call this; None: one.

        Raises:
            InputError: As ``fit`` does; if the folder cannot be written to, or a file in it is damaged.
        """
        if self.folder is None:
            return fit()
        group = process_group or ProcessGroup()
        known = (inputs, group.size, torch.get_num_threads(), torch.__version__, _code())
        path = self.folder / f"{hashlib.sha256(repr(known).encode()).hexdigest()[:24]}.safetensors"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")) if group.is_rank_zero else nullcontext():
                if group.broadcast(is_complete(path)):
                    return self._read(path)
                start = time.perf_counter()
                weights, curve = fit()
                if group.is_rank_zero:
                    _write(path, weights, {"curve": curve, "seconds": time.perf_counter() - start})
                return weights, curve
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InputError(f"cache={self.folder.parent}: {reason}; another folder or off expected") from error

    def _read(self, path: Path) -> Tuned:
        try:
            with safe_open(path, framework="np") as file:
                entry = json.loads(file.metadata()[KEY])
            weights, curve = load_file(path), dict(entry["curve"])
            self.saved_seconds += float(entry["seconds"])
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: damaged; delete it, and it is fitted again") from error
        return weights, curve


def _write(path: Path, weights: Mapping[str, Tensor], entry: Mapping[str, Any]) -> None:
    with atomic_write(path) as temporary:
        save_file({name: w.contiguous() for name, w in weights.items()}, temporary, metadata={KEY: json.dumps(entry)})


@cache
def _code() -> str:
    """Return the sha256 of the sources of this package, on which weights depend as on any option."""
    state = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        state.update(path.read_bytes())
    return state.hexdigest()
