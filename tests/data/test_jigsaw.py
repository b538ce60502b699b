"""Jigsaw: balanced, split by text, the same from all sources."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pytest
from huggingface_hub import HfApi

from lmsteer.data.corpus import Corpus, hash_fraction
from lmsteer.data.sources.jigsaw import jigsaw
from lmsteer.data.sources.sst import sst5
from lmsteer.errors import InputError

TOXICITY = {0: 0.0, 1: 0.0, 2: 0.0, 3: 0.2, 4: 0.5, 5: 0.9, 6: 0.49}
ROWS = [(f'comment {i}, "with" more\nlines', TOXICITY[i % 7]) for i in range(700)]


def kaggle(path: Path, rows: list[tuple[str, float]], score: str = "toxicity") -> str:
    with path.open("w", encoding="utf-8", newline="") as target:
        csv.writer(target).writerows([("id", score, "comment_text"), *((i, s, t) for i, (t, s) in enumerate(rows))])
    return str(path)


def by_hand(dev: int, test: int) -> dict[str, set[tuple[str, float]]]:
    """Split, text and label of every row, by definition: sort each label's texts by share and cut."""
    toxic = sorted((text for text, score in ROWS if score >= 0.5), key=hash_fraction)
    clean = sorted((text for text, score in ROWS if score == 0), key=hash_fraction)[: len(toxic)]
    cuts = {"test": slice(0, test // 2), "dev": slice(test // 2, (test + dev) // 2)}
    cuts["train"] = slice((test + dev) // 2, None)
    return {split: {(t, -1.0) for t in toxic[cut]} | {(t, 1.0) for t in clean[cut]} for split, cut in cuts.items()}


def rows_by_split(corpus: Corpus) -> dict[str, set[tuple[str, float]]]:
    return {split: {(row.text, row.label) for row in getattr(corpus, split)} for split in ("test", "dev", "train")}


@pytest.mark.parametrize("score", ["toxicity", "target"])
def test_kaggles_file_gives_balanced_rows_split_by_hash(score: str, tmp_path: Path) -> None:
    corpus = jigsaw(path=kaggle(tmp_path / "train.csv", ROWS, score), dev=40, test=60)
    assert rows_by_split(corpus) == by_hand(40, 60)
    assert Counter(row.label for row in corpus.train) == {-1.0: 150, 1.0: 150}
    assert (len(corpus.dev), len(corpus.test), corpus.scorer_split) == (40, 60, ())
    assert corpus.removed == {"duplicates": 0}


def test_the_order_and_repetition_of_rows_do_not_count(tmp_path: Path) -> None:
    corpus = jigsaw(path=kaggle(tmp_path / "all_data.csv", [*ROWS[::-1], *ROWS]), dev=40, test=60)
    assert rows_by_split(corpus) == by_hand(40, 60)
    assert corpus.removed == {"duplicates": 500}  # of 200 toxic and 300 clean texts


def test_a_folder_of_kaggles_is_found(tmp_path: Path) -> None:
    kaggle(tmp_path / "all_data.csv", ROWS)
    assert rows_by_split(jigsaw(path=str(tmp_path), dev=40, test=60)) == by_hand(40, 60)


def test_a_folder_in_the_hubs_format_gives_the_same_rows(tmp_path: Path) -> None:
    folder = tmp_path / "civil_comments" / "data"
    folder.mkdir(parents=True)
    for split, rows in {"train": ROWS[:500], "validation": ROWS[500:600], "test": ROWS[600:]}.items():
        values = {"text": [t for t, _ in rows], "toxicity": [s for _, s in rows], "insult": [0.0 for _ in rows]}
        datasets.Dataset.from_dict(values).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    assert rows_by_split(jigsaw(path=str(folder.parent), dev=40, test=60)) == by_hand(40, 60)


def test_a_text_that_is_both_toxic_and_clean_is_not_called_clean(tmp_path: Path) -> None:
    rows = [*ROWS, *((text, 0.0) for text, score in ROWS if score >= 0.5)]
    corpus = jigsaw(path=kaggle(tmp_path / "a.csv", rows), dev=40, test=60)
    assert rows_by_split(corpus) == by_hand(40, 60)
    assert corpus.removed == {"duplicates": 200}


def test_bad_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="200 toxic and 300 clean texts are too few"):
        jigsaw(path=kaggle(tmp_path / "a.csv", ROWS))
    with pytest.raises(InputError, match=r"a\.csv, line 3: toxicity is 2; allowed are numbers from 0 to 1"):
        jigsaw(path=kaggle(tmp_path / "a.csv", [("a", 0.0), ("b", 2)]))
    with pytest.raises(InputError, match="none does not exist"):
        jigsaw(path=str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"corpus\.dev=-1"):
        jigsaw(dev=-1)


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (jigsaw, r"google/civil_comments .*no route.*corpus\.path=.*corpus=toxic-snippets"),
        (sst5, r"SetFit/sst5 .*no route.*corpus\.path=.*corpus=snippets"),
    ],
)
def test_without_a_hub_the_choices_are_named(load: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route\nand much more")

    monkeypatch.setattr(HfApi, "repo_info", unreachable)
    with pytest.raises(InputError, match=message) as caught:
        load()
    assert "\n" not in str(caught.value)
