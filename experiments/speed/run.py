"""Measure fitting, generation and scoring, and compare them with a plain version of the paper's procedure.

python -m experiments.speed.run device=cuda model=gpt2-large-shaped
"""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from experiments.speed.measure import (
    Bench,
    measure_fit,
    measure_generation,
    measure_perplexity,
    measure_scaling,
    prompt_pairs,
)
from experiments.speed.meter import Meter
from experiments.speed.report import speed_figure, speed_tables
from experiments.speed.results import collect_results
from experiments.speed.work import Work
from experiments.study import Results, open_run, run_study
from lmsteer.cli.app import entry_point
from lmsteer.cli.configuration import build
from lmsteer.cli.terminal import show
from lmsteer.data.corpus import Corpus
from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.runs.run import Run

TYPES: dict[str, Any] = {"work": Any}


def speed(cfg: DictConfig) -> Results:
    """Write ``speed.json``, ``speed.md`` and ``speed.png`` in the run folder; print the tables."""
    config, run = open_run(cfg, TYPES)
    if not isinstance(config["work"], dict):
        raise InputError(
            f"work={config['work']!r}: work.sentences, work.steps, … expected, see experiments/speed/config.yaml"
        )
    work: Work = build(config["work"])
    corpus: Corpus = build(config["corpus"])
    sentences, prompts = work.take_sentences(corpus), work.take_prompts(corpus)
    model: LanguageModel = build(config["model"], device=config["device"], dtype=config["dtype"])
    is_exact = config["dtype"] == "float32"
    plain_model = model if is_exact else build(config["model"], device=config["device"], dtype="float32")
    meter = Meter(model.device)
    bench = Bench(work, sentences, prompts, model, plain_model, config["seed"], run.folder, meter)
    bench.steer_config.build(model.width, bench.seed)  # refuses an impossible rank before the folder is taken
    results = run_study(run, "speed", lambda: measure(run, bench), report=speed_tables, figure=speed_figure)
    show(f"\n{speed_tables(results)}")
    return results


def measure(run: Run, bench: Bench) -> Results:
    """Take the folder, which the feature stores are written to, and measure everything."""
    run.begin()
    steer, *curves = measure_fit(bench)
    pairs = prompt_pairs(measure_generation(bench, steer), bench.work.scored)
    nats_difference = measure_perplexity(bench, pairs)
    return collect_results(bench, steer, curves, nats_difference, measure_scaling(bench, steer, pairs))


if __name__ == "__main__":
    entry_point("config", Path(__file__).parent, TYPES)(speed)()
