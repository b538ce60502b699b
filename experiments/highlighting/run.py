"""Judge highlights: a steer as a classifier of texts it never saw, and what deleting the highlighted tokens does.

python -m experiments.highlighting.run steer_file=RUN/steer.safetensors
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig
from pydantic import Field

from experiments.highlighting.classifier import MAIN, classified, judged
from experiments.highlighting.faithfulness import faithfulness, scored
from experiments.highlighting.figure import faithfulness_figure
from experiments.highlighting.report import markdown
from experiments.highlighting.rows import GROUPS, amazon, by_hash
from lmsteer.cli.configuration import Words, build, entry_point, record, resolved
from lmsteer.data.corpus import Corpus
from lmsteer.data.sources.snippets import snippets
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Row
from lmsteer.reporting.plots import to_png
from lmsteer.runs.run import Run
from lmsteer.scoring.cache import ScoreCache, score_cache
from lmsteer.scoring.scorer import Scorer
from lmsteer.steering.steer_file import load_steer
from lmsteer.storage.atomic_files import atomic_write_lines

Count = Annotated[int, Field(ge=2)]
KINDS: dict[str, Any] = {
    "steer_file": Words,
    "others": list[Words],
    "dev_rows": Count | None,
    "test_rows": Count | None,
    "amazon_rows": Count,
    "deleted_rows": Count,
    "draws": Annotated[int, Field(ge=1)],
    "strength": Annotated[float, Field(gt=0, allow_inf_nan=False)],
}
KEYS = {"stack", "run_dir", "seed", "device", "dtype", "model", "scorers", "scores", *KINDS}
FIGURES, PICTURE, REPORT = "highlighting.json", "faithfulness.png", "highlighting.md"


def highlighting(cfg: DictConfig) -> dict[str, Any]:
    """Write ``highlighting.json``, ``faithfulness.png`` and ``highlighting.md`` in the run folder; print the last."""
    config = resolved(cfg, KEYS, KINDS)
    run = Run(Path(config["run_dir"]), record(config))
    corpus = snippets()
    model: LanguageModel = build(config["model"], device=config["device"], dtype=config["dtype"])
    files = [Path(file) for file in (config["steer_file"], *config["others"])]
    for file in files:
        load_steer(file, model)
    scorers: list[Scorer] = [build(node) for node in config["scorers"].values()]
    run.begin()
    if not run.is_complete(FIGURES):
        found = measure(config, run, corpus, model, files, scorers)
        atomic_write_lines(run.path(FIGURES), [json.dumps(found, indent=1, ensure_ascii=False)])
    found = json.loads(run.path(FIGURES).read_text(encoding="utf-8"))
    picture = run.path(PICTURE).with_suffix(".tmp")
    picture.write_bytes(to_png(faithfulness_figure(found["faithfulness"])))
    picture.replace(run.path(PICTURE))
    atomic_write_lines(run.path(REPORT), [markdown(found)])
    print(f"{markdown(found)}\n\n{run.path(FIGURES)}\n{run.path(PICTURE)}")
    return dict(found)


def measure(
    config: dict[str, Any], run: Run, corpus: Corpus, model: LanguageModel, files: list[Path], scorers: list[Scorer]
) -> dict[str, Any]:
    """Every figure, steer by steer; one that was measured before an interruption is not measured again."""
    store = score_cache(config["scores"])
    dev = by_hash(corpus.dev, config["dev_rows"])
    sets = {
        "movie, test part": by_hash(corpus.test, config["test_rows"]),
        "product reviews": amazon(corpus, config["amazon_rows"]),
    }
    steers = {}
    for number, file in enumerate(files):
        steer, provenance = load_steer(file, model)
        compute = partial(classified, model, steer, dev, sets, seed=config["seed"])
        steers[str(file)] = {
            "solver": provenance.training.get("solver", "paper"),
            "steps": provenance.training.get("steps"),
            "rank": steer.rank,
            **kept(run, f"steer-{number}.json", compute),
        }
    main, _ = load_steer(files[0], model)
    texts = [row.text for row in sets["movie, test part"] if abs(row.label) >= MAIN][: config["deleted_rows"]]
    strength, draws, seed = config["strength"], config["draws"], config["seed"]
    return {
        "steers": steers,
        "scorers": {scorer.name: _scorer(scorer, store, sets, seed) for scorer in scorers},
        "faithfulness": faithfulness(model, main, texts, scorers, store, strength=strength, draws=draws, seed=seed),
    }


def kept(run: Run, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a file of the run holds; if it is not there, it is computed and written."""
    if not run.is_complete(name):
        atomic_write_lines(run.path(name), [json.dumps(compute(), ensure_ascii=False)])
    return dict(json.loads(run.path(name).read_text(encoding="utf-8")))


def _scorer(scorer: Scorer, store: ScoreCache | None, sets: dict[str, list[Row]], seed: int) -> dict[str, Any]:
    """A scorer that was fitted to tell the kinds, beside the steer."""
    return {
        name: {
            group: judged(scored(scorer, store, [row.text for row in rows]), rows, 0.5, least=least, seed=seed)
            for group, least in GROUPS.items()
        }
        for name, rows in sets.items()
    }


if __name__ == "__main__":
    entry_point("highlighting")(highlighting)()
