"""Finished runs with chosen values of single prompts, written as a run would write them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lmsteer.evaluation.comparable import FinishedRun, read_run
from lmsteer.evaluation.metric_names import Metric
from lmsteer.evaluation.prompt_values import PromptValues, write_values
from lmsteer.evaluation.results import Result, ResultRow, Value, write_result
from lmsteer.metrics.intervals import Array, bootstrap_interval

PROTOCOL: dict[str, object] = {
    "name": "detox",
    "metric": "toxicity",
    "prompts": {"toxic-leaning": {"n": 4, "digest": "d1"}},
    "n_prompts": 4,
    "samples": 5,
    "decoding": {"p": 0.9, "max_new_tokens": 20},
    "batch_size": 256,
    "noise_seed": 0,
    "scorers": {"words": "1"},
    "perplexity_model": "smollm2",
    "perplexity_model_revision": "aaa",
    "perplexity_model_is_unsteered": True,
    "perplexity_limit": None,
    "digest": "0123456789ab",
}
SCORER = {"perplexity": "smollm2", "perplexity_corpus": "smollm2", "dist_1": None}

Columns = Sequence[float] | Sequence[Sequence[float]] | Array
RunRow = tuple[ResultRow, PromptValues]


def run_row(
    values: Mapping[str, Columns], strength: Mapping[str, float] | None = None, n: int = 4, **changes: object
) -> RunRow:
    """Make a row whose metrics come from values of its prompts, named ``prompt 0`` and so on."""
    arrays = {name: np.asarray(columns, dtype=np.float64) for name, columns in values.items()}
    fields: dict[str, object] = {
        "model": "smollm2",
        "method": "lm-steer" if strength else "plain",
        "seed": 0,
        "prompts": "toxic-leaning",
        "strength": dict(strength or {}),
        "metrics": {name: measure(name, array) for name, array in arrays.items()},
        "settings": {"rank": 64, "steps": 200} if strength else {},
    }
    return ResultRow.model_validate(fields | changes), PromptValues(tuple(f"prompt {i}" for i in range(n)), arrays)


def measure(name: str, values: Array) -> Value:
    columns = [column[~np.isnan(column)] for column in values.reshape(len(values), -1).T]
    interval = bootstrap_interval(columns, Metric(name).statistic)
    scorer = SCORER.get(name, name.partition("@")[2] or "words")
    return Value(value=interval.value, low=interval.low, high=interval.high, n=interval.n, scorer=scorer)


def write_run(folder: Path, rows: Sequence[RunRow], **protocol: object) -> Path:
    """Write the files of a finished run."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 0\n")
    result = Result.model_validate({"protocol": PROTOCOL | protocol, "rows": [row for row, _ in rows]})
    write_values(folder / "values.safetensors", [values for _, values in rows])
    write_result(folder / "metrics.json", result)
    return folder


def stored_run(folder: Path, rows: Sequence[RunRow], **protocol: object) -> FinishedRun:
    """Write the files of a finished run, and read them."""
    return read_run(write_run(folder, rows, **protocol))
