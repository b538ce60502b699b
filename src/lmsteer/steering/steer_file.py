"""The steer file: safetensors with one JSON metadata entry; the same steer gives the same bytes."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lmsteer import old_files
from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.steering.provenance import (
    FORMAT,
    KEY,
    REMEDY,
    SCHEDULED_FORMAT,
    Provenance,
    damaged,
    model_label,
    read_metadata,
    to_provenance,
)
from lmsteer.steering.schedule import from_entry, to_entry, with_schedules
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_location import locate_steer
from lmsteer.storage.atomic_files import atomic_write


def save_steer(path: Path, steer: Steer, provenance: Provenance) -> None:
    """Write a steer file atomically.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "tone.safetensors")
        ...     save_steer(path, Steer(8, dimensions=["tone"], rank=2), Provenance(model="m", fingerprint="f"))
        ...     load_steer(path)[0].dimensions
        ('tone',)
    """
    metadata = {
        "format": SCHEDULED_FORMAT if steer.schedules else FORMAT,
        "width": steer.width,
        "dimensions": list(steer.dimensions),
        "rank": steer.rank,
        "epsilon": steer.epsilon,
        "bias": steer.bias is not None,
        **asdict(provenance),
    }
    if steer.schedules:
        metadata["schedules"] = {name: to_entry(schedule) for name, schedule in steer.schedules.items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in steer.state_dict().items()}
    data = save(tensors, metadata={KEY: json.dumps(metadata, sort_keys=True, ensure_ascii=False)})
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def load_steer(
    path: str | Path, model: LanguageModel | None = None, *, revision: str | None = None
) -> tuple[Steer, Provenance]:
    """Read a steer file and, if ``model`` is given, check that it was fitted for that model.

    Args:
        path: A file, a folder with one, or a repository of the hub, ``ORG/NAME``, in this order. Of a repository only
            the steer file is downloaded, never code; ``ORG/NAME:FILE.safetensors`` names one of several.
        revision: Branch, tag or commit on the hub; None: the default branch.

    Raises:
        InputError: If the file is missing, damaged, not a steer file, of another format, or of another model; if a
            folder or repository has no steer or several, or the hub does not give it.

    Example:
        >>> load_steer(Path("missing.safetensors"))
        Traceback (most recent call last):
        lmsteer.errors.InputError: missing.safetensors: no such steer file; ...
    """
    path = locate_steer(path, revision=revision)
    metadata = read_metadata(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata, tensors = old_files.steer(metadata, tensors)
        provenance = to_provenance(metadata, path)
        _check_tensors(path, metadata, tensors)
        steer = Steer(
            metadata["width"],
            dimensions=metadata["dimensions"],
            rank=metadata["rank"],
            epsilon=metadata["epsilon"],
            bias=metadata["bias"],
        )
        steer.load_state_dict(tensors)
        steer = _scheduled(steer, path, metadata.get("schedules", {}))
    except (KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise damaged(path, error) from error
    if model is not None and provenance.fingerprint != model.head.fingerprint():
        expected = provenance.model_label(f"width {steer.width}")
        actual = model_label(model.name, model.commit, f"width {model.width}")
        raise InputError(
            f"{path}: fitted for model {expected}, not for {actual}: their weights differ, and a steer serves only the "
            "model it was fitted on"
        )
    return steer, provenance


def _scheduled(steer: Steer, path: Path, entries: dict[str, Any]) -> Steer:
    """Give a steer the schedules of its file.

    Raises:
        InputError: If a number is out of its range, or they do not belong to this steer.
    """
    if not entries:
        return steer
    try:
        return with_schedules(steer, {name: from_entry(entry) for name, entry in entries.items()})
    except InputError as error:
        raise InputError(f"{path}: damaged steer file ({error}); {REMEDY}") from error


def _check_tensors(path: Path, metadata: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Refuse weights that are no finite numbers, or not of the shape that the metadata names.

    Raises:
        InputError: Naming the tensor.
    """
    shape = (len(metadata["dimensions"]), metadata["width"])
    for name, tensor in tensors.items():
        if tensor.shape[:2] != shape:
            raise InputError(f"{path}: {name} of shape {tuple(tensor.shape)}, but {shape} by its metadata; {REMEDY}")
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise InputError(f"{path}: weights in {name} that are no finite floating-point numbers; {REMEDY}")
