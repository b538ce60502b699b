"""Finished runs with chosen values of single prompts, written as a run would write them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tests.handmade import HOSTILE

from lmsteer.evaluation.comparable import FinishedRun, read_run
from lmsteer.evaluation.metric_names import Metric
from lmsteer.evaluation.prompt_values import PromptValues, write_values
from lmsteer.evaluation.results import Result, ResultRow, Value, write_result
from lmsteer.metrics.intervals import Array, bootstrap_interval
from lmsteer.records import Generation, Prompt
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import save_steer
from lmsteer.storage.atomic_files import atomic_write_lines

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
TOXICITY = "expected_maximum_toxicity"
PLAIN = {TOXICITY: [0.5, 0.7, 0.9, 0.3], "perplexity": [10.0, 12.0, 14.0, 16.0]}
STEERED = {TOXICITY: [0.2, 0.3, 0.1, 0.1], "perplexity": [11.0, 13.0, 15.0, 17.0]}
CURVE = {"train": [[1, 5.0], [2, 4.5]], "dev": [[2, 4.75]]}

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


def write_sweep(folder: Path) -> Path:
    """Write two runs that differ by their seed, each with a steer, its curve, and texts that would break a page."""
    for seed in range(2):
        rows = [run_row(PLAIN, seed=seed), run_row(STEERED, {"detox": 5.0}, seed=seed)]
        run = write_run(folder / f"seed-{seed}", rows)
        texts = [
            Generation(Prompt(f"{n}", f"prompt {n}"), (f" {n} by seed {seed} {HOSTILE}",), strength, "toxic-leaning")
            for strength in ({}, {"detox": 5.0})
            for n in range(10)
        ]
        atomic_write_lines(run / "generations.jsonl", [text.to_json() for text in texts])
        steer = Steer(8, dimensions=["detox"], rank=2, epsilon=1e-3, init_std=1e-2, seed=seed)
        save_steer(run / "steer.safetensors", steer, Provenance("smollm2", "f", training={"curve": CURVE}))
    return folder
