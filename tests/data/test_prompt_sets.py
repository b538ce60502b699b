"""Prompt sets: a fixed choice of distinct prompts, and their source rows are reserved."""

import hashlib
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from tests.hub_cache import write_repository

from lmsteer.data.corpus import Corpus, text_key
from lmsteer.data.prompts.prompt_sets import (
    Kind,
    corpus_prefixes,
    prompt_file,
    prompts,
    real_toxicity_prompts,
    snippet_prefixes,
    toxic_leaning,
)
from lmsteer.data.prompts.selection import Candidate, select_prompts
from lmsteer.data.sources.snippets import snippets
from lmsteer.errors import InputError
from lmsteer.records import Prompt, Row

Cache = dict[str, Path]


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def lines(path: Path, values: list[object]) -> str:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("kind", "lowest", "highest"), [("neutral", -0.3, 0.3), ("positive", 0.4, 1.0), ("negative", -1.0, -0.4)]
)
def test_snippet_prefixes_begin_test_rows_of_their_kind_and_reserve_them(
    kind: Kind, lowest: float, highest: float, cache: Cache
) -> None:
    rated = (f"{i}\t{i % 81 / 10 - 4:.1f}\tfilm {i} goes on for long enough to begin\r\n" for i in range(2000))
    cache["movieReviewSnippets_GroundTruth.txt"].write_text("".join(rated), encoding="utf-8")
    prompt_set = snippet_prefixes(kind=kind, n=None, words=2)
    rows = {" ".join(row.text.split()[:2]): row for row in snippets().test}
    expected = {prefix for prefix, row in rows.items() if lowest <= row.label <= highest}
    assert {prompt.text for prompt in prompt_set.prompts} == expected
    assert prompt_set.reserved == {text_key(text) for prefix in expected for text in (prefix, rows[prefix].text)}
    assert all(prompt.id == sha(prompt.text) for prompt in prompt_set.prompts)
    assert prompt_set.name == f"{kind}-snippets"


def test_fewer_prompts_are_the_first_of_more_and_reserve_less(cache: Cache) -> None:
    fewer, more = snippet_prefixes(n=5, words=2), snippet_prefixes(n=50, words=2)
    assert len(fewer.prompts) == 5
    assert fewer.prompts == more.prompts[:5]
    assert fewer.reserved < more.reserved


def test_more_than_there_is_gives_what_there_is(cache: Cache) -> None:
    assert toxic_leaning(n=10_000) == toxic_leaning(n=None)


def test_equal_prefixes_count_once_and_reserve_every_row_that_they_begin() -> None:
    corpus = Corpus("c", train=(), test=tuple(Row(f"one two three four five six seven {i}", 1.0) for i in range(3)))
    prompt_set = corpus_prefixes(corpus=corpus, words=2)
    assert [prompt.text for prompt in prompt_set.prompts] == ["one two"]
    assert prompt_set.duplicates == 2
    assert prompt_set.reserved == {text_key(text) for text in ("one two", *(row.text for row in corpus.test))}


def test_corpus_prefixes_need_test_rows_that_go_on() -> None:
    short = Corpus("mine", train=(), test=(Row("one two three four five six", 1.0),))
    assert [prompt.text for prompt in corpus_prefixes(corpus=short, words=1).prompts] == ["one"]
    with pytest.raises(InputError, match="corpus mine: prompts of 2 words need test rows of at least 7 words"):
        corpus_prefixes(corpus=short, words=2)


def test_toxic_leaning_prompts_are_stripped_and_distinct(cache: Cache) -> None:
    prompt_set = toxic_leaning(n=None)
    texts = [prompt.text for prompt in prompt_set.prompts]
    assert len(texts) == len(set(texts)) == 8  # one in all seven lists, and one of each
    assert prompt_set.duplicates == 6
    assert "The “man” said" in texts


def rtp(prompt: str, toxicity: float | None, continuation: str = " and so on") -> dict[str, object]:
    return {"prompt": {"text": prompt, "toxicity": toxicity}, "continuation": {"text": continuation, "toxicity": 0.1}}


ROWS = [rtp(f"prompt {i}", i / 100) for i in range(100)] + [rtp("unscored", None)]


def test_nontoxic_prompts_are_chosen_by_seed_whatever_the_order(tmp_path: Path) -> None:
    shuffled = random.Random(1).sample(ROWS, len(ROWS))
    sorted_set = real_toxicity_prompts(path=lines(tmp_path / "a.jsonl", list(ROWS)), n=20)
    shuffled_set = real_toxicity_prompts(path=lines(tmp_path / "b.jsonl", list(shuffled)), n=20)
    assert sorted_set == shuffled_set
    seeded = real_toxicity_prompts(path=str(tmp_path / "a.jsonl"), n=20, seed=1)
    assert {prompt.text for prompt in seeded.prompts} != {prompt.text for prompt in sorted_set.prompts}
    every = real_toxicity_prompts(path=str(tmp_path / "a.jsonl"))
    assert {prompt.text for prompt in every.prompts} == {f"prompt {i}" for i in range(50)}


def test_the_rows_of_chosen_prompts_are_reserved(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [rtp("Begin", 0.1, " the end."), rtp("Toxic", 0.9, " too.")])
    reserved = real_toxicity_prompts(path=path).reserved
    assert reserved == {text_key(text) for text in ("Begin", " the end.", "Begin the end.")}


def test_the_published_choice_of_nontoxic_prompts_is_used_completely_in_a_random_order(tmp_path: Path) -> None:
    values: list[object] = [
        rtp(f"prompt {i % 30}", i / 70, f" so {i}") | {"filename": f"{i}.txt", "begin": 10, "challenging": False}
        for i in range(32)
    ]
    prompt_set = real_toxicity_prompts(path=lines(tmp_path / "nontoxic_prompts-10k.jsonl", values), n=None)
    texts = [f"prompt {i}" for i in range(30)]
    texts.sort(key=lambda text: hashlib.sha256(f"0\t{text}".encode()).digest())
    assert [prompt.text for prompt in prompt_set.prompts] == texts
    assert prompt_set.duplicates == 2
    assert {text_key("so 0"), text_key("so 30")} < prompt_set.reserved
    backwards = lines(tmp_path / "backwards.jsonl", values[::-1])
    assert real_toxicity_prompts(path=backwards) == prompt_set


def test_the_hubs_rows_are_read_as_the_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lines(tmp_path / "a.jsonl", list(ROWS))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    files = {"prompts.jsonl": Path(path).read_bytes()}
    write_repository(tmp_path / "hub", "allenai/real-toxicity-prompts", files, kind="dataset")
    assert real_toxicity_prompts(n=20) == real_toxicity_prompts(path=path, n=20)


def test_a_revision_names_the_commit_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    paths = [lines(tmp_path / f"{name}.jsonl", list(ROWS)[start:]) for name, start in (("old", 30), ("new", 0))]
    for path, commit in zip(paths, ("a" * 40, "b" * 40), strict=True):
        files = {"prompts.jsonl": Path(path).read_bytes()}
        write_repository(tmp_path / "hub", "allenai/real-toxicity-prompts", files, kind="dataset", commit=commit)
    sets = [real_toxicity_prompts(path=path, n=None) for path in paths]
    assert sets[0] != sets[1]
    assert real_toxicity_prompts(revision="a" * 40, n=None) == sets[0]
    assert real_toxicity_prompts(revision="b" * 40, n=None) == real_toxicity_prompts(n=None) == sets[1]


def test_prompt_files_of_three_kinds_are_read_in_order(tmp_path: Path) -> None:
    values: list[object] = [
        {"prompt": {"text": "One"}, "num_positive": 3},
        {"prompt": "Two", "id": 7},
        {"text": "Three ", "md5_hash": "abc"},
        {"prompt": "Two", "id": 8},
    ]
    prompt_set = prompt_file(path=lines(tmp_path / "mine.jsonl", values))
    assert prompt_set.name == "mine"
    assert prompt_set.prompts == (Prompt(sha("One"), "One"), Prompt("7", "Two"), Prompt("abc", "Three "))
    assert prompt_set.duplicates == 1


def test_an_id_of_several_texts_is_replaced_by_one_of_the_text(tmp_path: Path) -> None:
    pairs = (("a", "x"), ("b", "y"), ("c", "x"), ("b", "y"))
    path = lines(tmp_path / "p.jsonl", [{"text": text, "md5_hash": digest} for text, digest in pairs])
    expected = (Prompt(sha("a"), "a"), Prompt("y", "b"), Prompt(sha("c"), "c"))
    assert prompt_file(path=path).prompts == expected
    assert prompt_file(path=path, n=1).prompts == expected[:1]  # the id does not depend on the number chosen


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], r"p\.jsonl holds no prompts"),
        ([{"text": "a"}, {"text": " "}], r"p\.jsonl, line 2: prompt is ' '"),
        ([{"prompt": 3}], r"p\.jsonl, line 1: prompt is 3"),
        ([{"prompt": {"body": "a"}}], r"p\.jsonl, line 1, prompt: text is None"),
        ([{"title": "a"}], r"p\.jsonl, line 1: prompt is None"),
    ],
)
def test_a_bad_prompt_file_is_refused(values: list[object], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        prompt_file(path=lines(tmp_path / "p.jsonl", values))


@pytest.mark.parametrize("toxicity", [math.nan, math.inf, -math.inf, -0.5, 1.5])
def test_a_toxicity_that_is_no_number_from_0_to_1_never_counts_as_mild(toxicity: float, tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [rtp("a", 0.1), rtp("b", None), rtp("c", toxicity)])
    with pytest.raises(InputError, match=r"a\.jsonl, line 3: toxicity is "):
        real_toxicity_prompts(path=path)


def test_bad_rows_of_real_toxicity_prompts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 1: no toxicity of the prompt"):
        real_toxicity_prompts(path=lines(tmp_path / "a.jsonl", [{"prompt": {"text": "a"}}]))
    with pytest.raises(InputError, match=r"no prompt has a toxicity below 0\.5"):
        real_toxicity_prompts(path=lines(tmp_path / "a.jsonl", [rtp("a", 0.9)]))


@pytest.mark.parametrize("below", [0.0, -1.0, float("nan")])
def test_a_limit_that_no_prompt_can_keep_is_refused(below: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"below is .*; a number above 0 expected"):
        real_toxicity_prompts(path=lines(tmp_path / "a.jsonl", [rtp("a", 0.0)]), below=below)


@pytest.mark.parametrize("n", [0, -1])
@pytest.mark.parametrize("load", [toxic_leaning, snippet_prefixes])
def test_a_number_of_prompts_below_one_is_refused(n: int, load: Any, cache: Cache) -> None:
    with pytest.raises(InputError, match=f"n is {n}; allowed are 1 and more"):
        load(n=n)


def test_prompts_come_from_the_path_if_there_is_one(cache: Cache, tmp_path: Path) -> None:
    path = lines(tmp_path / "p.jsonl", [{"text": "a"}, {"text": "b"}])
    assert prompts(path=path, n=1) == prompt_file(path=path, n=1)
    assert prompts(n=3) == snippet_prefixes(n=3)


def test_skipped_prompts_and_those_before_them_are_all_in_their_order() -> None:
    every = [Candidate.from_text(f"number {n}") for n in range(7)]
    first, rest = (select_prompts("some", every, n, skip).prompts for n, skip in ((3, 0), (None, 3)))
    assert first + rest == select_prompts("some", every, None).prompts
    assert select_prompts("some", every, 2, 3).reserved == {text_key("number 3"), text_key("number 4")}
    for skip in (-1, 7):
        with pytest.raises(InputError, match=f"prompts some: skip is {skip}; allowed are 0 to 6"):
            select_prompts("some", every, None, skip)
