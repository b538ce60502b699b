"""Compare transferred steers with one that was fitted on the model itself, at equal cost, in both directions.

python -m experiments.transfer.run 'steers={states: RUN/steer.safetensors, direct: RUN/steer.safetensors}'
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from omegaconf import DictConfig
from pydantic import Field

from experiments.study import Results, open_run, run_study, write_generations
from experiments.transfer.report import transfer_figure, transfer_tables
from lmsteer.cli.app import entry_point
from lmsteer.cli.configuration import build
from lmsteer.cli.options import NonEmpty
from lmsteer.evaluation.comparable import FinishedRun, read_run, refuse_mixed
from lmsteer.evaluation.plan import Plan
from lmsteer.evaluation.protocol import Protocol
from lmsteer.metrics.intervals import Array, bootstrap_interval
from lmsteer.metrics.paired_test import in_order
from lmsteer.models.language_model import LanguageModel
from lmsteer.runs import stages
from lmsteer.runs.run import Run
from lmsteer.scoring.cache import score_cache
from lmsteer.steering.steer_file import load_steer

TYPES: dict[str, Any] = {"steers": Annotated[dict[NonEmpty, NonEmpty], Field(min_length=1)], "direct": NonEmpty}


def compare_steers(cfg: DictConfig) -> Results:
    """Measure every steer in a subfolder; write ``transfer.json``, ``transfer.md`` and ``transfer.png``."""
    config, run = open_run(cfg, TYPES)
    files = {name: Path(file) for name, file in config["steers"].items()}
    model: LanguageModel = build(config["model"], device=config["device"], dtype=config["dtype"])
    for file in files.values():
        load_steer(file, model)  # refuses a steer of another model

    def compute() -> Results:
        run.begin()
        subfolders = {name: Run(run.path(name), f"steer: {name}\n") for name in files}
        runs = {name: measure_steer(subfolders[name], file, model, config) for name, file in files.items()}
        return summarize_effects(runs, config["direct"])

    return run_study(run, "transfer", compute, report=transfer_tables, figure=transfer_figure)


class BudgetPlan(Plan):
    """A plan of calibrated strengths alone: the same given strength would mean something else to each steer."""

    def settings(self, key: str, calibration: Sequence[Mapping[str, Any]]) -> list[tuple[dict[str, float], str]]:
        """List strengths by name and the budget of each, for one prompt set."""
        return [(strength, budget) for strength, budget in super().settings(key, calibration) if budget]


def measure_steer(run: Run, file: Path, model: LanguageModel, config: dict[str, Any]) -> FinishedRun:
    """Calibrate, generate and evaluate with one steer."""
    steer, provenance = load_steer(file, model)
    protocol: Protocol = build(config["protocol"])
    plan = BudgetPlan(model, steer.dimensions, protocol, build(config["decoding"]))
    cache = score_cache(config["cache"])
    provenance, generations = write_generations(run, plan, steer, provenance, cache)
    metadata = plan.metadata(provenance.seed, stages.settings_of(steer, provenance), config["decoding"])
    stages.evaluate_stage(run, generations, protocol, lambda: plan.perplexity_model, metadata, scores=cache)
    return read_run(run.folder)


def summarize_effects(runs: Mapping[str, FinishedRun], direct: str) -> Results:
    """List all rows, the effect of each steer, and its share of the effect of the steer named ``direct``.

    The effect is the attribute steered up less the attribute steered down, prompt by prompt.

    Raises:
        InputError: If the runs were not measured in the same way.
    """
    refuse_mixed(list(runs.values()))
    first = next(iter(runs.values())).result
    metrics = [name for name in first.rows[0].metrics if name.partition("@")[0] == first.protocol["metric"]]
    budgets = {row.budget for run in runs.values() for row in run.result.rows if row.budget}
    return {
        "protocol": first.protocol,
        "metrics": {metric: first.rows[0].metrics[metric].scorer for metric in metrics},
        "plain": {name: first.rows[0].metrics[name].model_dump() for name in [*metrics, "perplexity"]},
        "rows": [
            {
                "steer": name,
                "budget": row.budget,
                "strength": next(iter(row.strength.values())),
                **{metric: row.metrics[metric].model_dump() for metric in [*metrics, "perplexity", "dist_3"]},
            }
            for name, run in runs.items()
            for row in run.result.rows
            if row.budget
        ],
        "effects": [
            {"steer": name, "budget": budget, "metric": metric, **effect}
            for budget in sorted(budgets)
            for metric in metrics
            for name, effect in _effects_at(runs, direct, budget, metric).items()
        ],
    }


def _effects_at(runs: Mapping[str, FinishedRun], direct: str, budget: str, metric: str) -> dict[str, dict[str, Any]]:
    """Estimate effects at one budget; a steer that did not reach it in both directions has none."""
    pairs = {name: pair for name, run in runs.items() if (pair := _up_and_down(run, budget, metric))}
    effects = {name: bootstrap_interval(pair, _difference) for name, pair in pairs.items()}
    has_share = direct in pairs and (effects[direct].low or 0) > 0
    return {
        name: {
            "effect": asdict(effects[name]),
            "share": asdict(bootstrap_interval([*pair, *pairs[direct]], _ratio))
            if has_share and name != direct
            else None,
        }
        for name, pair in pairs.items()
    }


def _up_and_down(run: FinishedRun, budget: str, metric: str) -> list[Array] | None:
    """Return the values of every prompt, steered up and steered down; None if one of the two is missing."""
    samples = {
        next(iter(row.strength.values())) > 0: run.sample(index, metric)
        for index, row in enumerate(run.result.rows)
        if row.budget == budget
    }
    if len(samples) < 2:
        return None
    prompts = sorted(samples[True].prompts)
    return [in_order(samples[up], prompts)[0] for up in (True, False)]


def _difference(*columns: Array, axis: int) -> Array:
    up, down = columns
    return np.asarray((up - down).mean(axis=axis))


def _ratio(*columns: Array, axis: int) -> Array:
    return np.asarray(_difference(*columns[:2], axis=axis) / _difference(*columns[2:], axis=axis))


if __name__ == "__main__":
    entry_point("config", Path(__file__).parent, TYPES)(compare_steers)()
