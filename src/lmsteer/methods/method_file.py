"""The file of a fitted method: safetensors with one JSON metadata entry, as a steer file has; data, never code."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from lmsteer.errors import InputError
from lmsteer.methods.learned_method import FittedMethod, Learned, LearnedMethod
from lmsteer.methods.lm_steer import ConstantVector, LMSteer
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Controller
from lmsteer.steering.metadata import fault, is_of_kind
from lmsteer.steering.provenance import METHOD_KEY, REMEDY, Provenance, first_line
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer, save_steer
from lmsteer.storage.atomic_files import atomic_write

FORMAT = 1
METHODS = {
    "prompt": "lmsteer.methods.prompt.Prompt",
    "contrast": "lmsteer.methods.prompt.Contrast",
    "blacklist": "lmsteer.methods.blacklist.Blacklist",
    "logit_offset": "lmsteer.methods.logit_offset.LogitOffset",
    "lora": "lmsteer.methods.lora.Lora",
    "dexperts": "lmsteer.methods.lora.DExperts",
    "diffmean": "lmsteer.methods.layer_vector.DiffMean",
    "residual_vector": "lmsteer.methods.layer_vector.ResidualVector",
}
"""Classes of the methods of this library by name; those of installed packages are entry points of this group."""
GROUP = "lmsteer.methods"
PROVENANCE = {f.name for f in fields(Provenance)}
KINDS: dict[str, Any] = {"method": str, "attribute": str, "options": dict[str, Any], "values": dict[str, Any]}


def save_method(path: Path, fitted: FittedMethod, provenance: Provenance) -> None:
    """Write the file of a fitted method atomically."""
    metadata = {
        "format": FORMAT,
        "method": fitted.method.name,
        "attribute": fitted.attribute,
        "options": fitted.method.options(),
        "values": dict(fitted.learned.values),
        **asdict(provenance),
    }
    tensors = {name: tensor.contiguous() for name, tensor in fitted.learned.tensors.items()}
    data = save(tensors, metadata={METHOD_KEY: json.dumps(metadata, sort_keys=True, ensure_ascii=False)})
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def load_controller(path: Path, model: LanguageModel | None = None) -> tuple[Controller, Provenance]:
    """Read a steer file, or the file of another method, and check that it is for the model.

    Raises:
        InputError: If the file is missing, damaged, neither of the two, or of another model; if the method is not of
            this library and no entry point ``lmsteer.methods`` of an installed package.
    """
    metadata = _metadata(path)
    if metadata is None:
        return load_steer(path, model)
    provenance = _provenance(path, metadata)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{path}: damaged ({first_line(error)}); {REMEDY}") from error
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise InputError(f"{path}: weights in {name} that are no finite floating-point numbers; {REMEDY}")
    method = _method(path, metadata["method"], metadata["options"])
    fitted = FittedMethod(method, metadata["attribute"], Learned(tensors, metadata["values"]))
    if model is not None:
        if provenance.fingerprint != model.head.fingerprint():
            raise InputError(
                f"{path}: fitted for model {provenance.model}, whose weights are not those of {model.name}"
            )
        method.check_learned(model, fitted.learned, path)
    return fitted, provenance


def add_calibrations(path: Path, controller: Controller, change: Callable[[Provenance], Provenance]) -> None:
    """Change the provenance of a file, of which several processes may do that at once.

    Args:
        controller: What the change is about.
        change: Called with the provenance that the file has by then.

    Raises:
        InputError: If the file holds something else by then.
    """
    with FileLock(path.with_name(f".{path.name}.lock")):
        present, provenance = load_controller(path)
        if _content(present) != _content(controller):
            raise InputError(f"{path}: another method or steer was written there meanwhile; calibrate that one")
        save_controller(path, present, change(provenance))


def save_controller(path: Path, controller: Controller, provenance: Provenance) -> None:
    """Write a steer or a fitted method atomically."""
    if isinstance(controller, Steer):
        save_steer(path, controller, provenance)
    else:
        assert isinstance(controller, FittedMethod)
        save_method(path, controller, provenance)


def method_name(controller: Controller) -> str:
    """Return the name of the row of a controller in tables."""
    if isinstance(controller, FittedMethod):
        return controller.method.name
    return ConstantVector.name if isinstance(controller, Steer) and controller.rank == 0 else LMSteer.name


def _content(controller: Controller) -> object:
    if isinstance(controller, Steer):
        return {name: tensor.cpu().tolist() for name, tensor in controller.state_dict().items()}
    assert isinstance(controller, FittedMethod)
    tensors = {name: tensor.cpu().tolist() for name, tensor in controller.learned.tensors.items()}
    return controller.method, controller.attribute, tensors, dict(controller.learned.values)


def _metadata(path: Path) -> dict[str, Any] | None:
    """Return the metadata of the file of a method; None for any other file, left to ``load_steer``."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(METHOD_KEY)
        metadata = None if text is None else json.loads(text)
    except (SafetensorError, ValueError):
        return None
    if metadata is None:
        return None
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise InputError(f"{path}: the file of a method of another format; this version reads format {FORMAT}")
    for name, kind in KINDS.items():
        if not is_of_kind(metadata.get(name), kind):
            raise InputError(f"{path}: damaged ({name}: of another kind than expected); {REMEDY}")
    return metadata


def _provenance(path: Path, metadata: dict[str, Any]) -> Provenance:
    entries = {name: value for name, value in metadata.items() if name in PROVENANCE}
    shape = {"width": 1, "dimensions": [metadata["attribute"]], "rank": 0, "epsilon": 1.0, "bias": False}
    if (text := fault(entries | shape)) is not None:
        raise InputError(f"{path}: damaged ({text}); {REMEDY}")
    return Provenance(**entries)


def _method(path: Path, name: str, options: dict[str, Any]) -> LearnedMethod:
    """Build the method of a file; only classes of this library and of installed packages are considered."""
    target = METHODS.get(name)
    if target is not None:
        module, _, attribute = target.rpartition(".")
        kind = getattr(importlib.import_module(module), attribute)
    else:
        found = [point for point in importlib.metadata.entry_points(group=GROUP) if point.name == name]
        if not found:
            raise InputError(
                f"{path}: method {name!r} is unknown; {', '.join(METHODS)}, or an entry point {GROUP} expected"
            )
        kind = found[0].load()
    try:
        method: LearnedMethod = kind(**options)
    except TypeError as error:
        raise InputError(f"{path}: options of method {name} that it does not have ({first_line(error)})") from error
    return method
