"""The steer file: safetensors with one JSON metadata entry; the same steer gives the same bytes."""

import json
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from lmsteer import old_files
from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.steering.provenance import FORMAT, KEY, OLD_FORMATS, Provenance, damaged, read_metadata, to_provenance
from lmsteer.steering.steer import Steer
from lmsteer.storage.atomic_files import atomic_write


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
    metadata = read_metadata(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata["format"] in OLD_FORMATS:
            metadata, tensors = old_files.steer(metadata, tensors)
        provenance = to_provenance(metadata, path)
        steer = Steer(
            metadata["width"],
            dimensions=metadata["dimensions"],
            rank=metadata["rank"],
            epsilon=metadata["epsilon"],
            bias=metadata["bias"],
        )
        steer.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise damaged(path, error) from error
    if model is not None and provenance.fingerprint != model.head.fingerprint():
        raise InputError(
            f"{path}: fitted for model {provenance.model} (width {steer.width}), not for {model.name} "
            f"(width {model.width}); a steer serves only the model it was fitted on"
        )
    return steer, provenance
