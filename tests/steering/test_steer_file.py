"""Promises of the steer file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lmsteer.errors import InputError
from lmsteer.methods.method_file import add_calibrations
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer, save_steer


@pytest.fixture
def provenance(tiny_model: LanguageModel) -> Provenance:
    fingerprint = tiny_model.head.fingerprint()
    return Provenance(model="tiny-0", fingerprint=fingerprint, meaning={"sentiment": "gut, schön"}, seed=3)


@pytest.mark.parametrize("rank", [4, "full"])
def test_what_is_saved_is_loaded(
    tmp_path: Path, tiny_model: LanguageModel, provenance: Provenance, rank: int | str
) -> None:
    steer = Steer(32, dimensions=["sentiment", "dummy"], rank=rank, epsilon=0.02)  # type: ignore[arg-type]
    save_steer(tmp_path / "a.safetensors", steer, provenance)
    loaded, loaded_origin = load_steer(tmp_path / "a.safetensors", tiny_model)
    assert loaded_origin == provenance
    assert (loaded.dimensions, loaded.rank, loaded.epsilon) == (steer.dimensions, rank, 0.02)
    hidden, strength = torch.randn(5, 32), torch.randn(5, 2)
    assert torch.equal(loaded(hidden, strength), steer(hidden, strength))


def test_written_twice_it_is_byte_equal_and_leaves_no_other_file(
    tmp_path: Path, steer: Steer, provenance: Provenance
) -> None:
    save_steer(tmp_path / "a.safetensors", steer, provenance)
    save_steer(tmp_path / "b.safetensors", steer, provenance)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_any_safetensors_reader_sees_the_factors_and_one_metadata_entry(
    tmp_path: Path, steer: Steer, provenance: Provenance
) -> None:
    save_steer(tmp_path / "a.safetensors", steer, provenance)
    assert torch.equal(load_file(tmp_path / "a.safetensors")["p2"], steer.p2)
    data = (tmp_path / "a.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert list(header["__metadata__"]) == ["lmsteer"]


def test_a_steer_of_another_model_is_refused_by_name(tmp_path: Path, steer: Steer, provenance: Provenance) -> None:
    save_steer(tmp_path / "a.safetensors", steer, provenance)
    with pytest.raises(InputError, match=r"fitted for model tiny-0 .* not for tiny-1"):
        load_steer(tmp_path / "a.safetensors", tiny(seed=1))


def test_damaged_and_foreign_files_are_refused_by_name(tmp_path: Path, steer: Steer, provenance: Provenance) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(InputError, match="no such steer file"):
        load_steer(path)
    save_steer(path, steer, provenance)
    data = path.read_bytes()
    path.write_bytes(data[:-10])
    with pytest.raises(InputError, match=r"a\.safetensors: not a whole safetensors file"):
        load_steer(path)
    path.write_bytes(data.replace(b'\\"epsilon\\"', b'\\"epsilom\\"'))
    with pytest.raises(InputError, match=r"damaged steer file .*epsilon"):
        load_steer(path)
    path.write_bytes(data.replace(b'\\"format\\":', b'\\"format\\",'))
    with pytest.raises(InputError, match="metadata is not JSON"):
        load_steer(path)
    path.write_bytes(data.replace(b'\\"format\\": 3', b'\\"format\\": 7'))
    with pytest.raises(InputError, match="format 7; this version reads formats 1 to 4"):
        load_steer(path)
    save_file({"p1": torch.zeros(1, 2, 3)}, path)
    with pytest.raises(InputError, match="not a steer"):
        load_steer(path)


def test_two_calibrations_at_once_both_stay(tmp_path: Path, steer: Steer, provenance: Provenance) -> None:
    """Each process loaded the file before either wrote; what the other added by then is kept."""
    path = tmp_path / "a.safetensors"
    save_steer(path, steer, provenance)
    kinds = dict.fromkeys(("protocol", "budget", "dimension"), "x")
    entries = [{**kinds, "direction": sign, "fixed_strengths": {}, "strength": 1.0} for sign in (1, -1)]
    loaded = [load_steer(path)[0] for _ in entries]
    for one, entry in zip(loaded, entries, strict=True):
        add_calibrations(path, one, lambda found, entry=entry: replace(found, calibration=[*found.calibration, entry]))
    assert load_steer(path)[1].calibration == entries


def test_a_steer_that_was_replaced_meanwhile_gets_no_calibration_of_another(
    tmp_path: Path, steer: Steer, provenance: Provenance
) -> None:
    path = tmp_path / "a.safetensors"
    save_steer(path, steer.scaled(0, 2.0), provenance)
    with pytest.raises(InputError, match="another method or steer was written there meanwhile"):
        add_calibrations(path, steer, lambda found: replace(found, seed=7))
    assert load_steer(path)[1].seed == provenance.seed


def test_a_model_of_the_same_name_with_other_weights_is_refused_with_both_commits(tmp_path: Path) -> None:
    ours, other = tiny(seed=0), tiny(seed=1)
    ours.name = other.name = "gpt2"
    ours.commit, other.commit = "a" * 40, "b" * 40
    provenance = Provenance(model=ours.name, fingerprint=ours.head.fingerprint(), commit=ours.commit)
    path = tmp_path / "steer.safetensors"
    save_steer(path, Steer(32, dimensions=["tone"], rank=2), provenance)
    assert load_steer(path, ours)[1].commit == "a" * 40
    expected = (
        rf"gpt2 \(width 32, commit {'a' * 12}\), not for gpt2 \(width 32, commit {'b' * 12}\): their weights differ"
    )
    with pytest.raises(InputError, match=expected):
        load_steer(path, other)
