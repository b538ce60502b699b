"""Promises of schedules in steer files: they are kept, composed, checked, and refused where nothing can follow them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lmsteer.errors import InputError
from lmsteer.export.exporter import Attached, Export
from lmsteer.methods.method_file import add_calibrations
from lmsteer.models.mixture import TextsSoFar
from lmsteer.models.random_models import tiny
from lmsteer.steering.composition import compose, compose_files
from lmsteer.steering.provenance import Provenance, load_provenance
from lmsteer.steering.schedule import CountSchedule, Gate, factors, with_schedules
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer, save_steer
from lmsteer.transfer.steer_maps import Maps, apply_maps

WORDS = CountSchedule(unit="words", begin=40, end=50, before=-0.5)
GATE = Gate(weight=tuple(torch.linspace(-0.1, 1 / 3, 32).tolist()), bias=1 / 7)


def steer(*names: str, **schedules: CountSchedule | Gate) -> Steer:
    return with_schedules(Steer(32, dimensions=names or ("tone", "dummy"), rank=2), schedules)


def provenance() -> Provenance:
    return Provenance(model="tiny-0", fingerprint=tiny().head.fingerprint())


def entries(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, Any] = json.loads(file.metadata()["lmsteer"])
    return metadata


@pytest.mark.parametrize("schedule", [WORDS, CountSchedule(unit="tokens", begin=3), GATE])
def test_a_file_keeps_its_schedule(tmp_path: Path, schedule: CountSchedule | Gate) -> None:
    path = tmp_path / "steer.safetensors"
    save_steer(path, steer(tone=schedule), provenance())
    loaded, _ = load_steer(path, tiny())
    assert loaded.schedules == {"tone": schedule}
    assert entries(path)["format"] == 4, "an older version refuses it, as it would not follow the schedule"
    add_calibrations(path, loaded, lambda found: replace(found, seed=7))
    assert load_steer(path)[0].schedules == {"tone": schedule}
    with pytest.raises(InputError, match="another method or steer was written there meanwhile"):
        add_calibrations(path, steer(), lambda found: found)


def test_a_file_without_a_schedule_is_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "steer.safetensors"
    save_steer(path, steer(), provenance())
    assert entries(path)["format"] == 3
    assert "schedules" not in entries(path)
    assert "schedule" not in load_steer(path)[0].settings()


@pytest.mark.parametrize(
    ("count", "expected"), [(0, -0.5), (40, -0.5), (41, -0.35), (45, 0.25), (49, 0.85), (50, 1.0), (10**6, 1.0)]
)
def test_a_factor_is_linear_from_begin_to_end(count: int, expected: float) -> None:
    assert WORDS.factor(count) == pytest.approx(expected)
    at_once = CountSchedule(unit="words", begin=40)
    assert at_once.factor(count) == float(count >= 40)


def test_each_dimension_follows_its_own_schedule() -> None:
    model = tiny()
    both = steer("a", "b", "c", a=CountSchedule(unit="words", begin=2), c=CountSchedule(unit="sentences", begin=2))
    texts = ["", "One", "One two", "No. He came", "no he came"]
    tokens = model.tokenize(texts)
    so_far = TextsSoFar(model, torch.arange(5), torch.zeros(5, 32), tokens)
    assert so_far.texts == texts
    assert factors(both, so_far).tolist() == [[0, 1, 0], [0, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 0]]


@pytest.mark.parametrize(
    "changes",
    [
        {"unit": "letters"},
        {"unit": None},
        {"begin": -1},
        {"begin": 2.5},
        {"begin": True},
        {"begin": "40"},
        {"end": 39},
        {"end": "x"},
        {"before": 1e300},
        {"before": "x"},
        {"before": None},
        {"kind": "cubic"},
        {"kind": None},
        {"kind": ["count"]},
        {"kind": "gate"},
        {"further": 1},
    ],
)
def test_a_wrong_entry_is_refused_in_one_line(tmp_path: Path, changes: dict[str, Any]) -> None:
    refused(tmp_path, {"tone": {"kind": "count", "unit": "words", "begin": 40, "end": 50, "before": 0.0} | changes})


@pytest.mark.parametrize(
    "schedules",
    [
        None,
        [],
        "x",
        {"tone": None},
        {"tone": {}},
        {"no\nname": {"kind": "count", "unit": "words", "begin": 4, "end": None, "before": 0.0}},
        {"no\nname": {"kind": "x"}},
        {"dummy": {"kind": "count", "unit": "words", "begin": 4, "end": None, "before": 0.0}},
        {"tone": {"kind": "gate", "weight": [1.0] * 31, "bias": 0.0}},
        {"tone": {"kind": "gate", "weight": [], "bias": 0.0}},
        {"tone": {"kind": "gate", "weight": ["1"] * 32, "bias": 0.0}},
        {"tone": {"kind": "gate", "weight": [10**400] * 32, "bias": 0.0}},
        {"tone": {"kind": "gate", "weight": [1.0] * 32, "bias": float("nan")}},
        {"tone": {"kind": "gate", "weight": [1.0] * 32}},
    ],
)
def test_schedules_of_a_wrong_kind_are_refused_in_one_line(tmp_path: Path, schedules: Any) -> None:
    refused(tmp_path, schedules)


def refused(folder: Path, schedules: Any) -> None:
    good, bad = folder / "good.safetensors", folder / "bad.safetensors"
    save_steer(good, steer(tone=WORDS), provenance())
    metadata = json.dumps(entries(good) | {"schedules": schedules})
    save_file(load_file(good), bad, metadata={"lmsteer": metadata})
    with pytest.raises(InputError, match=r"bad\.safetensors: damaged steer file") as error:
        load_steer(bad)
    assert "\n" not in str(error.value)


def test_composition_keeps_schedules_under_new_names_and_replaces_some(tmp_path: Path) -> None:
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    save_steer(paths[0], steer(tone=WORDS), provenance())
    save_steer(paths[1], steer(tone=GATE), provenance())
    composed, _ = compose_files(paths, names=["x", "y"])
    assert composed.schedules == {"x": WORDS, "y": GATE}
    other = CountSchedule(unit="tokens", begin=1)
    replaced, _ = compose_files(paths, names=["x", "y"], schedules={"x": None, "y": other}, rank=1)
    assert replaced.schedules == {"y": other}
    assert load_provenance(paths[0]).fingerprint == tiny().head.fingerprint()
    with pytest.raises(InputError, match="schedule of 'z': the attributes of the steer are x, y"):
        compose_files(paths, names=["x", "y"], schedules={"z": other})


def test_copies_of_a_steer_keep_its_schedules() -> None:
    scheduled = steer(tone=WORDS)
    copies = (scheduled.scaled(0, 2.0), scheduled.with_epsilon(0.1), scheduled.truncated(rank=1), compose([scheduled]))
    assert all(one.schedules == {"tone": WORDS} for one in copies)
    maps = Maps(torch.eye(32, dtype=torch.double), torch.eye(32, dtype=torch.double))
    assert apply_maps(scheduled, maps).schedules == {"tone": WORDS}
    with pytest.raises(InputError, match="tone: a gate is for its own model alone"):
        apply_maps(steer(tone=GATE), maps)


def test_what_engines_read_holds_no_schedule(tmp_path: Path) -> None:
    path = tmp_path / "steer.safetensors"
    save_steer(path, steer("tone", "mood", tone=WORDS), provenance())
    export = Export(tiny(), path)
    refused = pytest.raises(InputError, match="the strength of tone follows a schedule, which no engine does")
    with refused:
        export.checkpoint(tmp_path / "out", {"tone": 3.0})
    for form in get_args(Attached):
        for strength in ({"tone": 3.0}, {}):
            with refused:
                export.attached(form, tmp_path / "out", strength)
    assert not (tmp_path / "out").exists()
    export.factors(tmp_path / "factors")
    assert load_steer(tmp_path / "factors" / "steer.safetensors")[0].schedules == {"tone": WORDS}
    assert (
        "schedule of the strength: tone: -0.5 before 40 to 50 words" in (tmp_path / "factors" / "README.md").read_text()
    )
    export.checkpoint(tmp_path / "mood", {"mood": 3.0})  # a dimension without a schedule
    export.attached("processor", tmp_path / "mood-processor", {"mood": 3.0})
