"""Promises of a run folder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lmsteer.errors import InputError
from lmsteer.runs.run import LOCK, Run


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != LOCK}


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
    assert again.is_complete("steer.safetensors")
    assert not again.is_complete("metrics.json")


@pytest.mark.parametrize("foreign", ["config.yaml", "notes.txt"])
def test_a_foreign_folder_is_refused_untouched(tmp_path: Path, foreign: str) -> None:
    (tmp_path / foreign).write_text("seed: 1\n")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"another configuration|notes\.txt but no config\.yaml"):
        Run(tmp_path, "seed: 0\n")
    assert contents(tmp_path) == before


def test_a_refusal_says_where_configurations_differ(tmp_path: Path) -> None:
    Run(tmp_path, "seed: 0\nfit:\n  steps: 5\n").begin()
    with pytest.raises(InputError, match=r"another configuration \(steps: 5 there, steps: 6 here\)"):
        Run(tmp_path, "seed: 0\nfit:\n  steps: 6\n")
    with pytest.raises(InputError, match=r"\(nothing there, more: 1 here\)"):
        Run(tmp_path, "seed: 0\nfit:\n  steps: 5\nmore: 1\n")


def test_files_that_are_gone_may_have_been_any_but_changed_ones_are_refused(tmp_path: Path) -> None:
    Run(tmp_path, "seed: 0\ninputs:\n  steer_file: aa\n  data.path: bb\n").begin()
    for gone in ("seed: 0\n", "seed: 0\ninputs:\n  data.path: bb\n"):
        Run(tmp_path, gone)
    for changed in (
        "seed: 0\ninputs:\n  data.path: cc\n",
        "seed: 0\ninputs:\n  data.path: bb\n  more: dd\n",
        "seed: 1\n",
    ):
        with pytest.raises(InputError, match="another configuration"):
            Run(tmp_path, changed)


AT_WORK = """
import sys
from pathlib import Path
from lmsteer.runs.run import Run
run = Run(Path(sys.argv[1]), "seed: 0\\n")
run.begin()
print("begun", flush=True)
sys.stdin.read()
"""


def test_a_folder_where_another_process_is_at_work_is_refused_until_that_dies(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-c", AT_WORK, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "begun\n"
        with pytest.raises(InputError, match="another process is at work on this run"):
            Run(folder, "seed: 0\n").begin()
        other.kill()
    Run(folder, "seed: 0\n").begin()


def test_runs_of_one_process_share_a_folder(tmp_path: Path) -> None:
    one, other = Run(tmp_path, "seed: 0\n"), Run(tmp_path, "seed: 0\n")
    for run in (one, other, one):
        run.begin()
        assert contents(tmp_path) == {"config.yaml": b"seed: 0\n"}


def test_the_digest_of_a_file_that_is_gone_stays_noted(tmp_path: Path) -> None:
    Run(tmp_path, "seed: 0\ninputs:\n  data.path: bb\n").begin()
    Run(tmp_path, "seed: 0\n").begin()
    assert contents(tmp_path) == {"config.yaml": b"seed: 0\ninputs:\n  data.path: bb\n"}


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
