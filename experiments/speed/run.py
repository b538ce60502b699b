"""Measure fitting, generating and scoring beside a plain version of the paper's procedure.

python -m experiments.speed.run device=cuda model=gpt2-large-shaped
"""

from __future__ import annotations

import json
from pathlib import Path

from omegaconf import DictConfig

from experiments.speed.bench import Bench
from experiments.speed.figure import speed_figure
from experiments.speed.fit import measure_fit
from experiments.speed.generation import measure_generation
from experiments.speed.perplexity import measure_perplexity, pairs_of
from experiments.speed.report import markdown, read_speed
from experiments.speed.scaling import measure_scaling
from experiments.speed.summary import Summary, summary
from experiments.speed.work import Work
from lmsteer.cli.configuration import build, entry_point, record, resolved
from lmsteer.data.corpus import Corpus
from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.reporting.plots import to_png
from lmsteer.runs.run import Run
from lmsteer.storage.atomic_files import atomic_write_lines

KEYS = {"stack", "run_dir", "seed", "device", "dtype", "model", "data", "work"}
SPEED, PICTURE = "speed.json", "speed.png"


def speed(cfg: DictConfig) -> Summary:
    """Write ``speed.json`` and ``speed.png`` in the run folder and print the tables."""
    config = resolved(cfg, KEYS)
    run = Run(Path(config["run_dir"]), record(config))
    if not isinstance(config["work"], dict):
        raise InputError(
            f"work={config['work']!r}: options work.sentences, work.steps, … expected, see conf/speed.yaml"
        )
    work: Work = build(config["work"])
    corpus: Corpus = build(config["data"])
    sentences, prompts = work.sentences_of(corpus), work.prompts_of(corpus)
    ours: LanguageModel = build(config["model"], device=config["device"], dtype=config["dtype"])
    exact = config["dtype"] == "float32"
    plain = ours if exact else build(config["model"], device=config["device"], dtype="float32")
    bench = Bench(work, sentences, prompts, ours, plain, config["seed"], run.folder)
    bench.steer_settings.build(ours.width, bench.seed)  # an impossible rank is refused before the folder is taken
    run.begin()
    if not run.is_complete(SPEED):
        atomic_write_lines(run.path(SPEED), [json.dumps(measure(bench), indent=1, ensure_ascii=False)])
    measured = read_speed(run.path(SPEED))
    picture = run.path(PICTURE).with_suffix(".tmp")
    picture.write_bytes(to_png(speed_figure(measured)))
    picture.replace(run.path(PICTURE))
    print(f"\n{markdown(measured)}\n\n{run.path(SPEED)}\n{run.path(PICTURE)}")
    return measured


def measure(bench: Bench) -> Summary:
    """Do everything, part by part; the sides of a part take turns."""
    steer, *curves = measure_fit(bench)
    pairs = pairs_of(measure_generation(bench, steer), bench.work.scored)
    nats = measure_perplexity(bench, pairs)
    return summary(bench, steer, curves, nats, measure_scaling(bench, steer, pairs))


if __name__ == "__main__":
    entry_point("speed")(speed)()
