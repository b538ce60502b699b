"""The OpenWebText prompt sets: the same from a file, a folder or the address; in a random order."""

import hashlib
import json
import random
from pathlib import Path

import pytest

from lmsteer.data.corpus import text_key
from lmsteer.data.prompts import openwebtext as owt
from lmsteer.data.prompts.openwebtext import owt_sentiment_prompts
from lmsteer.data.prompts.prompt_sets import Kind
from lmsteer.errors import InputError

KINDS: tuple[Kind, ...] = ("neutral", "positive", "negative")


def write(path: Path, kind: str = "neutral", *, shuffled: bool = False) -> Path:
    rows = [{"prompt": {"text": f"{kind} prompt {i % 48}"}, "num_positive": 13} for i in range(50)]
    rows = random.Random(1).sample(rows, len(rows)) if shuffled else rows
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["{kind}_prompts.jsonl", "{kind}.jsonl"])
def test_a_folder_holds_the_sets_by_their_kind(name: str, tmp_path: Path) -> None:
    for kind in KINDS:
        file = write(tmp_path / name.format(kind=kind), kind)
        prompt_set = owt_sentiment_prompts(kind=kind, path=str(tmp_path))
        assert prompt_set == owt_sentiment_prompts(kind=kind, path=str(file))
        assert prompt_set.name == kind
        assert {prompt.text for prompt in prompt_set.prompts} == {f"{kind} prompt {i}" for i in range(48)}
        assert prompt_set.duplicates == 2


def test_fewer_prompts_are_the_first_in_the_order_of_a_hash_whatever_that_of_the_file(tmp_path: Path) -> None:
    sorted_set = owt_sentiment_prompts(kind="neutral", path=str(write(tmp_path / "a.jsonl")), n=20)
    shuffled_set = owt_sentiment_prompts(kind="neutral", path=str(write(tmp_path / "b.jsonl", shuffled=True)), n=20)
    assert sorted_set == shuffled_set
    texts = [f"neutral prompt {i}" for i in range(48)]
    texts.sort(key=lambda text: hashlib.sha256(f"0\t{text}".encode()).digest())
    assert [prompt.text for prompt in sorted_set.prompts] == texts[:20]


def test_continuations_are_reserved_with_their_prompts_and_ids_are_those_of_the_texts(tmp_path: Path) -> None:
    row = {"md5_hash": "x", "prompt": {"text": "It began"}, "continuation": {"text": "and went on."}}
    (tmp_path / "with.jsonl").write_text(json.dumps(row), encoding="utf-8")
    (tmp_path / "without.jsonl").write_text(json.dumps({"prompt": {"text": "It began"}}), encoding="utf-8")
    prompt_set = owt_sentiment_prompts(kind="neutral", path=str(tmp_path / "with.jsonl"))
    assert prompt_set.reserved == {text_key(text) for text in ("It began", "and went on.", "It began and went on.")}
    assert prompt_set.prompts == owt_sentiment_prompts(kind="neutral", path=str(tmp_path / "without.jsonl")).prompts


def test_without_a_path_the_published_set_is_downloaded_into_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = tmp_path / "published"
    published.mkdir()
    digests = {kind: write(published / f"{kind}_prompts.jsonl", kind).read_bytes() for kind in KINDS}
    monkeypatch.setenv("LMSTEER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(owt, "ADDRESS", published.as_uri())
    monkeypatch.setattr(owt, "DIGESTS", {kind: hashlib.sha256(data).hexdigest() for kind, data in digests.items()})
    for kind in KINDS:
        expected = owt_sentiment_prompts(kind=kind, path=str(published))
        assert owt_sentiment_prompts(kind=kind) == expected
        (published / f"{kind}_prompts.jsonl").unlink()
        assert owt_sentiment_prompts(kind=kind) == expected
    monkeypatch.setenv("LMSTEER_CACHE", str(tmp_path / "other"))
    with pytest.raises(InputError, match=r"cannot download .*neutral_prompts\.jsonl .*; give the file .* by path="):
        owt_sentiment_prompts(kind="neutral")


def test_bad_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has neither positive_prompts\.jsonl nor positive\.jsonl"):
        owt_sentiment_prompts(kind="positive", path=str(tmp_path))
    with pytest.raises(InputError, match=r"cannot read .*none\.jsonl"):
        owt_sentiment_prompts(kind="positive", path=str(tmp_path / "none.jsonl"))
    (tmp_path / "positive.jsonl").write_text("\n")
    with pytest.raises(InputError, match=r"positive\.jsonl holds no prompts"):
        owt_sentiment_prompts(kind="positive", path=str(tmp_path))
    with pytest.raises(InputError, match="prompts neutral: n is 0; allowed are 1 and more"):
        owt_sentiment_prompts(kind="neutral", path=str(write(tmp_path / "neutral.jsonl")), n=0)
