"""The steer file: safetensors with one JSON metadata entry; the same steer gives the same bytes."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lmsteer import old_files
from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.steering.steer import Steer
from lmsteer.storage.atomic_files import atomic_write

FORMAT, OLD_FORMATS = 3, (1, 2)
"""Version of the names of tensors and metadata; older formats are read through ``old_files``."""
KEY = "lmsteer"
NOT_SETTINGS = ("curve", "unused_options", "solver_result")
"""Entries of ``Provenance.training`` that are not options of the fit."""
REMEDY = "delete it and run the command that wrote it again"


@dataclass(frozen=True)
class Provenance:
    """Provenance of a steer, as stored in its file.

    Attributes:
        model: Name or hub id of the language model.
        fingerprint: ``Head.fingerprint`` of that model.
        meaning: Meaning of positive strength, by dimension.
        corpus: Name, digest and size of the corpus, and the digest of the corpus from which its rows were drawn.
        versions: Versions of the packages that wrote it.
        training: Settings and loss curve of the fit.
        calibration: Strengths that reach a budget, each with the prompts and settings of its measurement.
        derivation: Sources and options of a composed or transferred steer; empty for a fitted one.
    """

    model: str
    fingerprint: str
    meaning: dict[str, str] = field(default_factory=dict)
    corpus: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    calibration: list[dict[str, Any]] = field(default_factory=list)
    derivation: dict[str, Any] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """Return the entries of ``training`` that are options of the fit."""
        return {name: value for name, value in self.training.items() if name not in NOT_SETTINGS}


def save_steer(path: Path, steer: Steer, provenance: Provenance) -> None:
    """Write a steer file atomically."""
    metadata = {
        "format": FORMAT,
        "width": steer.width,
        "dimensions": list(steer.dimensions),
        "rank": steer.rank,
        "epsilon": steer.epsilon,
        "bias": steer.bias is not None,
        **asdict(provenance),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in steer.state_dict().items()}
    data = save(tensors, metadata={KEY: json.dumps(metadata, sort_keys=True, ensure_ascii=False)})
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def load_steer(path: Path, model: LanguageModel | None = None) -> tuple[Steer, Provenance]:
    """Read a steer file and, if ``model`` is given, check that it was fitted for that model.

    Raises:
        InputError: If the file is missing, damaged, not a steer file, of another format, or of another model.
    """
    metadata, tensors = _read(path)
    try:
        if metadata["format"] in OLD_FORMATS:
            metadata, tensors = old_files.steer(metadata, tensors)
        elif metadata["format"] != FORMAT:
            raise InputError(
                f"{path}: steer file of format {metadata['format']}; this version reads formats 1 to {FORMAT}"
            )
        provenance = Provenance(
            **{name: metadata[name] for name in Provenance.__dataclass_fields__ if name in metadata}
        )
        steer = Steer(
            metadata["width"],
            dimensions=metadata["dimensions"],
            rank=metadata["rank"],
            epsilon=metadata["epsilon"],
            bias=metadata["bias"],
        )
        steer.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError) as error:
        raise InputError(
            f"{path}: damaged steer file ({type(error).__name__}: {_first_line(error)}); {REMEDY}"
        ) from error
    if model is not None and provenance.fingerprint != model.head.fingerprint():
        raise InputError(
            f"{path}: fitted for model {provenance.model} (width {steer.width}), not for {model.name} "
            f"(width {model.width}); a steer serves only the model it was fitted on"
        )
    return steer, provenance


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise InputError(f"{path}: no such steer file; expected a steer.safetensors written by a fit")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(
            f"{path}: not a whole safetensors file ({_first_line(error)}); if it is a steer, {REMEDY}"
        ) from error
    if text is None:
        raise InputError(f"{path}: a safetensors file, but not a steer: it has no {KEY!r} metadata")
    try:
        return json.loads(text), tensors
    except ValueError as error:
        raise InputError(f"{path}: damaged steer file (its {KEY!r} metadata is not JSON); {REMEDY}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or "no details").split("\n")[0]
