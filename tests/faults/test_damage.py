"""A damaged file is made anew or named in one line that says what to do; numbers are never silently wrong."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.commands import run
from tests.faults.conftest import assert_same, places


def flipped(content: bytes) -> bytes:
    """The same with another byte in a place that all formats here have in their header."""
    place = min(12, len(content) - 1)
    return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "lines": lambda content: b"".join(content.splitlines(keepends=True)[:-1]),
    "flipped": flipped,
}
FILES = {
    "run/config.yaml": "choose another",
    "run/timing.json": None,
    "run/checkpoints/last.ckpt": "delete",
    "run/steer.safetensors": "delete",
    "run/plain.0.jsonl": "delete",
    "scores/plain/*.part": None,
    "run/steered.0.jsonl": "delete",
    "run/steered.0.jsonl.part": None,
    "run/generations.jsonl": "delete",
    "run/metrics.json": "delete",
    "run/values.safetensors": None,
    "scores/plain/*.jsonl": "delete",
    "scores/*/*.safetensors": "delete",
    "store/*/*.safetensors": "delete",
    "store/*/origin.json": None,
}
"""By its pattern what the line says is to be done; None: it is never refused."""


def damaged_state(states: Path, pattern: str, into: Path) -> list[Path]:
    """Copy the first state of a killed run that has a file, which the rest of the run needs; the files."""
    for state in sorted(states.iterdir()):
        if any(path.stat().st_size for path in state.glob(pattern)):
            shutil.copytree(state, into)
            return list(into.glob(pattern))
    raise AssertionError(f"no state has {pattern}")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("pattern", FILES)
def test_a_damaged_file_is_named_or_made_anew(
    pattern: str, damage: str, options: list[str], states: Path, unbroken: Path, tmp_path: Path
) -> None:
    files = damaged_state(states, pattern, tmp_path / "all")
    for path in files:
        content = path.read_bytes()
        path.write_bytes(DAMAGES[damage](content))
        if path.read_bytes() == content or (damage == "lines" and b"\0" in content):
            pytest.skip("no damage of this file")
    given = [*options, *places(tmp_path / "all")]
    done = run("train", given, tmp_path / "log")
    while done.status:
        print(done.error)
        (named,) = [path for path in files if str(path) in done.error or str(path.parent) + ":" in done.error]
        advice = FILES[pattern]
        assert advice is not None, done.error
        assert advice in done.error
        files.remove(named)
        if advice != "delete":
            return
        named.unlink()
        done = run("train", given, tmp_path / "log")
    assert_same(tmp_path / "all", unbroken)
