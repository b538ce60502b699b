"""Promises of a run folder."""

import json
from pathlib import Path

import pytest

from lmsteer.errors import InputError
from lmsteer.runs import Run


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_new_folder_and_an_empty_one_are_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("new/deep", "empty"):
        Run(tmp_path / name, "seed: 0\n").begin()
        assert contents(tmp_path / name) == {"config.yaml": b"seed: 0\n"}


def test_nothing_is_written_before_begin(tmp_path: Path) -> None:
    Run(tmp_path / "new", "seed: 0\n")
    assert not (tmp_path / "new").exists()


def test_the_same_configuration_goes_on(tmp_path: Path) -> None:
    Run(tmp_path, "seed: 0\n").begin()
    (tmp_path / "steer.safetensors").write_bytes(b"x")
    again = Run(tmp_path, "seed: 0\n")
    again.begin()
    assert again.finished("steer.safetensors")
    assert not again.finished("metrics.json")


@pytest.mark.parametrize("foreign", ["config.yaml", "notes.txt"])
def test_a_foreign_folder_is_refused_untouched(tmp_path: Path, foreign: str) -> None:
    (tmp_path / foreign).write_text("seed: 1\n")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"another configuration|notes\.txt but no config\.yaml"):
        Run(tmp_path, "seed: 0\n")
    assert contents(tmp_path) == before


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x")
    with pytest.raises(InputError, match="a file has that name"):
        Run(tmp_path / "run", "seed: 0\n")


def test_timing_holds_every_stage(tmp_path: Path) -> None:
    run = Run(tmp_path, "seed: 0\n")
    run.begin()
    for stage in ("fit", "generate"):
        with run.timed(stage):
            pass
    timing = json.loads((tmp_path / "timing.json").read_text())
    assert list(timing) == ["fit", "generate"]
    assert all(seconds >= 0 for seconds in timing.values())


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    run = Run(tmp_path / "file" / "run", "a: 1\n")
    with pytest.raises(InputError, match=r"run folder .*file/run: Not a directory; choose another"):
        run.begin()


def test_a_configuration_that_is_not_text_is_another_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="another configuration"):
        Run(tmp_path, "a: 1\n")
