"""A steer is looked for as a file, in a folder, then on the hub."""

from pathlib import Path

import pytest
from tests.handmade_commands import write_steer

import lmsteer
from lmsteer.errors import InputError
from lmsteer.methods.method_file import load_controller
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_location import hub_steer, locate_steer


def test_a_folder_is_read_by_its_steer(steer: Steer, tmp_path: Path) -> None:
    path = write_steer(tmp_path / "steer.safetensors", steer)
    (tmp_path / "values.safetensors").write_bytes(b"of a run")
    (tmp_path / "model.safetensors").write_bytes(b"of a model")
    for name in (path, str(path), tmp_path, str(tmp_path)):
        assert lmsteer.load_steer(name)[0].dimensions == steer.dimensions
        assert load_controller(name)[0].dimensions == steer.dimensions


def test_a_local_folder_comes_before_the_hub(steer: Steer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me" / "tone").mkdir(parents=True)
    assert hub_steer("me/tone") is None
    write_steer(tmp_path / "me/tone/mood.safetensors", steer)
    assert locate_steer("me/tone") == Path("me/tone/mood.safetensors")
    assert hub_steer("me/other") is not None
    assert hub_steer("me/tone@v1") is not None, "a folder has no revisions"


def test_folders_without_a_steer_or_with_several_are_refused(steer: Steer, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"a folder without a steer, such as steer\.safetensors; a steer file, a folder"
    ):
        lmsteer.load_steer(tmp_path)
    for name in ("b", "a"):
        write_steer(tmp_path / f"{name}.safetensors", steer)
    with pytest.raises(
        InputError, match=r"several steers, a\.safetensors, b\.safetensors; name one, as .*/a\.safetensors"
    ):
        lmsteer.load_steer(tmp_path)


def test_a_revision_is_only_of_the_hub(steer: Steer, tmp_path: Path) -> None:
    write_steer(tmp_path / "steer.safetensors", steer)
    with pytest.raises(InputError, match=r"revision=v1: only a repository of the hub has revisions"):
        lmsteer.load_steer(tmp_path, revision="v1")
