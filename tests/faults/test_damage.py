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
    "run/sources.json": "delete",
    "run/timing.json": None,
    "run/checkpoints/last.ckpt": "delete",
    "run/steer.safetensors": "delete",
    "run/plain.0.jsonl": "delete",
    "cache/scores/plain/*.batches/000000.jsonl": None,
    "run/steered.0.jsonl": "delete",
    "run/steered.0.jsonl.batches/000000.jsonl": None,
    "run/generations.jsonl": "delete",
    "run/metrics.json": "delete",
    "run/values.safetensors": None,
    "cache/scores/plain/*.jsonl": "delete",
    "cache/scores/*/*.safetensors": "delete",
    "cache/features/*/*.safetensors": "delete",
    "cache/features/*/origin.json": None,
}
"""By its pattern what the line says is to be done; None: it is never refused."""


def state_with(states: Path, pattern: str) -> Path:
    """The first state of a killed run that has such a file with something in it."""
    found = (state for state in sorted(states.iterdir()) if any(path.stat().st_size for path in state.glob(pattern)))
    return next(found)


@pytest.mark.parametrize("pattern", FILES)
def test_a_damaged_file_is_named_or_made_anew(
    pattern: str, options: list[str], states: Path, unbroken: Path, tmp_path: Path
) -> None:
    folder, advice = tmp_path / "all", FILES[pattern]
    given = [*options, *places(folder)]
    for kind, damage in DAMAGES.items():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(state_with(states, pattern), folder)
        (path,) = folder.glob(pattern)
        content = path.read_bytes()
        if damage(content) == content or (kind == "lines" and b"\0" in content):
            continue
        path.write_bytes(damage(content))
        done = run("train", given, tmp_path / "log")
        if done.status == 0:
            assert_same(folder, unbroken)
        else:
            assert advice is not None, f"{kind}: {done.said}"
            assert str(path if advice == "delete" else path.parent) in done.error
            assert advice in done.error
    if advice == "delete":
        path.unlink(missing_ok=True)
        done = run("train", given, tmp_path / "log")
        assert done.status == 0, done.said
        assert_same(folder, unbroken)
