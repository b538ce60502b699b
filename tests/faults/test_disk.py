"""A full disk ends in one clear line; with room again the same command goes on to the same bytes."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.commands import run
from tests.faults.conftest import assert_same, places
from tests.faults.faulty import FullDisk

KINDS = {
    "config.yaml.tmp": "config.yaml",
    "sources.json.tmp": "sources.json",
    "origin.json.tmp": "origin.json",
    ".safetensors.tmp": ".safetensors",
    "last.ckpt.tmp": "last.ckpt",
    "timing.json.tmp": "timing.json",
    "steer.safetensors.tmp": "steer.safetensors",
    "000000.jsonl.tmp": ".batches/000000.jsonl",
    ".jsonl.tmp": ".jsonl",
    "plain.0.jsonl.tmp": "plain.0.jsonl",
    "steered.0.jsonl.tmp": "steered.0.jsonl",
    "generations.jsonl.tmp": "generations.jsonl",
    "values.safetensors.tmp": "values.safetensors",
    "metrics.json.tmp": "metrics.json",
    "report.html.tmp": "report.html",
}
"""By the end of a temporary file's name, what it becomes: every file that a run writes, in order."""


def test_these_are_all_files_that_a_run_writes(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    names = tmp_path / "names"
    done = run(
        "train", [*options, *places(tmp_path / "disk")], tmp_path / "log", FullDisk(tmp_path / "disk", "", names)
    )
    assert done.status == 0, done.said
    written = set(names.read_text().splitlines())
    assert [name for name in written if not name.endswith(tuple(KINDS))] == []
    assert [kind for kind in KINDS if not any(name.endswith(kind) for name in written)] == []


def test_no_room_is_one_line_that_names_the_file_and_with_room_the_run_ends_the_same(
    options: list[str], unbroken: Path, tmp_path: Path
) -> None:
    """One run, refused room for one file after the other, each time going on with what it could write before."""
    disk = tmp_path / "disk"
    disk.mkdir()
    given = [*options, *places(disk)]
    for kind, name in KINDS.items():
        done = run("train", given, tmp_path / "log", FullDisk(disk, kind, tmp_path / "names"))
        assert done.status == 1, f"{kind}: {done.said}"
        assert re.search(rf"{disk}.*{re.escape(name)}: .*No space left on device", done.error), f"{kind}: {done.error}"
        assert "make that possible" in done.error or "choose another" in done.error
        assert list(disk.rglob("*.tmp")) == []
    done = run("train", given, tmp_path / "log")
    assert done.status == 0, done.said
    assert_same(disk, unbroken)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system with room for 40 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=40k", "none", folder], capture_output=True, check=False
        ).returncode
    )
    if not mounted:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_the_same_on_a_disk_that_is_really_full(
    options: list[str], unbroken: Path, small_disk: Path, tmp_path: Path
) -> None:
    given, lines = [*options, *places(small_disk)], set()
    for size in range(40, 400, 40):
        subprocess.run(["mount", "-o", f"remount,size={size}k", small_disk], check=True)
        done = run("train", given, tmp_path / "log")
        if done.status == 0:
            break
        lines.add(done.error)
        assert "No space left on device" in done.error or "are free on the disk" in done.error, "refused before, too"
        assert str(small_disk) in done.error
    assert done.status == 0, done.said
    assert lines
    assert_same(small_disk, unbroken)
