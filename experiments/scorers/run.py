"""Compare toxicity scorers with stored Perspective scores of the same texts.

python -m experiments.scorers.run path=RTP.jsonl scorer@scorers=[alt-profanity-check,word-list]
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from experiments.scorers.agreement import measure_agreement, mentions_identity
from experiments.scorers.report import agreement_figure, agreement_tables
from experiments.study import Results, build_scorers, open_run, run_study, score_texts
from lmsteer.cli.app import entry_point
from lmsteer.metrics.functional import THRESHOLD
from lmsteer.scoring.cache import ScoreCache, score_cache
from lmsteer.scoring.replay import read_scores
from lmsteer.scoring.scorer import Scorer

TYPES: dict[str, Any] = {"path": str, "scorers": dict[str, Any]}


def compare_scorers(cfg: DictConfig) -> Results:
    """Write ``scorers.json``, ``scorers.md`` and ``scorers.png`` in the run folder; print their paths."""
    config, run = open_run(cfg, TYPES)
    scorers = build_scorers(config, "scorers").values()
    stored, cache = read_scores(Path(str(config["path"])), "toxicity"), score_cache(config["cache"])
    return run_study(
        run,
        "scorers",
        lambda: measure(stored, scorers, cache, config["seed"]),
        report=agreement_tables,
        figure=agreement_figure,
    )


def measure(stored: Mapping[str, float], scorers: Iterable[Scorer], cache: ScoreCache | None, seed: int) -> Results:
    """Score all texts with every scorer, and compare the scores with the stored ones."""
    texts, probabilities = list(stored), np.array(list(stored.values()))
    return {
        "texts": len(texts),
        "toxic": int((probabilities >= THRESHOLD).sum()),
        "identity": sum(map(mentions_identity, texts)),
        "scorers": {
            scorer.name: {
                "revision": scorer.revision,
                **measure_agreement(texts, probabilities, score_texts(scorer, texts, cache), seed=seed),
            }
            for scorer in scorers
        },
    }


if __name__ == "__main__":
    entry_point("config", Path(__file__).parent, TYPES)(compare_scorers)()
