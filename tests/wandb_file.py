"""Reading back what W&B wrote offline: a header, then LevelDB log frames, each record a protobuf message."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

HEADER, BLOCK, FRAME = 7, 32 * 1024, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(run: Path) -> list[Any]:
    """The records of the one run file in a finished offline run's folder.

    W&B's own process may write the last of them a moment after ``finish`` has returned.
    """
    (path,) = run.glob("run-*.wandb")
    for _ in range(200):
        data = path.read_bytes()
        found = [Record.FromString(message) for message in _messages(data)]
        if any(record.WhichOneof("record_type") == "exit" for record in found):
            assert data[:4] == b":W&B"
            return found
        time.sleep(0.1)
    raise AssertionError(f"{path} has no exit record: the run was never finished")


def configs(run: Path) -> list[dict[str, Any]]:
    """Every time that configuration values were logged: at the start, and by updates; W&B's own entry left out."""
    found = []
    for record in records(run):
        for config in (record.run.config, record.config):
            values = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in config.update}
            values.pop("_wandb", None)
            found += [values] if values else []
    return found


def history(run: Path) -> list[dict[str, Any]]:
    """What was logged, step by step."""
    return [
        {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in records(run)
        if record.WhichOneof("record_type") == "history"
    ]


def exit_codes(run: Path) -> list[int]:
    """Exit code of each time the run was finished."""
    return [record.exit.exit_code for record in records(run) if record.WhichOneof("record_type") == "exit"]


def _messages(data: bytes) -> Iterator[bytes]:
    position, parts = HEADER, b""
    while position + FRAME <= len(data):
        left = BLOCK - position % BLOCK
        if left < FRAME:  # too small for a frame: filled with zeros
            position += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, position)
        assert kind in (FULL, FIRST, MIDDLE, LAST), f"frame of kind {kind} at byte {position}"
        if position + FRAME + size > len(data):
            return  # not yet written in full
        parts += data[position + FRAME : position + FRAME + size]
        position += FRAME + size
        if kind in (FULL, LAST):
            yield parts
            parts = b""
