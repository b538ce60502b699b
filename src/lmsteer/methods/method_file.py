"""The file of a fitted method: safetensors with one JSON metadata entry, as a steer file has; data, never code."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.methods.learned_method import FittedMethod, Learned, LearnedMethod
from lmsteer.methods.lm_steer import ConstantVector, LMSteer
from lmsteer.methods.method import Method
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Controller
from lmsteer.steering.metadata import fault, is_of_kind
from lmsteer.steering.provenance import METHOD_KEY, REMEDY, Provenance, first_line, is_method_file
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer, save_steer
from lmsteer.steering.steer_location import locate_steer
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


def load_controller(path: str | Path, model: LanguageModel | None = None) -> tuple[Controller, Provenance]:
    """Read a steer file, or the file of another method, and check that it is for the model.

    Args:
        path: A file, a folder with one, or a repository of the hub, as for ``load_steer``.

    Raises:
        InputError: If the file is missing, damaged, neither of the two, or of another model; if the method is not of
            this library and no entry point ``lmsteer.methods`` of an installed package; or as ``locate_steer``.

    Example:
        >>> load_controller(Path("missing.safetensors"))
        Traceback (most recent call last):
        lmsteer.errors.InputError: missing.safetensors: no such steer file; ...
    """
    path = locate_steer(path)
    if not is_method_file(path):
        return load_steer(path, model)
    metadata = _metadata(path)
    provenance = _provenance(path, metadata)
    method = _method(path, metadata["method"], metadata["options"])
    for name, kind in method.value_kinds.items():
        if not is_of_kind(metadata["values"].get(name), kind):
            raise InputError(f"{path}: damaged (values: {name}: {_words(kind)} expected); {REMEDY}")
    fitted = FittedMethod(method, metadata["attribute"], Learned(_tensors(path), metadata["values"]))
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
        return {name: tensor.cpu().tolist() for name, tensor in controller.state_dict().items()}, controller.schedules
    assert isinstance(controller, FittedMethod)
    tensors = {name: tensor.cpu().tolist() for name, tensor in controller.learned.tensors.items()}
    return controller.method, controller.attribute, tensors, dict(controller.learned.values)


def _metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of the file of a method.

    Raises:
        InputError: If it is no JSON object, of another format, or has an entry of another kind.
    """
    with safe_open(path, framework="np") as file:
        text = file.metadata()[METHOD_KEY]
    try:
        metadata: dict[str, Any] = json.loads(text)
        json.dumps(metadata, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged (its {METHOD_KEY!r} metadata is not JSON); {REMEDY}") from error
    if not isinstance(metadata, dict):
        raise InputError(f"{path}: damaged (its {METHOD_KEY!r} metadata is no object); {REMEDY}")
    if metadata.get("format") != FORMAT:
        raise InputError(f"{path}: the file of a method of another format; this version reads format {FORMAT}")
    for name, kind in KINDS.items():
        if not is_of_kind(metadata.get(name), kind):
            raise InputError(f"{path}: damaged ({name}: {_words(kind)} expected); {REMEDY}")
    return metadata


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{path}: damaged ({first_line(error)}); {REMEDY}") from error
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise InputError(f"{path}: weights in {name} that are no finite floating-point numbers; {REMEDY}")
    return tensors


def _words(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind)) if not get_args(kind) else str(kind).replace("typing.", "")


def _provenance(path: Path, metadata: dict[str, Any]) -> Provenance:
    entries = {name: value for name, value in metadata.items() if name in PROVENANCE}
    shape = {"width": 1, "dimensions": [metadata["attribute"]], "rank": 0, "epsilon": 1.0, "bias": False}
    if (text := fault(entries | shape)) is not None:
        raise InputError(f"{path}: damaged ({text}); {REMEDY}")
    return Provenance(**entries)


def _method(path: Path, name: str, options: dict[str, Any]) -> LearnedMethod:
    """Build the method of a file."""
    try:
        kind = _class(name)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    hints = {name: hint for name, hint in get_type_hints(kind).items() if get_origin(hint) is not ClassVar}
    for option, value in options.items():
        if option not in hints:
            raise InputError(f"{path}: damaged (options: method {name} has no {option}); {REMEDY}")
        if not is_of_kind(value, hints[option]):
            raise InputError(f"{path}: damaged (options: {option}: {_words(hints[option])} expected); {REMEDY}")
    try:
        return kind(**{name: float(value) if hints[name] is float else value for name, value in options.items()})
    except (TypeError, OverflowError, InputError) as error:  # an option is missing, or out of range
        raise InputError(f"{path}: damaged (options: {first_line(error)}); {REMEDY}") from error


def _class(name: str) -> type[LearnedMethod]:
    """Return the class of a method; only those of this library and of installed packages are considered."""
    if name in METHODS:
        module, _, attribute = METHODS[name].rpartition(".")
        kind: type[LearnedMethod] = getattr(importlib.import_module(module), attribute)
        return kind
    points = [point for point in importlib.metadata.entry_points(group=GROUP) if point.name == name]
    if not points:
        raise InputError(f"method {name!r} is unknown; {', '.join(METHODS)}, or an entry point {GROUP} expected")
    try:
        kind = points[0].load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"method {name!r}: {points[0].value} cannot be imported ({first_line(error)})") from error
    return kind


def check_loadable(method: Method) -> None:
    """Refuse a method whose file could not be read again.

    Raises:
        InputError: If its name does not stand for its class.
    """
    if isinstance(method, LearnedMethod) and (kind := _class(method.name)) is not type(method):
        ours, other = (f"{item.__module__}.{item.__name__}" for item in (type(method), kind))
        raise InputError(f"method {method.name!r} is {other}; another name expected for {ours}")
