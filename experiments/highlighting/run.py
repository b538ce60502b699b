"""Measure a steer as a classifier of texts it never saw, and the effect of deleting the tokens it highlights.

python -m experiments.highlighting.run steer_file=RUN/steer.safetensors
"""

import html
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig
from pydantic import Field

from experiments.highlighting.classifier import MAIN, measure_groups, measure_steer
from experiments.highlighting.deletions import measure_deletions
from experiments.highlighting.report import deletion_figure, highlighting_tables
from experiments.study import Results, build_scorers, open_run, run_study, score_texts
from lmsteer.cli.app import entry_point
from lmsteer.cli.configuration import build
from lmsteer.data.corpus import Corpus, hash_fraction, text_key
from lmsteer.data.sources.snippets import snippets
from lmsteer.embedded.archives import embedded_file
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Row
from lmsteer.scoring.cache import score_cache
from lmsteer.scoring.scorer import Scorer
from lmsteer.steering.steer_file import load_steer

Count = Annotated[int, Field(ge=2)]
TYPES: dict[str, Any] = {
    "dev_rows": Count | None,
    "test_rows": Count | None,
    "amazon_rows": Count,
    "deleted_rows": Count,
    "draws": Annotated[int, Field(ge=1)],
    "strength": Annotated[float, Field(gt=0, allow_inf_nan=False)],
    "scorers": dict[str, Any],
}


def highlighting(cfg: DictConfig) -> Results:
    """Write ``highlighting.json``, ``highlighting.md`` and ``highlighting.png`` in the run folder."""
    config, run = open_run(cfg, TYPES)
    corpus = snippets()
    model: LanguageModel = build(config["model"], device=config["device"], dtype=config["dtype"])
    load_steer(Path(config["steer_file"]), model)  # refuses a steer of another model
    scorers = list(build_scorers(config, "scorers").values())
    return run_study(
        run,
        "highlighting",
        lambda: measure(config, corpus, model, scorers),
        report=highlighting_tables,
        figure=lambda results: deletion_figure(results["faithfulness"]),
    )


def measure(config: dict[str, Any], corpus: Corpus, model: LanguageModel, scorers: list[Scorer]) -> Results:
    """Measure the steer and the scorers as classifiers, and the effect of deletions on the scorers."""
    cache, seed = score_cache(config["cache"]), config["seed"]
    steer, provenance = load_steer(Path(config["steer_file"]), model)
    sets = {
        "movie, test part": sort_by_hash(corpus.test, config["test_rows"]),
        "product reviews": product_reviews(corpus, config["amazon_rows"]),
    }
    texts = [row.text for row in sets["movie, test part"] if abs(row.label) >= MAIN][: config["deleted_rows"]]
    strength, draws = config["strength"], config["draws"]
    return {
        "steers": {
            config["steer_file"]: {
                "solver": provenance.training.get("solver", "gradient"),
                "steps": provenance.training.get("steps"),
                "rank": steer.rank,
                **measure_steer(model, steer, sort_by_hash(corpus.dev, config["dev_rows"]), sets, seed=seed),
            }
        },
        "scorers": {
            scorer.name: {
                name: measure_groups(score_texts(scorer, [row.text for row in rows], cache), rows, 0.5, seed)
                for name, rows in sets.items()
            }
            for scorer in scorers
        },
        "faithfulness": measure_deletions(
            model, steer, texts, scorers, cache, strength=strength, draws=draws, seed=seed
        ),
    }


def product_reviews(corpus: Corpus, limit: int) -> list[Row]:
    """Read rated sentences of product reviews (Hutto and Gilbert, 2014) that are not in a corpus: a fixed choice.

    The label is the mean human rating of -4 to 4, divided by 4, as in the movie rows.
    """
    in_corpus = {text_key(row.text) for split in (corpus.train, corpus.dev, corpus.scorer_split) for row in split}
    lines = embedded_file("amazonReviewSnippets_GroundTruth.txt").read_text(encoding="utf-8").split("\n")
    rows: dict[str, Row] = {}
    for line in lines:
        if line.strip():
            _, rating, text = line.rstrip("\r").split("\t")
            rows.setdefault(text_key(text), Row(html.unescape(text).strip(), float(rating) / 4))
    return sort_by_hash([row for key, row in rows.items() if key not in in_corpus], limit)


def sort_by_hash(rows: Iterable[Row], limit: int | None) -> list[Row]:
    """Sort the rows with a label other than 0 by a hash of their text, and return the first ``limit``, all for None."""
    return sorted((row for row in rows if row.label), key=lambda row: hash_fraction(row.text))[:limit]


if __name__ == "__main__":
    entry_point("config", Path(__file__).parent, TYPES)(highlighting)()
