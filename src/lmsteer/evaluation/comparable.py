"""Read finished runs and check whether they can share a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from lmsteer.errors import InputError
from lmsteer.evaluation.prompt_values import PromptValues, read_values
from lmsteer.evaluation.results import Result, read_result
from lmsteer.evaluation.run_files import METRICS, VALUES, check_files
from lmsteer.metrics.paired_test import Sample
from lmsteer.storage.timing import read_seconds

COMPARED = {
    "mode": False,
    "prompts": False,
    "metric": False,
    "samples": False,
    "scorers": False,
    "perplexity_model_revision": False,
    "perplexity_limit": False,
    "decoding": True,
    "batch_size": True,
    "noise_seed": True,
}
"""Entries of a protocol that must agree in one table, each with whether null is unknown and agrees with any value.

Of the prompts, those of the sets that both protocols have must agree. Published recipes have decodings of their own.
"""


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: its result, the values for each prompt of each row, and the seconds of its fit if known."""

    folder: Path
    result: Result
    values: list[PromptValues]
    fit_seconds: float | None = None

    def sample(self, row: int, metric: str) -> Sample:
        """Return the values of a metric for each prompt of a row."""
        values = self.values[row].values[metric]
        return Sample(self.values[row].prompts, tuple(values.reshape(len(values), -1).T.astype(np.float64)))


def find_runs(folders: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Find finished runs, and unfinished runs next to them; each folder is a run or holds runs.

    Raises:
        InputError: If a folder is missing, or holds no finished run.
    """
    finished: dict[Path, None] = {}
    unfinished: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; a run, or a folder of runs, is expected")
        if _is_finished(folder):
            finished[folder] = None
            continue
        subfolders = _subfolders(folder)
        runs = [run for run in subfolders if _is_finished(run)]
        if not runs:
            raise InputError(f"{folder}: no {METRICS} there or in its subfolders; a finished run is expected")
        finished.update(dict.fromkeys(runs))
        # A folder of runs, such as the rescored files of an earlier table, is not a run itself.
        unfinished += [run for run in subfolders if run not in runs and not any(map(_is_finished, _subfolders(run)))]
    return list(finished), unfinished


def _is_finished(folder: Path) -> bool:
    return (folder / METRICS).is_file()


def _subfolders(folder: Path) -> list[Path]:
    return [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]


def read_run(folder: Path) -> FinishedRun:
    """Read a finished run.

    Raises:
        InputError: If a file is missing or damaged, or they do not belong together.
    """
    result, values = read_result(folder / METRICS), read_values(folder / VALUES)
    is_consistent = len(values) == len(result.rows) and all(
        row.metrics.keys() == prompts.values.keys()
        and all(len(v) == len(prompts.prompts) for v in prompts.values.values())
        for row, prompts in zip(result.rows, values, strict=True)
    )
    check_files(folder, result)
    if not is_consistent:
        raise InputError(f"{folder / VALUES}: it does not belong to the {METRICS} next to it; evaluate the run again")
    return FinishedRun(folder, result, values, read_seconds(folder).get("fit"))


def refuse_mixed(runs: Sequence[FinishedRun]) -> None:
    """Refuse runs that were not measured by the same protocol.

    Raises:
        InputError: If two runs differ; names the first two and the differing entries.
    """
    for number, run in enumerate(runs):
        for earlier in runs[:number]:
            if differing := differences(earlier.result.protocol, run.result.protocol):
                raise InputError(
                    f"{earlier.folder} and {run.folder} were measured by different protocols: {', '.join(differing)}; "
                    "make a table of each"
                )


def differences(first: dict[str, JsonValue], second: dict[str, JsonValue]) -> list[str]:
    """List the entries of two protocols that forbid a common table."""

    def differ(key: str, nullable: bool) -> bool:
        pair = first.get(key), second.get(key)
        is_own = key == "decoding" and first.get("mode") == second.get("mode") == "published"
        return pair[0] != pair[1] and not is_own and not (nullable and None in pair)

    keys = [key for key, nullable in COMPARED.items() if key != "prompts" and differ(key, nullable)]
    first_sets, second_sets = _prompt_sets(first), _prompt_sets(second)
    shared = first_sets.keys() & second_sets.keys()
    if not shared:
        keys.append(f"prompts ({', '.join(first_sets) or 'none'}; {', '.join(second_sets) or 'none'})")
    return keys + [f"prompts {name}" for name in sorted(shared) if first_sets[name] != second_sets[name]]


def _prompt_sets(protocol: dict[str, JsonValue]) -> dict[str, JsonValue]:
    sets = protocol.get("prompts")
    return sets if isinstance(sets, dict) else {}
