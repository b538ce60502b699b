"""Look into the one-pass estimator: its spectrum beside the null, damping, rank and form, its need of texts and time.

python -m experiments.one_pass.run steer=detox data=toxic-snippets
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
from omegaconf import DictConfig
from pydantic import Field
from torch import Tensor

from experiments.one_pass.choice import TimedExtractor, best, judged, nested_sums
from experiments.one_pass.figure import one_pass_figure
from experiments.one_pass.held_out import HeldOut
from experiments.one_pass.report import markdown
from lmsteer.cli.configuration import Words, build, entry_point, record, resolved
from lmsteer.data.corpus import Corpus
from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.one_pass.natural_gradient import Step
from lmsteer.records import Row
from lmsteer.reporting.plots import to_png
from lmsteer.runs.run import Run
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer
from lmsteer.storage.atomic_files import atomic_write_lines
from lmsteer.training.fit import SteerConfig

KEYS = {
    *("stack", "run_dir", "seed", "device", "dtype", "model", "steer", "data", "protocol"),
    *("max_length", "rows", "dampings", "ranks", "steer_files"),
}
Number = Annotated[int, Field(ge=1)]
KINDS = {
    "max_length": Annotated[int, Field(ge=2)],
    "rows": list[Annotated[int, Field(ge=2)]],
    "dampings": Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)],
    "ranks": list[Number],
    "steer_files": list[Words],
}
FOUND, PICTURE, REPORT = "one_pass.json", "one_pass.png", "one_pass.md"


def one_pass(cfg: DictConfig) -> dict[str, Any]:
    """Write ``one_pass.json``, ``one_pass.png`` and ``one_pass.md`` in the run folder; their paths are printed."""
    config = resolved(cfg, KEYS, KINDS)
    run = Run(Path(config["run_dir"]), record(config))
    steer_config: SteerConfig = build(config["steer"])
    if not steer_config.permutations:
        raise InputError("steer.permutations=0: the spectrum is shown beside a null, so 39 or more expected")
    corpus: Corpus = build(config["data"])
    model: LanguageModel = build(config["model"], device=config["device"], dtype=config["dtype"])
    if not run.is_complete(FOUND):
        found = measure(model, corpus, steer_config, config)
        run.begin()
        atomic_write_lines(run.path(FOUND), [json.dumps(found, indent=1)])
    found = json.loads(run.path(FOUND).read_text(encoding="utf-8"))
    atomic_write_lines(run.path(REPORT), [markdown(found)])
    picture = run.path(PICTURE).with_suffix(".tmp")
    picture.write_bytes(to_png(one_pass_figure(found)))
    picture.replace(run.path(PICTURE))
    print("\n".join(str(run.path(name)) for name in (FOUND, PICTURE, REPORT)))
    return dict(found)


def measure(model: LanguageModel, corpus: Corpus, steer_config: SteerConfig, config: dict[str, Any]) -> dict[str, Any]:
    """Sums of ever more rows; on all of them the choice of damping, rank and form; then figures on other texts."""
    seed, ranks = config["seed"], [rank for rank in config["ranks"] if rank < model.width]
    steers = {file: load_steer(Path(file), model)[0] for file in config["steer_files"]}
    extract = TimedExtractor(model, max_length=config["max_length"])
    choice, figures = HeldOut.of(extract, corpus.dev[::2]), HeldOut.of(extract, [*corpus.dev[1::2], *corpus.test])
    parts = nested(corpus, config["rows"], seed)
    sums = nested_sums(extract, parts, steer_config.permutations, seed)

    def look(place: int, damping: float) -> dict[str, Any]:
        step = Step(damping=damping, context_damping=steer_config.context_damping)
        return judged(sums[place][0], step, ranks, (choice, figures), seed)

    by_damping = {damping: look(-1, damping) for damping in config["dampings"]}
    damping, rule = best(by_damping)
    return {
        "corpus": corpus.name,
        "held_out": {"choice": len(choice.lengths), "figures": len(figures.lengths)},
        "chosen": {"damping": damping, "context_damping": steer_config.context_damping, "rule": rule},
        "dampings": [{"damping": damping, **one} for damping, one in by_damping.items()],
        "sizes": [
            {
                "rows": sum(map(len, parts[: place + 1])),
                "tokens": int(sums[place][0].tokens),
                "seconds": sums[place][1],
                **(by_damping[damping] if place == len(sums) - 1 else look(place, damping)),
            }
            for place in range(len(sums))
        ],
        "steers": {
            Path(file).parent.name: asdict(figures.auc(*factors_and_bias(steer), seed=seed))
            for file, steer in steers.items()
        },
    }


def factors_and_bias(steer: Steer) -> tuple[Tensor, Tensor, Tensor | None]:
    """Factors and constant part of a steer's first dimension."""
    constant_D = None if steer.bias is None else steer.bias[0]
    return steer.matrix(0), torch.eye(steer.width), constant_D


def nested(corpus: Corpus, sizes: Sequence[int], seed: int) -> list[list[Row]]:
    """What each choice of rows adds to the one before, as ``fit.rows`` chooses; all rows at the end."""
    parts, seen = list[list[Row]](), set[str]()
    for size in [*sorted(size for size in sizes if size < len(corpus.train)), len(corpus.train)]:
        parts.append([row for row in corpus.subset(size, seed).train if row.text not in seen])
        seen |= {row.text for row in parts[-1]}
    return parts


if __name__ == "__main__":
    entry_point("one_pass")(one_pass)()
