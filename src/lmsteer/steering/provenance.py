"""The provenance of a steer, and the metadata of steer files; they need no torch."""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from lmsteer import old_files
from lmsteer.errors import InputError
from lmsteer.steering.metadata import fault

FORMAT = 3
"""Version of the names of tensors and metadata; older formats are read through ``old_files``."""
SCHEDULED_FORMAT = 4
"""Version of a file with schedules, which older versions would not follow."""
KEY, METHOD_KEY = "lmsteer", "lmsteer-method"
"""Entries of the metadata of steer files, and of the files of other methods."""
NOT_SETTINGS = ("curve", "curves", "dev_auc", "seen", "unused_options", "solver_result")
"""Entries of ``Provenance.training`` that are not options of the fit."""
REMEDY = "delete it and run the command that wrote it again"


@dataclass(frozen=True)
class Provenance:
    """Provenance of a steer, as stored in its file.

    Attributes:
        model: Name or hub id of the language model.
        fingerprint: ``Head.fingerprint`` of that model.
        commit: Commit of the hub that the model was loaded from; empty: unknown, or no model of the hub.
        meaning: Meaning of positive strength, by dimension.
        seed: Seed of the fit. None: it depends on none.
        corpus: Name, digest and size of the corpus, and the digest of the corpus from which its rows were drawn.
        versions: Versions of the packages that wrote it.
        training: Settings and loss curve of the fit.
        calibration: Strengths that reach a budget, each with the prompts and settings of its measurement.
        derivation: Sources and options of a composed or transferred steer; empty for a fitted one.

    Example:
        >>> Provenance(model="gpt2", fingerprint="f", training={"lr": 0.01, "curve": {}}).settings()
        {'lr': 0.01}
    """

    model: str
    fingerprint: str
    meaning: dict[str, str] = field(default_factory=dict)
    corpus: dict[str, Any] = field(default_factory=dict)
    seed: int | None = 0
    versions: dict[str, str] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    calibration: list[dict[str, Any]] = field(default_factory=list)
    derivation: dict[str, Any] = field(default_factory=dict)
    commit: str = ""

    def model_label(self, *facts: str) -> str:
        """Return the name of the model with further facts, the last of them its commit where that is known.

        Example:
            >>> Provenance(model="gpt2", fingerprint="f", commit="0123456789abcdef").model_label("width 768")
            'gpt2 (width 768, commit 0123456789ab)'
        """
        return model_label(self.model, self.commit, *facts)

    def settings(self) -> dict[str, Any]:
        """Return the entries of ``training`` that are options of the fit."""
        return {name: value for name, value in self.training.items() if name not in NOT_SETTINGS}


def model_label(name: str, commit: str, *facts: str) -> str:
    """Return the name of a model with facts in parentheses, the last of them its commit where that is known."""
    facts = (*facts, *([f"commit {commit[:12]}"] if commit else []))
    return f"{name} ({', '.join(facts)})" if facts else name


def load_provenance(path: Path) -> Provenance:
    """Read the provenance of a steer file, without its weights.

    Raises:
        InputError: If the file is missing, damaged, not a steer file, or of another format.
    """
    return to_provenance(old_files.steer(read_metadata(path), {})[0], path)


def to_provenance(metadata: dict[str, Any], path: Path) -> Provenance:
    """Take the provenance out of the metadata of a steer file.

    Raises:
        InputError: If an entry is missing or of another kind.
    """
    # Entries that are younger than the format may be missing.
    younger = {f.name: f.default_factory() for f in fields(Provenance) if callable(f.default_factory)}
    entries = {**younger, "commit": "", **metadata}
    if (text := fault(entries)) is not None:
        raise InputError(f"{path}: damaged steer file ({text}); {REMEDY}")
    return Provenance(**{name: entries[name] for name in Provenance.__dataclass_fields__ if name in entries})


def read_metadata(path: Path) -> dict[str, Any]:
    """Read the metadata of a steer file of this format or an older one, under the names of its format.

    Raises:
        InputError: If the file is missing, damaged, not a steer file, or of another format.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such steer file; expected a steer.safetensors written by a fit")
    try:
        with safe_open(path, framework="np") as file:
            entries = file.metadata() or {}
    except SafetensorError as error:
        reason = first_line(error)
        raise InputError(f"{path}: not a whole safetensors file ({reason}); if it is a steer, {REMEDY}") from error
    if METHOD_KEY in entries:
        raise InputError(f"{path}: the file of another method; the steer file of an LM-Steer expected")
    text = entries.get(KEY)
    if text is None:
        raise InputError(f"{path}: a safetensors file, but not a steer: it has no {KEY!r} metadata")
    try:
        metadata: dict[str, Any] = json.loads(text)
        number = metadata["format"]
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged steer file (its {KEY!r} metadata is not JSON); {REMEDY}") from error
    except (KeyError, TypeError) as error:
        raise damaged(path, error) from error
    if number not in (SCHEDULED_FORMAT, FORMAT, *old_files.OLD_FORMATS):
        raise InputError(f"{path}: steer file of format {number}; this version reads formats 1 to {SCHEDULED_FORMAT}")
    return metadata


def is_method_file(path: Path) -> bool:
    """Return whether a file is that of a method other than LM-Steer."""
    try:
        with safe_open(path, framework="np") as file:
            return METHOD_KEY in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def damaged(path: Path, error: Exception) -> InputError:
    """Return the error for a steer file whose content does not fit together."""
    return InputError(f"{path}: damaged steer file ({type(error).__name__}: {first_line(error)}); {REMEDY}")


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return (str(error).strip() or "no details").split("\n")[0]
