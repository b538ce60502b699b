"""A tiny embedded cache in the archives' own formats, and a private cache for ``datasets``."""

import json
from pathlib import Path

import datasets
import pytest

from lmsteer.embedded.archives import ARCHIVES, PROMPT_KINDS

RATED = "1\t2.0\tA ''warm'' film &amp; a good one.\r\n2\t-4.0\tDreadful.\r\n3\t0.4\tDreadful !\r\n"


@pytest.fixture(autouse=True)
def private_datasets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets-cache")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Where to write each embedded file; the ones that are read are small but real in form."""
    monkeypatch.setenv("LMSTEER_CACHE", str(tmp_path / "cache"))
    paths = {name: archive.folder() / name for archive in ARCHIVES for name in archive.members}
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    toxic = [f"you are a stupid thing number {'x' * i}" for i in range(1, 41)]
    paths["toxicity.jsonl"].write_text("".join(json.dumps({"text": text}) + "\n" for text in toxic), encoding="utf-8")
    neutral = (f"{i}\t0.{i % 9}\tfilm {i} is neither good nor bad but it goes on for long\r\n" for i in range(10, 2000))
    paths["movieReviewSnippets_GroundTruth.txt"].write_bytes((RATED + "".join(neutral)).encode())
    short = (f"{i}\t0.5\tclean {i} is seven words long here\r\n" for i in range(200))
    long = (f"{i}\t0.5\tword {i}{' and so on' * 8}\r\n" for i in range(200))
    paths["nytEditorialSnippets_GroundTruth.txt"].write_text("".join(long), encoding="utf-8")
    paths["amazonReviewSnippets_GroundTruth.txt"].write_text("".join(short), encoding="utf-8")
    for kind in PROMPT_KINDS:
        paths[f"rtp_{kind}.txt"].write_text(f"The “man” said \nA prompt of {kind}\n\n", encoding="utf-8")
    return paths
