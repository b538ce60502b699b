"""Finished runs as their folders hold them, and whether they may stand in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from lmsteer.errors import InputError
from lmsteer.evaluation.metric_names import Metric
from lmsteer.evaluation.prompt_values import PromptValues, read_values
from lmsteer.evaluation.results import Result, read_result
from lmsteer.metrics.classes import CorpusPerplexity, PromptMetric
from lmsteer.metrics.intervals import Statistic
from lmsteer.metrics.paired_test import Sample

METRICS, VALUES = "metrics.json", "values.safetensors"
DECIDING = ("metric", "samples", "scorers", "perplexity_model_revision", "perplexity_limit")
"""What two protocols must have in common, beside the prompts of the sets that both have."""
UNKNOWN = ("decoding", "batch_size", "noise_seed")
"""The same, but null where texts come from elsewhere: unknown, which nothing contradicts."""


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: its result, and for each row of it the values of single prompts."""

    folder: Path
    result: Result
    values: list[PromptValues]

    def sample(self, row: int, metric: str) -> Sample:
        """What a row measured for each prompt."""
        measured = self.values[row].values[metric].numpy()
        return Sample(self.values[row].prompts, tuple(measured.reshape(len(measured), -1).T.astype(np.float64)))


def statistic_of(metric: Metric) -> Statistic:
    """How a metric comes from its values of single prompts."""
    return CorpusPerplexity.statistic if metric.base == "perplexity_corpus" else PromptMetric.statistic


def find_runs(folders: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Finished runs, and unfinished ones beside them; each folder is a run, or one whose subfolders are.

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
        inside = _subfolders(folder)
        found = [run for run in inside if _is_finished(run)]
        if not found:
            raise InputError(f"{folder}: no {METRICS} there or in its subfolders; a finished run is expected")
        finished.update(dict.fromkeys(found))
        # A folder of runs, as of an earlier table's rescored files, is no run itself.
        unfinished += [run for run in inside if run not in found and not any(map(_is_finished, _subfolders(run)))]
    return list(finished), unfinished


def _is_finished(folder: Path) -> bool:
    return (folder / METRICS).is_file()


def _subfolders(folder: Path) -> list[Path]:
    return [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]


def read_run(folder: Path) -> FinishedRun:
    """Read a finished run.

    Raises:
        InputError: If a file is missing or damaged, or the two do not belong together.
    """
    result, values = read_result(folder / METRICS), read_values(folder / VALUES)
    same = len(values) == len(result.rows) and all(
        row.metrics.keys() == own.values.keys() and all(len(v) == len(own.prompts) for v in own.values.values())
        for row, own in zip(result.rows, values, strict=True)
    )
    if not same:
        raise InputError(f"{folder / VALUES}: it is not of the {METRICS} beside it; evaluate the run again")
    return FinishedRun(folder, result, values)


def refuse_mixed(runs: Sequence[FinishedRun]) -> None:
    """Refuse runs that were not measured in the same way.

    Raises:
        InputError: Names the first two such runs and what differs.
    """
    for number, run in enumerate(runs):
        for other in runs[:number]:
            if differing := differences(other.result.protocol, run.result.protocol):
                raise InputError(
                    f"{other.folder} and {run.folder} were measured by different protocols: {', '.join(differing)}; "
                    "make a table of each"
                )


def differences(first: dict[str, JsonValue], second: dict[str, JsonValue]) -> list[str]:
    """What of two protocols forbids a common table."""
    found = [key for key in DECIDING if first.get(key) != second.get(key)]
    found += [key for key in UNKNOWN if None not in (first.get(key), second.get(key)) and first[key] != second[key]]
    one, two = (_prompt_sets(protocol) for protocol in (first, second))
    shared = one.keys() & two.keys()
    if not shared:
        found.append(f"prompts ({', '.join(one) or 'none'}; {', '.join(two) or 'none'})")
    return found + [f"prompts {name}" for name in sorted(shared) if one[name] != two[name]]


def _prompt_sets(protocol: dict[str, JsonValue]) -> dict[str, JsonValue]:
    sets = protocol.get("prompts")
    return sets if isinstance(sets, dict) else {}
