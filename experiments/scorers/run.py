"""Compare toxicity scorers with stored Perspective scores of the same texts.

python -m experiments.scorers.run path=RTP.jsonl scorer@scorers=[alt-profanity-check,word-list]
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from experiments.scorers.agreement import agreement
from experiments.scorers.figure import agreement_figure
from experiments.scorers.identity import mentions_identity
from experiments.scorers.report import markdown
from lmsteer.cli.configuration import build, entry_point, record, resolved
from lmsteer.errors import InputError
from lmsteer.metrics.functional import THRESHOLD
from lmsteer.reporting.plots import to_png
from lmsteer.runs.run import Run
from lmsteer.scoring.cache import ScoreCache, score_cache
from lmsteer.scoring.replay import read_scores
from lmsteer.scoring.scorer import Scorer
from lmsteer.storage.atomic_files import atomic_write_lines

KEYS = {"run_dir", "seed", "device", "dtype", "path", "scorers", "scores"}
FIGURES, PICTURE, REPORT = "scorers.json", "scorers.png", "scorers.md"


def scorers(cfg: DictConfig) -> dict[str, Any]:
    """Write ``scorers.json``, ``scorers.png`` and ``scorers.md`` in the run folder; the path of the last is printed."""
    config = resolved(cfg, KEYS)
    run = Run(Path(config["run_dir"]), record(config))
    nodes = config["scorers"]
    if not isinstance(nodes, dict) or not nodes or not all(isinstance(node, dict) for node in nodes.values()):
        raise InputError(f"scorers={nodes!r}: choices in conf/scorer expected, as scorer@scorers=[NAME,…]")
    stored = read_scores(Path(str(config["path"])), "toxicity")
    built: list[Scorer] = [build(node) for node in nodes.values()]
    store = score_cache(config["scores"])
    if not run.is_complete(FIGURES):
        found = compare(stored, built, store, config["seed"])
        run.begin()
        atomic_write_lines(run.path(FIGURES), [json.dumps(found, indent=1, ensure_ascii=False)])
    found = json.loads(run.path(FIGURES).read_text(encoding="utf-8"))
    atomic_write_lines(run.path(REPORT), [markdown(found)])
    picture = run.path(PICTURE).with_suffix(".tmp")
    picture.write_bytes(to_png(agreement_figure(found)))
    picture.replace(run.path(PICTURE))
    print("\n".join(str(run.path(name)) for name in (FIGURES, PICTURE, REPORT)))
    return dict(found)


def compare(stored: dict[str, float], built: list[Scorer], store: ScoreCache | None, seed: int) -> dict[str, Any]:
    """Score all texts with every scorer, and set what they say against what is stored."""
    texts, truth = list(stored), np.array(list(stored.values()))
    found: dict[str, Any] = {
        "texts": len(texts),
        "toxic": int((truth >= THRESHOLD).sum()),
        "identity": sum(map(mentions_identity, texts)),
        "scorers": {},
    }
    for scorer in built:
        said = (store.scores(scorer, texts) if store else scorer(texts)).double().numpy()
        found["scorers"][scorer.name] = {"revision": scorer.revision, **agreement(texts, truth, said, seed=seed)}
    return found


if __name__ == "__main__":
    entry_point("scorers")(scorers)()
