"""The embedded corpora: labels, splits, balance, and no training on prompts."""

import json
from pathlib import Path

import pytest

from lmsteer.data.corpus import text_key
from lmsteer.data.sources.snippets import snippets, toxic_snippets
from lmsteer.errors import InputError

Cache = dict[str, Path]


def test_ratings_become_labels_and_marks_of_the_source_go(cache: Cache) -> None:
    corpus = snippets()
    rows = {row.text: row.label for row in (*corpus.train, *corpus.dev, *corpus.test, *corpus.scorer_split)}
    assert rows['A "warm" film & a good one.'] == 0.5
    assert rows["Dreadful."] == -1.0
    assert "Dreadful !" not in rows  # the same words: counts once


def test_snippets_are_split_in_the_documented_fractions(cache: Cache) -> None:
    corpus = snippets()
    sizes = {split: len(getattr(corpus, split)) / 1992 for split in ("scorer_split", "test", "dev", "train")}
    assert sum(sizes.values()) == 1.0
    assert sizes == pytest.approx({"scorer_split": 0.35, "test": 0.10, "dev": 0.05, "train": 0.50}, abs=0.03)


def test_toxic_and_clean_texts_are_as_many_and_of_similar_length_in_every_split(cache: Cache) -> None:
    corpus = toxic_snippets()
    rows = (*corpus.train, *corpus.dev)
    toxic, clean = ([row.text for row in rows if row.label == label] for label in (-1.0, 1.0))
    assert len(toxic) == len(clean) == 40
    assert {len(text.split()) for text in clean} == {7}  # as the toxic ones have; 26 words were on offer too
    assert corpus.test == corpus.scorer_split == ()
    # A clean choice in the order of the hash that splits the rows would put all of it into dev.
    assert sum(row.label == 1.0 for row in corpus.dev) < 15


def test_the_choice_does_not_depend_on_the_order_of_the_files(cache: Cache) -> None:
    before = toxic_snippets()
    for name in ("toxicity.jsonl", "amazonReviewSnippets_GroundTruth.txt"):
        lines = cache[name].read_bytes().splitlines(keepends=True)
        cache[name].write_bytes(b"".join(reversed(lines)))
    assert toxic_snippets().digest() == before.digest()


def test_texts_that_begin_or_continue_a_prompt_are_left_out(cache: Cache) -> None:
    added = ["the man said: more of it", "A prompt", "unlike any prompt at all"]
    with cache["toxicity.jsonl"].open("a", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in added)
    corpus = toxic_snippets()
    keys = {text_key(row.text) for row in (*corpus.train, *corpus.dev)}
    assert [text_key(text) in keys for text in added] == [False, False, True]
    assert corpus.removed == {"duplicates": 0, "overlaps": 2}


def test_texts_that_come_twice_are_counted(cache: Cache) -> None:
    before = (snippets().removed, toxic_snippets().removed)
    assert before == ({"duplicates": 1}, {"duplicates": 0, "overlaps": 0})  # "Dreadful." and "Dreadful !"
    for name in ("toxicity.jsonl", "amazonReviewSnippets_GroundTruth.txt", "nytEditorialSnippets_GroundTruth.txt"):
        with cache[name].open("a", encoding="utf-8") as file:
            file.write(cache[name].read_text(encoding="utf-8").split("\n")[0] + "\n")
    assert toxic_snippets().removed == {"duplicates": 3, "overlaps": 0}


@pytest.mark.parametrize("corpus", [snippets, toxic_snippets])
def test_an_empty_cache_is_reported(corpus: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LMSTEER_CACHE", str(tmp_path))
    assert callable(corpus)
    with pytest.raises(InputError, match=r"python -m src\.fetch"):
        corpus()
