"""The hub's data sets as this project names them: real ids, layouts and columns, made-up rows."""

import io
import json
import random
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tests.hub.made_up_text import KIND, RUDE, sentences
from tests.hub.repository import Repository
from tests.hub.tokenizer_files import Files

COMMENT_SCORES = ("severe_toxicity", "obscene", "threat", "insult", "identity_attack", "sexual_explicit")
PROMPT_SCORES = ("threat", "insult", "severe_toxicity", "toxicity", "profanity", "sexually_explicit", "flirtation")
PROMPT_SCORES += ("identity_attack",)
SST5_NAMES = ("very negative", "negative", "neutral", "positive", "very positive")
Rows = list[dict[str, Any]]


def _parquet(rows: Rows, types: Mapping[str, pa.DataType]) -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(list(types.items()))), content)
    return content.getvalue()


def _jsonl(rows: Iterable[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _card(features: Mapping[str, str], sizes: Mapping[str, int]) -> bytes:
    """Return a README whose metadata says which files are which split, as those of converted data sets do."""
    lines = ["---", "dataset_info:", "  features:"]
    for name, kind in features.items():
        lines += [f"  - name: {name}", kind if "\n" in kind else f"    dtype: {kind}"]
    lines += ["  splits:"]
    for split, size in sizes.items():
        lines += [f"  - name: {split}", f"    num_bytes: {size * 150}", f"    num_examples: {size}"]
    lines += ["configs:", "- config_name: default", "  data_files:"]
    for split in sizes:
        lines += [f"  - split: {split}", f"    path: data/{split}-*"]
    return ("\n".join(lines) + "\n---\n# A stand-in with made-up rows\n").encode()


def _comments(n: int, seed: int) -> Rows:
    """Return comments of which two fifths are toxic, two fifths have toxicity 0, and one fifth is between."""
    chance = random.Random(seed)
    bands = [(0.5, 0.95)] * 2 + [(0.0, 0.0)] * 2 + [(0.05, 0.45)]
    rows = []
    rude, kind = sentences(n, seed=seed, tails=RUDE), sentences(n, seed=seed + 1)
    for index in range(n):
        low, high = bands[index % 5]
        text = rude[index] if low >= 0.5 else kind[index]
        others = {name: round(chance.uniform(0, high), 4) for name in COMMENT_SCORES}
        rows.append({"text": text, "toxicity": round(chance.uniform(low, high), 4), **others})
    return rows


def civil_comments(n: int = 11_000) -> Repository:
    """Return ``google/civil_comments``: parquet files, the training split in two of them."""
    scores = ("toxicity", *COMMENT_SCORES)
    types = {"text": pa.string(), **dict.fromkeys(scores, pa.float32())}
    sizes = {"train": n, "validation": n // 20, "test": n // 20}
    files: Files = {"README.md": _card({"text": "string", **dict.fromkeys(scores, "float32")}, sizes)}
    train = _comments(n, seed=10)
    files["data/train-00000-of-00002.parquet"] = _parquet(train[: n // 2], types)
    files["data/train-00001-of-00002.parquet"] = _parquet(train[n // 2 :], types)
    for seed, split in enumerate(("validation", "test"), start=20):
        files[f"data/{split}-00000-of-00001.parquet"] = _parquet(_comments(sizes[split], seed=seed), types)
    return Repository.of("google/civil_comments", files, kind="datasets", former=("civil_comments",))


def _half(chance: random.Random, text: str, toxicity: float) -> dict[str, Any]:
    """Return a prompt or continuation; one in twenty has no scores, as in the published file."""
    without = chance.random() < 0.05
    return {"text": text} | {
        name: None if without else toxicity if name == "toxicity" else round(chance.random() * 0.4, 4)
        for name in PROMPT_SCORES
    }


def toxicity_prompts(n: int = 600) -> Repository:
    """Return ``allenai/real-toxicity-prompts``: one JSONL file of nested rows."""
    chance = random.Random(30)
    rows = []
    for index, text in enumerate(sentences(n, seed=30, tails=RUDE + KIND)):
        cut = text.index(" ", len(text) // 2)
        halves = (_half(chance, text[:cut], chance.random()), _half(chance, text[cut:], chance.random()))
        begin = chance.randrange(1000)
        place = {"filename": f"{index:07d}-made-up.txt", "begin": begin, "end": begin + len(text)}
        rows.append({**place, "challenging": index % 50 == 0, "prompt": halves[0], "continuation": halves[1]})
    files = {"README.md": b"---\nlicense: apache-2.0\n---\n", "prompts.jsonl": _jsonl(rows)}
    return Repository.of("allenai/real-toxicity-prompts", files, kind="datasets")


def sst5(n: int = 1000) -> Repository:
    """Return ``SetFit/sst5``: a JSONL file for each split."""
    files: Files = {"README.md": b"# Stanford Sentiment Treebank, five labels: a stand-in\n"}
    for seed, (split, size) in enumerate({"train": n, "dev": n // 5, "test": n // 5}.items(), start=40):
        tails = {0: RUDE, 1: RUDE, 2: (), 3: KIND, 4: KIND}
        rows: Rows = []
        by_label = {label: sentences(size, seed=seed * 10 + label, tails=tails[label]) for label in tails}
        for index in range(size):
            label = index % 5
            rows.append({"text": by_label[label][index], "label": label, "label_text": SST5_NAMES[label]})
        files[f"{split}.jsonl"] = _jsonl(rows)
    return Repository.of("SetFit/sst5", files, kind="datasets")


def sst2(n: int = 600) -> Repository:
    """Return ``stanfordnlp/sst2``: parquet files, the labels of the test split hidden."""
    types = {"idx": pa.int32(), "sentence": pa.string(), "label": pa.int64()}
    names = "    dtype:\n      class_label:\n        names:\n          '0': negative\n          '1': positive"
    sizes = {"train": n, "validation": n // 4, "test": n // 4}
    files: Files = {"README.md": _card({"idx": "int32", "sentence": "string", "label": names}, sizes)}
    for seed, (split, size) in enumerate(sizes.items(), start=50):
        rude, kind = sentences(size, seed=seed, tails=RUDE), sentences(size, seed=seed + 10, tails=KIND)
        rows = [
            {"idx": i, "sentence": kind[i] if i % 2 else rude[i], "label": -1 if split == "test" else i % 2}
            for i in range(size)
        ]
        files[f"data/{split}-00000-of-00001.parquet"] = _parquet(rows, types)
    return Repository.of("stanfordnlp/sst2", files, kind="datasets", former=("sst2",))


def open_web_text_prompts() -> Files:
    """Return the published files of sentiment prompts by name, which are not on the hub."""
    return {
        f"{kind}_prompts.jsonl": _jsonl(
            {"prompt": {"text": " ".join(text.split()[:6])}, "num_positive": 12}
            for text in sentences(60, seed=seed, tails=tails)
        )
        for seed, (kind, tails) in enumerate({"neutral": (), "positive": KIND, "negative": RUDE}.items(), start=60)
    }


def data_sets() -> list[Repository]:
    """Return the data sets that ``conf/corpus`` and ``conf/prompts`` name."""
    return [civil_comments(), toxicity_prompts(), sst5(), sst2()]
