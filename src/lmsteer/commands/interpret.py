"""Interpret a steer: its singular directions, their words and contexts, and which of them carry the attribute.

python -m src.interpret steer_file=RUN/steer.safetensors directions=8 words=12
"""

from itertools import chain, islice
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lmsteer.analysis.interpretation import heldout_rows
from lmsteer.analysis.interpretation import interpret as interpret_steer
from lmsteer.analysis.interpretation_file import Interpretation, read_interpretation
from lmsteer.analysis.top_tokens import DisplayConfig
from lmsteer.cli.configuration import build, check_config
from lmsteer.cli.identity import run_identity
from lmsteer.cli.options import OF_COMMAND
from lmsteer.cli.preparation import prepare
from lmsteer.cli.terminal import show
from lmsteer.data.corpus import Corpus
from lmsteer.reporting.interpretation_report import html, markdown, text
from lmsteer.reporting.plots import write_png
from lmsteer.reporting.spectrum import spectrum
from lmsteer.runs.run import Run
from lmsteer.steering.steer_file import load_steer
from lmsteer.storage.atomic_files import atomic_write_lines

SHOWN = ("directions", "words", "contexts", "vocabulary", "draws")
FIGURES, REPORT, PAGE, PICTURE = (f"interpretation.{kind}" for kind in ("json", "md", "html", "png"))
TEXTS = 20_000
"""Maximum number of texts of the corpus whose words are shown."""


def interpret(cfg: DictConfig) -> Interpretation:
    """Write ``interpretation.json``, ``.md``, ``.html`` and ``.png`` in the run folder and print the table."""
    config = check_config(cfg, OF_COMMAND["interpret"])
    run = Run(Path(config["run_dir"]), run_identity(config))
    if not run.is_complete(FIGURES):
        computed = compute(config)
        run.begin()
        atomic_write_lines(run.path(FIGURES), [computed.model_dump_json(indent=1)])
    interpretation = read_interpretation(run.path(FIGURES))
    figure = spectrum(interpretation)
    atomic_write_lines(run.path(REPORT), [markdown(interpretation)])
    atomic_write_lines(run.path(PAGE), [html(interpretation, figure)])
    write_png(run.path(PICTURE), figure)
    show(f"\n{text(interpretation)}\n\n{run.path(PAGE)}")
    return interpretation


def compute(config: dict[str, Any]) -> Interpretation:
    """Load the corpus, the model and the steer, and interpret it."""
    prepare(config, ("corpus", "model"))
    corpus: Corpus = build(config["corpus"])
    part, rows = heldout_rows(corpus, config["part"], config["rows"], config["seed"])
    model = build(config["model"], device=config["device"], dtype=config["dtype"])
    steer, provenance = load_steer(Path(config["steer_file"]), model)
    dimension, all_rows = config["dimension"], chain(corpus.train, corpus.dev, corpus.test, corpus.scorer_split)
    return interpret_steer(
        model,
        steer,
        dimension,
        rows,
        DisplayConfig(**{name: config[name] for name in SHOWN}),
        vocabulary_texts=[row.text for row in islice(all_rows, TEXTS)],
        facts={
            "model": model.name,
            "dimension": dimension,
            "meaning": provenance.meaning.get(dimension, ""),
            "epsilon": steer.epsilon,
            "fitted_on": provenance.corpus.get("name"),
            "corpus": corpus.name,
            "part": part,
            "vocabulary": config["vocabulary"],
            "seed": config["seed"],
        },
        seed=config["seed"],
    )
