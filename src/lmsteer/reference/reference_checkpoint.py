"""Read checkpoints of the reference implementation of LM-Steer, without running code in them.

Shapes: K steers, D width, R rank.
"""

import argparse
import hashlib
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.steering.dimensions import DUMMY
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer

LAYOUT = "torch.save([args, {projector1, projector2}, steps])"
ATTRIBUTES = {"toxicity": ("detox", "not toxic"), "sentiment": ("sentiment", "positive sentiment")}
"""Attribute and meaning of the label +1, by the first word of the reference's data set."""
SETTINGS = {"n_steps": "steps", "batch_size": "batch_size", "lr": "lr", "max_length": "max_length"}
"""Options of the reference and their names in steer files."""
LARGEST = 1e300
"""Bound of numbers; an integer in a pickle may be larger than any float."""


def read_reference(
    path: Path, model: LanguageModel, *, names: Sequence[str] | None = None, epsilon: float | None = None
) -> tuple[Steer, Provenance]:
    """Read a steer and its provenance from a checkpoint of the reference implementation.

    The steer has the same form: ``h + epsilon * sum_k v_k h projector1_k projector2_k^T``, both projectors (K, D, R).

    Args:
        names: Names of all K steers in the file. None: the trained steer and the dummy, named by the options in the
            file; untrained steers are left out.
        epsilon: For a file without options, such as a transferred steer; else that of the file.

    Raises:
        InputError: If the file is missing, damaged, contains other than plain values and tensors, is a steer of another
            kind, or does not fit the model; or if names or epsilon are neither given nor in the file.
    """
    args, state = _read(path)
    options = vars(args) if args is not None else {}
    first_KDR, second_KDR = _projectors(path, options, state, model)
    names_by_index = _names(path, options, names, len(first_KDR))
    indices = sorted(names_by_index, key=lambda index: names_by_index[index] == DUMMY)  # the attribute first
    stored = float(options["epsilon"]) if _is_number(options.get("epsilon")) else None
    if stored is not None and epsilon is not None and stored != epsilon:
        raise InputError(f"epsilon={epsilon:g}: {path} says {stored:g}; leave epsilon out")
    epsilon = epsilon if stored is None else stored
    if epsilon is None:
        raise InputError(f"{path}: does not contain its epsilon; give epsilon=… (the reference's default is 1e-3)")
    dimensions = [names_by_index[index] for index in indices]
    steer = Steer(model.width, dimensions=dimensions, rank=first_KDR.shape[2], epsilon=epsilon)
    steer.load_state_dict({"p1": first_KDR[indices], "p2": second_KDR[indices]})
    return steer, _provenance(path, options, model, dimensions, indices)


def _read(path: Path) -> tuple[argparse.Namespace | None, Mapping[str, Any]]:
    """Return the options and the state of a checkpoint; the options may be missing."""
    if not path.is_file():
        raise InputError(f"checkpoint={path}: no such file; expected {LAYOUT}")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: refused, as it is damaged or contains objects whose loading could run code; expected {LAYOUT}"
        ) from error
    except (RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        raise InputError(f"{path}: damaged, or not a torch checkpoint; expected {LAYOUT}") from error
    parts = [None, content] if isinstance(content, dict) else content
    if not isinstance(parts, list | tuple) or len(parts) < 2 or not isinstance(parts[1], dict):
        raise InputError(f"{path}: a {type(content).__name__} of another layout; expected {LAYOUT}")
    args = parts[0]
    if not isinstance(args, argparse.Namespace | None):
        raise InputError(f"{path}: its first part is a {type(args).__name__}, not options; expected {LAYOUT}")
    return args, parts[1]


def _projectors(
    path: Path, options: Mapping[str, Any], state: Mapping[str, Any], model: LanguageModel
) -> tuple[Tensor, Tensor]:
    """Return both projectors in float32."""
    kind, component = options.get("adaptor_class", "multiply"), options.get("adapted_component", "final_layer")
    if {"add_vec", "offset_vec"} & set(state) or kind != "multiply" or component != "final_layer":
        tensors = ", ".join(str(name) for name in state)
        raise InputError(
            f"{path}: a steer of class {kind} at {component} ({tensors}); only class multiply at final_layer, a "
            "matrix on the last hidden state, can be converted"
        )
    first, second = state.get("projector1"), state.get("projector2")
    if not (isinstance(first, Tensor) and isinstance(second, Tensor)):
        raise InputError(f"{path}: no projector1 and projector2; expected {LAYOUT}")
    shapes = f"projector1 {tuple(first.shape)} and projector2 {tuple(second.shape)}"
    if first.dim() != 3 or first.shape != second.shape or not all(first.shape):
        raise InputError(f"{path}: {shapes}; two tensors of one shape (steers, width, rank) expected")
    if first.shape[1] != model.width:
        raise InputError(
            f"{path}: a steer of width {first.shape[1]}, but model {model.name} has {model.width}; choose the model "
            f"on which it was trained ({options.get('model_name', 'its name is not in the file')})"
        )
    if first.shape[2] > model.width:
        raise InputError(f"{path}: {shapes}; a rank of at most the width expected")
    first, second = first.detach().float(), second.detach().float()
    if not (first.isfinite().all() and second.isfinite().all()):
        raise InputError(f"{path}: damaged, some of its values are not finite")
    return first, second


def _names(path: Path, options: Mapping[str, Any], names: Sequence[str] | None, count: int) -> dict[int, str]:
    """Return the names of the steers to read, by their index in the file."""
    if names is not None:
        if len(names) != count:
            raise InputError(f"names={list(names)}: {path} has {count} steers; a name for each expected")
        return dict(enumerate(names))
    trained, dummy = options.get("training_steer"), options.get("dummy_steer")
    attribute, _ = _attribute(options)
    if not isinstance(trained, int) or not attribute:
        raise InputError(f"{path}: does not say what its {count} steers are for; give names=[…], one for each")
    names_by_index = {trained: attribute} | ({dummy: DUMMY} if isinstance(dummy, int) else {})
    if not all(0 <= index < count for index in names_by_index):
        raise InputError(f"{path}: its options name steers {sorted(names_by_index)} of {count}; give names=[…]")
    return names_by_index


def _attribute(options: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name of the trained attribute and the meaning of positive strength; empty if unknown."""
    name = str(options.get("dataset_name") or "")
    return ATTRIBUTES.get(name.partition("-")[0], (name, ""))


def _provenance(
    path: Path, options: Mapping[str, Any], model: LanguageModel, dimensions: list[str], indices: list[int]
) -> Provenance:
    attribute, meaning = _attribute(options)
    seed = options.get("seed")
    return Provenance(
        model=model.name,
        fingerprint=model.head.fingerprint(),
        commit=model.commit,
        meaning={attribute: meaning} if meaning and attribute in dimensions else {},
        corpus={"name": str(options["dataset_name"])} if options.get("dataset_name") else {},
        seed=seed if isinstance(seed, int) else 0,
        training={ours: options[name] for name, ours in SETTINGS.items() if _is_number(options.get(name))},
        derivation={
            "kind": "reference",
            "digest": hashlib.sha256(path.read_bytes()).hexdigest(),
            "steers": indices,
            "options": {_string(name): _plain(value) for name, value in options.items()},
        },
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST < value < LARGEST


def _plain(value: object) -> object:
    """Convert a value to JSON types."""
    if isinstance(value, list | tuple):
        return [item if _is_number(item) else _string(item) for item in value]
    return value if value is None or isinstance(value, bool) or _is_number(value) else _string(value)


def _string(value: object) -> str:
    return str(value).encode("utf-8", "replace").decode("utf-8")  # a lone surrogate could not be written
