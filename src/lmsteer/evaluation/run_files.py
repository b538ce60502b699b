"""Tie the files of a run together by their digests."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from lmsteer.errors import InputError
from lmsteer.evaluation.results import Result

METRICS, VALUES, GENERATIONS = "metrics.json", "values.safetensors", "generations.jsonl"
METHODS = ("steer.safetensors", "method.safetensors")
"""Files of a fitted method, of which only the weights count: later calibrations are added to their metadata."""


def digest_of(path: Path) -> str:
    """Return the sha256 of a file of a run; of a fitted method that of its weights."""
    with path.open("rb") as file:
        if path.name in METHODS:
            file.seek(8 + int.from_bytes(file.read(8), "little"))  # the header of safetensors, after its length
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_files(folder: Path, result: Result, names: Iterable[str] = (VALUES, GENERATIONS, *METHODS)) -> None:
    """Compare files of a run folder, as far as they are there, with those that its result was made of.

    Args:
        result: The content of the folder's ``metrics.json``; results of earlier versions name no files.

    Raises:
        InputError: Naming the first file that is another one.
    """
    for name in names:
        stored, path = result.files.get(name), folder / name
        if stored and path.is_file() and stored != digest_of(path):
            remedy = "fit the run again in a new folder" if name in METHODS else "evaluate the run again"
            raise InputError(f"{path}: not the file that {METRICS} next to it was made of; {remedy}")
