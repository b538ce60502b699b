"""Steer by two attributes at once over a grid of strengths, and measure each attribute and the perplexity.

python -m experiments.composition.run 'steer_files=[RUN/steer.safetensors,RUN/steer.safetensors]'
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig
from pydantic import Field

from experiments.composition.report import BOTH, FACTORS_ADDED, composition_tables, grid_figure
from experiments.study import Results, build_scorers, open_run, run_study, write_generations
from lmsteer.cli.app import entry_point
from lmsteer.cli.configuration import build
from lmsteer.cli.options import NonEmpty
from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import read_run
from lmsteer.evaluation.evaluator import GenerationMetadata, evaluate
from lmsteer.evaluation.plan import Plan
from lmsteer.evaluation.prompt_values import PromptValues, write_values
from lmsteer.evaluation.protocol import Protocol
from lmsteer.evaluation.results import Result, write_result
from lmsteer.generation.decoding import Decoding
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Generation, read_generations
from lmsteer.runs import stages
from lmsteer.scoring.cache import ScoreCache, score_cache
from lmsteer.steering.composition import add_factors, compose_files
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer

TYPES: dict[str, Any] = {
    "steer_files": Annotated[list[NonEmpty], Field(min_length=2, max_length=2)],
    "rank": int | None,
    "toxicity": dict[str, Any],
}


def measure_composition(cfg: DictConfig) -> Results:
    """Generate and measure every cell; write ``composition.json``, ``composition.md`` and ``composition.png``."""
    config, run = open_run(cfg, TYPES)
    files = [Path(file) for file in config["steer_files"]]
    pair, composed = compose_files(files, dummy="none", rank=config["rank"])
    steer, cache = study_steer(pair), score_cache(config["cache"])
    toxicity = build_scorers(config, "toxicity")
    positivity_protocol: Protocol = build(config["protocol"])
    protocols = [positivity_protocol, replace(positivity_protocol, metric="toxicity", scorers=toxicity)]
    model: LanguageModel = build(config["model"], device=config["device"], dtype=config["dtype"])
    load_steer(files[0], model)  # refuses a steer of another model
    plan = GridPlan(model, pair.dimensions, protocols[0], build(config["decoding"]))

    def compute() -> Results:
        provenance, path = write_generations(run, plan, steer, composed, cache)
        if not run.is_complete(stages.METRICS):
            metadata = plan.metadata(provenance.seed, stages.settings_of(pair, provenance), config["decoding"])
            generations = read_generations(path)
            with run.timed("evaluate"):
                result, values = measure(generations, protocols, plan.perplexity_model, metadata, cache)
            write_values(run.path(stages.VALUES), values)
            write_result(run.path(stages.METRICS), result)
        return {
            "attributes": list(pair.dimensions),
            "interference": provenance.derivation["interference"],
            "cross_terms": cross_terms(steer),
            "columns": steer.p1.shape[2] // 2,
        }

    return run_study(
        run,
        "composition",
        compute,
        report=lambda results: composition_tables(results, read_run(run.folder)),
        figure=lambda results: grid_figure(read_run(run.folder).result, results["attributes"]),
    )


def study_steer(pair: Steer) -> Steer:
    """Add two dimensions to a steer of two attributes.

    ``both attributes`` is the sum of the matrices, so that strength v is (v, v); strengths are calibrated along it.
    ``factors added`` is ``(P1 + P1') (P2 + P2')^T``, which is not their sum, but has been taken for it.

    Raises:
        InputError: If the steer does not have two attributes, has a bias, or is full and so has no factors.
    """
    if len(pair.dimensions) != 2:
        raise InputError(f"steer_files: attributes {', '.join(pair.dimensions)}; two expected, one of each file")
    if pair.p2 is None:
        raise InputError("steer_files: a full steer has no factors to add; low-rank ones expected")
    if pair.bias is not None:
        raise InputError("steer_files: a steer with a bias; matrices alone expected")
    factors = {name: pair.factors(k) for k, name in enumerate(pair.dimensions)}
    both = add_factors(list(factors.values()))
    factors_added = pair.p1.detach().sum(0), pair.p2.detach().sum(0)
    return Steer.from_factors(factors | {BOTH: both, FACTORS_ADDED: factors_added}, epsilon=pair.epsilon)


def cross_terms(steer: Steer) -> float:
    """Measure the products that adding factors brings in, relative to the sum of the matrices (Frobenius norms)."""
    both, factors_added = (steer.matrix(steer.dimensions.index(name)).detach() for name in (BOTH, FACTORS_ADDED))
    return float((factors_added - both).norm() / both.norm())


class GridPlan(Plan):
    """A plan of every pair of the protocol's strengths and 0, both at a calibrated strength, and added factors.

    Args:
        attributes: Names of the two attributes.
    """

    def __init__(self, model: LanguageModel, attributes: Sequence[str], protocol: Protocol, decoding: Decoding) -> None:
        super().__init__(model, [BOTH], protocol, decoding)
        self.attributes = tuple(attributes)

    def settings(self, key: str, calibration: Sequence[Mapping[str, Any]]) -> list[tuple[dict[str, float], str]]:
        """List strengths by name and the budget of each: the grid, the calibrated ones, then added factors."""
        strengths = sorted(float(value) for value in self.protocol.strengths)
        cells = [cell for cell in itertools.product(sorted({0.0, *strengths}), repeat=2) if any(cell)]
        calibrated = [
            (float(entry["strength"]), str(entry["budget"]))
            for entry in self.calibrated(calibration)
            if entry["strength"] is not None
        ]
        with_added_factors = [value for value in [*strengths, *(value for value, _ in calibrated)] if value > 0]
        return [
            *((dict(zip(self.attributes, cell, strict=True)), "") for cell in cells),
            *((dict.fromkeys(self.attributes, value), budget) for value, budget in calibrated),
            *(({FACTORS_ADDED: value}, "") for value in with_added_factors),
        ]


def measure(
    generations: Sequence[Generation],
    protocols: Sequence[Protocol],
    perplexity_model: LanguageModel,
    metadata: GenerationMetadata,
    cache: ScoreCache | None,
) -> tuple[Result, list[PromptValues]]:
    """Measure the same generations by several protocols, and merge their metrics row by row."""
    (result, values), *others = (
        evaluate(generations, protocol, perplexity_model, metadata, scores=cache) for protocol in protocols
    )
    rows, protocol = list(result.rows), dict(result.protocol)
    for other, other_values in others:
        pairs = zip(rows, other.rows, strict=True)
        rows = [row.model_copy(update={"metrics": row.metrics | more.metrics}) for row, more in pairs]
        values = [PromptValues(a.prompts, a.values | b.values) for a, b in zip(values, other_values, strict=True)]
        for name in ("metric", "digest"):
            protocol[name] = f"{protocol[name]} {other.protocol[name]}"
        protocol["scorers"] = {**protocol["scorers"], **other.protocol["scorers"]}  # type: ignore[dict-item]
    return Result(protocol=protocol, rows=rows), values


if __name__ == "__main__":
    entry_point("config", Path(__file__).parent, TYPES)(measure_composition)()
