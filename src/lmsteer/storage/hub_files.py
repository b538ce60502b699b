"""Files of a repository of the hub that are needed, by their names: of weights one format, none for other programs."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

WEIGHTS = (
    re.compile(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?"),
    re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin(\.index\.json)?"),
)
"""Formats of weights, the preferred one first."""
SINGLE = ("model.safetensors", "pytorch_model.bin")
TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model", "spm.model")
OF_OTHER_FORMATS = re.compile(r".*(\.index\.json|onnx.*|flax.*|tf_.*|rust_.*)")
CONFIGURATION = re.compile(r"[^/]+\.(json|txt|model|jinja|tiktoken)")
TABLES = re.compile(r".*\.(parquet|jsonl?|csv|tsv|arrow)(\.(gz|bz2|xz|zst))?", re.IGNORECASE)
DESCRIPTIONS = ("README.md", ".huggingface.yaml")
"""Files that say which tables are which split of a data set."""
STEERS = ("steer.safetensors", "method.safetensors")
"""Files of a fit, which are preferred to others."""
NO_STEER = re.compile(r"(.*/)?(.*model(-\d+-of-\d+)?|processor|values)\.safetensors")
"""Weights of models and adapters, logits processors, and values of a run by prompt."""


def table_names(names: Iterable[str], subset: str = "") -> list[str]:
    """Return the tables of a data set, or those of a subset in a folder of its name, and what says their splits."""
    names = list(names)
    of_subset = [name for name in names if is_table(name) and subset in Path(name).parts[:-1]]
    return [name for name in names if name in DESCRIPTIONS or (name in of_subset if of_subset else is_table(name))]


def is_table(name: str) -> bool:
    """Return whether a file has rows of a data set."""
    return TABLES.fullmatch(name) is not None


def steer_names(names: Iterable[str], file: str = "") -> list[str]:
    """Return the files of steers: the one that is named, else that of a fit, else all that may be one.

    Args:
        file: Name of one of them; empty: it is not known.

    Example:
        >>> steer_names(["README.md", "tone.safetensors", "model.safetensors"])
        ['tone.safetensors']
    """
    names = list(names)
    if file:
        return [name for name in names if name == file]
    if preferred := [name for name in STEERS if name in names]:
        return preferred[:1]
    return [name for name in names if name.endswith(".safetensors") and not NO_STEER.fullmatch(name)]


def configuration_names(names: Iterable[str]) -> list[str]:
    """Return configuration and tokenizer of a model."""
    return [name for name in names if CONFIGURATION.fullmatch(name) and not OF_OTHER_FORMATS.fullmatch(name)]


def has_tokenizer(names: Sequence[str]) -> bool:
    """Return whether there are the files of a tokenizer."""
    return any(name in names for name in TOKENIZERS)


def weight_names(names: Iterable[str]) -> list[str]:
    """Return the weights of one format and the index of their shards; one file is preferred to shards."""
    names = list(names)
    for pattern, single in zip(WEIGHTS, SINGLE, strict=True):
        if single in names:
            return [single]
        if shards := [name for name in names if pattern.fullmatch(name)]:
            return shards
    return []


def is_tensors(name: str) -> bool:
    """Return whether a file of weights holds tensors; an index of shards does not."""
    return not name.endswith(".json")


def has_all_weights(folder: Path, names: Iterable[str]) -> bool:
    """Return whether a model has its weights: one file, or all shards that its index names."""
    weights = weight_names(names)
    indices = [name for name in weights if name.endswith(".index.json")]
    if not indices:
        return len(weights) == 1 and weights[0] in SINGLE
    text = (folder / indices[0]).read_text(encoding="utf-8")
    return set(re.findall(r'"([^"]+\.(?:safetensors|bin))"', text)) <= set(weights)
