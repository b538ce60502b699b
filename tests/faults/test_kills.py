"""Whatever moment a process is killed at, the same command ends with the same bytes."""

import hashlib
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.faults.commands import run
from tests.faults.conftest import assert_same, places
from tests.faults.faulty import Snapshots


def digest(folder: Path) -> str:
    """Of all files that decide how a run goes on."""
    state = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if "lock" not in path.name and path.name not in ("timing.json", "timing.json.tmp"):
            state.update(f"{path.relative_to(folder)}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return state.hexdigest()


def torn(state: Path, noise: random.Random) -> Iterator[Path]:
    """The files of a state that a process may have been killed over, the last bytes cut off."""
    for path in sorted(state.rglob("*")):
        if path.suffix in (".tmp", ".part") and path.stat().st_size:
            content = path.read_bytes()
            path.write_bytes(content[: noise.randrange(len(content))])
            yield path


def test_from_every_state_that_a_killed_process_can_leave_the_run_ends_the_same(
    options: list[str], unbroken: Path, tmp_path: Path
) -> None:
    seen, noise = set(), random.Random(0)
    (tmp_path / "run").mkdir()
    watched = tmp_path / "watched"
    watched.mkdir()
    done = run("train", [*options, *places(watched)], tmp_path / "log", Snapshots(watched, tmp_path / "states"))
    assert done.status == 0, done.said
    assert_same(watched, unbroken)
    import time

    for state in sorted((tmp_path / "states").iterdir()):
        cut = [path.name for path in torn(state, noise)]
        if digest(state) in seen:
            continue
        seen.add(digest(state))
        files = sorted(str(p.relative_to(state)) for p in state.rglob("*") if p.is_file() and "lock" not in p.name)
        t = time.time()
        done = run("train", [*options, *places(state)], tmp_path / "log")
        print(state.name, cut, time.time() - t, len(files), files[:6])
        assert done.status == 0, f"{files}, cut: {cut}\n{done.said}"
        assert_same(state, unbroken)
        shutil.rmtree(state)
    print(len(seen))
    assert 0
