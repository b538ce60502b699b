"""Study the one-pass estimator: its spectrum and null; damping, rank and form; its need of texts and time.

python -m experiments.one_pass.run steer=detox
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
from omegaconf import DictConfig
from pydantic import Field
from torch import Tensor

from experiments.one_pass.estimates import (
    HeldOut,
    TimedExtractor,
    choose_best,
    measure_rules,
    nested_splits,
    nested_statistics,
)
from experiments.one_pass.report import one_pass_figure, one_pass_tables
from experiments.study import Results, open_run, run_study
from lmsteer.cli.app import entry_point
from lmsteer.cli.configuration import build
from lmsteer.cli.options import NonEmpty
from lmsteer.data.corpus import Corpus
from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.one_pass.one_pass_solver import OnePassSolver, StepConfig
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer

TYPES: dict[str, Any] = {
    "max_length": Annotated[int, Field(ge=2)],
    "rows": list[Annotated[int, Field(ge=2)]],
    "dampings": Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)],
    "ranks": list[Annotated[int, Field(ge=1)]],
    "steer_files": list[NonEmpty],
}


def one_pass(cfg: DictConfig) -> Results:
    """Write ``one_pass.json``, ``one_pass.md`` and ``one_pass.png`` in the run folder; print their paths."""
    config, run = open_run(cfg, TYPES)
    solver: OnePassSolver = build(config["solver"])
    if not solver.permutations:
        raise InputError("solver.permutations=0: 39 or more expected, as the spectrum is compared with a null")
    corpus: Corpus = build(config["corpus"])
    model: LanguageModel = build(config["model"], device=config["device"], dtype=config["dtype"])
    return run_study(
        run,
        "one_pass",
        lambda: measure(model, corpus, solver, config),
        report=one_pass_tables,
        figure=one_pass_figure,
    )


def measure(model: LanguageModel, corpus: Corpus, solver: OnePassSolver, config: dict[str, Any]) -> Results:
    """Sum up ever more rows; on all of them choose damping, rank and form; then measure on other texts."""
    seed, ranks = config["seed"], [rank for rank in config["ranks"] if rank < model.width]
    steers = {file: load_steer(Path(file), model)[0] for file in config["steer_files"]}
    extract = TimedExtractor(model, max_length=config["max_length"])
    held_out = {
        "choice": HeldOut.from_rows(extract, corpus.dev[::2]),
        "figures": HeldOut.from_rows(extract, [*corpus.dev[1::2], *corpus.test]),
    }
    splits = nested_splits(corpus, config["rows"], seed)
    totals, costs = zip(*nested_statistics(extract, splits, solver.permutations, seed), strict=True)

    def measure_size(index: int, damping: float) -> dict[str, Any]:
        step = StepConfig(damping=damping, context_damping=solver.context_damping)
        return measure_rules(totals[index], step, ranks, held_out, seed)

    by_damping = {damping: measure_size(-1, damping) for damping in config["dampings"]}
    damping, rule = choose_best(by_damping)
    return {
        "corpus": corpus.name,
        "held_out": {name: len(texts.lengths) for name, texts in held_out.items()},
        "chosen": {"damping": damping, "context_damping": solver.context_damping, "rule": rule},
        "dampings": [{"damping": damping, **measured} for damping, measured in by_damping.items()],
        "sizes": [
            {
                "rows": sum(map(len, splits[: index + 1])),
                "tokens": int(total.tokens),
                "seconds": costs[index],
                **(by_damping[damping] if index == len(totals) - 1 else measure_size(index, damping)),
            }
            for index, total in enumerate(totals)
        ],
        "steers": {
            Path(file).parent.name: asdict(held_out["figures"].auc(*first_dimension(steer), seed=seed))
            for file, steer in steers.items()
        },
    }


def first_dimension(steer: Steer) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return P1, P2 and the bias of a steer's first dimension, its matrix being P1."""
    return steer.matrix(0), torch.eye(steer.width), None if steer.bias is None else steer.bias[0]


if __name__ == "__main__":
    entry_point("config", Path(__file__).parent, TYPES)(one_pass)()
