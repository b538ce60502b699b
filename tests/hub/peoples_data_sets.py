"""Data sets of the hub as people have them: classes with names, scores, preferences, and truth values."""

from __future__ import annotations

import io
import json
from typing import Any

from datasets import ClassLabel, Dataset, Features, Value
from tests.hub.made_up_text import KIND, RUDE, sentences
from tests.hub.repository import Repository
from tests.hub.tokenizer_files import Files

ROWS = 240
Messages = list[dict[str, str]]


def _jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _labeled(n: int, seed: int) -> list[tuple[str, int]]:
    """Return sentences and their classes: 0 rude, 1 kind."""
    rude, kind = (sentences(n // 2, seed=seed + k, tails=tails) for k, tails in enumerate((RUDE, KIND)))
    return [(text, k) for pair in zip(rude, kind, strict=True) for k, text in enumerate(pair)]


def reviews(n: int = ROWS) -> Repository:
    """Return reviews with classes: parquet files, and a split whose labels are hidden."""
    features = Features({"review": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    names = "    dtype:\n      class_label:\n        names:\n          '0': neg\n          '1': pos"
    lines = ["---", "dataset_info:", "  features:", "  - name: review", "    dtype: string", "  - name: label", names]
    lines += ["configs:", "- config_name: default", "  data_files:"]
    files: Files = {}
    for seed, split in enumerate(("train", "test", "unsupervised"), start=100):
        rows = _labeled(n if split == "train" else n // 4, seed * 10)
        labels = [-1 if split == "unsupervised" else label for _, label in rows]
        content = io.BytesIO()
        Dataset.from_dict({"review": [text for text, _ in rows], "label": labels}, features=features).to_parquet(
            content
        )
        files[f"data/{split}-00000-of-00001.parquet"] = content.getvalue()
        lines += [f"  - split: {split}", f"    path: data/{split}-*"]
    files["README.md"] = ("\n".join(lines) + "\n---\n").encode()
    return Repository.of("tester/reviews", files, kind="datasets")


def _answered(question: str, answer: str) -> Messages:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def preferences(n: int = ROWS) -> Repository:
    """Return preferences between two answers, with splits of other names, and a subset in a folder of its name."""
    files: Files = {"README.md": b"---\nconfigs:\n- config_name: default\n  data_files:\n"}
    lines = []
    for seed, split in enumerate(("train_prefs", "test_prefs"), start=110):
        rows = _labeled(n if split == "train_prefs" else n // 4, seed * 10)
        pairs = [
            {
                "chosen": _answered(f"Question {i} of {split}?", kind),
                "rejected": _answered(f"Question {i} of {split}?", rude),
            }
            for i, ((rude, _), (kind, _)) in enumerate(zip(rows[::2], rows[1::2], strict=True))
        ]
        files[f"{split}.jsonl"] = _jsonl(pairs)
        lines.append(f"  - split: {split}\n    path: {split}.jsonl\n")
    lines.append("- config_name: short\n  data_files:\n  - split: train\n    path: short/train.jsonl\n---\n")
    files["README.md"] += "".join(lines).encode()
    short = [
        {"positive": kind, "negative": rude}
        for (rude, _), (kind, _) in zip(*[iter(_labeled(n, 1300))] * 2, strict=True)
    ]
    files["short/train.jsonl"] = _jsonl(short)
    return Repository.of("tester/preferences", files, kind="datasets")


def opinions(n: int = ROWS) -> Repository:
    """Return answers with truth values, five words as labels, and a score: one JSONL file."""
    words = ("awful", "bad", "mixed", "good", "lovely")
    rows = [
        {
            "prompt": f"Question {i}?",
            "completion": text,
            "liked": label == 1,
            "word": words[i // 2 % 2 + 3 * label] if i % 5 else "mixed",
            "score": round((0.5 + i % 5 / 10) if label else i % 5 / 20, 3),
        }
        for i, (text, label) in enumerate(_labeled(n, 1200))
    ]
    return Repository.of(
        "tester/opinions", {"opinions.jsonl": _jsonl(rows), "README.md": b"# Made up\n"}, kind="datasets"
    )


def peoples_data_sets() -> list[Repository]:
    """Return all of them."""
    return [reviews(), preferences(), opinions()]
