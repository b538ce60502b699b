"""Promises of the metadata of steer files from strangers: a wrong kind is refused in one line."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lmsteer.errors import InputError
from lmsteer.export.model_card import Base, card
from lmsteer.reporting.plots import loss_curve
from lmsteer.runs.stages import settings_of
from lmsteer.steering.provenance import load_provenance
from lmsteer.steering.steer_file import load_steer

FIXTURES = Path(__file__).parents[1] / "fixtures" / "version_1"
KINDS: tuple[Any, ...] = (None, True, -1, 0, 2.5, 10**30, "", "x", [], [1], ["a"], {}, {"a": 1}, [[1, 2]], [{}])


def write(path: Path, metadata: object, **tensors: torch.Tensor) -> Path:
    source = FIXTURES / "full" / "steer.safetensors"
    save_file(load_file(source) | tensors, path, metadata={"lmsteer": json.dumps(metadata)})
    return path


def present() -> dict[str, Any]:
    """Metadata of the present format with every entry that is read."""
    provenance = load_provenance(FIXTURES / "full" / "steer.safetensors")
    entry = {"protocol": "p", "budget": "kl 0.3", "dimension": "tone", "direction": 1, "fixed_strengths": {}}
    result = {"rank": 1, "spectrum": [0.5], "null": {}, "unit": {"strength": 5.0, "kl": 0.3, "tokens": 8}}
    curve = {"train": [[1, 2.0]], "dev": [[1, 2.0]]}
    tensors = load_file(FIXTURES / "full" / "steer.safetensors")
    dimensions, width = next(iter(tensors.values())).shape[:2]
    return {
        "format": 3,
        "width": width,
        "dimensions": ["tone", "dummy"][:dimensions],
        "rank": "full",
        "epsilon": 0.05,
        "bias": False,
        "model": provenance.model,
        "fingerprint": provenance.fingerprint,
        "meaning": {"tone": "warm"},
        "corpus": {"name": "toy"},
        "seed": 0,
        "versions": {"torch": "2"},
        "training": {"solver": "gradient", "curve": curve, "solver_result": result},
        "calibration": [{**entry, "strength": 3.0}],
        "derivation": {},
    }


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all entries, nested ones too."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def replaced(path: tuple[Any, ...], value: object) -> dict[str, Any]:
    metadata = copy.deepcopy(present())
    node: Any = metadata
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return metadata


def test_entries_of_every_wrong_kind_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    tensors = load_file(FIXTURES / "full" / "steer.safetensors")
    named = {"p1": next(iter(tensors.values()))}
    cases = [replaced(path, value) for path in places(present()) for value in KINDS]
    assert len(cases) > 400
    refused = []
    for case in [*cases, *KINDS]:
        path = tmp_path / "steer.safetensors"
        save_file(named, path, metadata={"lmsteer": json.dumps(case)})
        try:
            steer, provenance = load_steer(path)
        except InputError as error:
            refused.append(str(error))
            continue
        assert load_provenance(path) == provenance
        settings_of(steer, provenance)
        card(Base("mine"), steer, provenance, digest="a" * 64)
        loss_curve(provenance.training.get("curve") or {})
    assert len(refused) > 300
    assert not any("\n" in line for line in refused)


def test_weights_that_are_no_finite_numbers_are_refused(tmp_path: Path) -> None:
    p1 = next(iter(load_file(FIXTURES / "full" / "steer.safetensors").values()))
    for value in (float("nan"), float("inf")):
        broken = p1.clone()
        broken[0, 0, 0] = value
        save_file({"p1": broken}, tmp_path / "a.safetensors", metadata={"lmsteer": json.dumps(present())})
        with pytest.raises(InputError, match=r"weights in p1 that are no finite floating-point numbers"):
            load_steer(tmp_path / "a.safetensors")
    save_file({"p1": p1.int()}, tmp_path / "a.safetensors", metadata={"lmsteer": json.dumps(present())})
    with pytest.raises(InputError, match=r"weights in p1 that are no finite"):
        load_steer(tmp_path / "a.safetensors")


def test_a_width_that_the_weights_do_not_have_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    p1 = next(iter(load_file(FIXTURES / "full" / "steer.safetensors").values()))
    metadata = present() | {"width": 10**12}
    save_file({"p1": p1}, tmp_path / "a.safetensors", metadata={"lmsteer": json.dumps(metadata)})
    with pytest.raises(InputError, match=r"p1 of shape .* by its metadata"):
        load_steer(tmp_path / "a.safetensors")
