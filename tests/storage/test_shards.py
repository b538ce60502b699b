"""Promises of the append-only folder."""

from pathlib import Path

import pytest
import torch

from lmsteer.errors import InputError
from lmsteer.storage.shards import Shards, key_of


def put(shards: Shards, **values: float) -> None:
    with shards.locked():
        shards.append([key_of(name) for name in values], {"values": torch.tensor(list(values.values()))})


def value(shards: Shards, name: str) -> float:
    tensors, number = shards[key_of(name)]
    return tensors["values"][number].item()


def test_what_is_appended_is_found_by_key_in_this_and_another_process(tmp_path: Path) -> None:
    mine, theirs = Shards(tmp_path), Shards(tmp_path)
    put(mine, a=1.0, b=2.0)
    put(theirs, c=3.0)
    mine.refresh()
    assert [value(mine, name) for name in "abc"] == [1.0, 2.0, 3.0]
    assert [value(theirs, name) for name in "abc"] == [1.0, 2.0, 3.0]
    assert key_of("d") not in mine


def test_the_older_of_two_entries_counts_in_every_process(tmp_path: Path) -> None:
    first = Shards(tmp_path)
    put(first, a=1.0)
    put(first, a=2.0)
    assert value(first, "a") == value(Shards(tmp_path), "a") == 1.0


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / "000000-dead.safetensors.tmp").write_bytes(b"half")
    put(Shards(tmp_path), a=1.0)
    assert [path.name.split(".")[-1] for path in tmp_path.iterdir() if path.name != "lock"] == ["safetensors"]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "000000-bad.safetensors").write_bytes(b"not whole")
    with pytest.raises(InputError, match=r"000000-bad.safetensors: damaged; delete this file"):
        Shards(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/x: cannot be created"):
        Shards(tmp_path / "file" / "x")


def test_keys_tell_where_one_part_ends() -> None:
    assert len({key_of("ab", "c"), key_of("a", "bc"), key_of("abc"), key_of("abc", "")}) == 4
