"""Repositories in the hub's cache, as its client leaves them: blobs by digest, a folder of links for each commit."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def write_repository(
    cache: Path,
    id: str,
    files: Mapping[str, bytes],
    *,
    kind: str = "model",
    commit: str = COMMIT,
    listed: Mapping[str, bytes] | None = None,
    with_list: bool = True,
) -> Path:
    """Write a commit of ``main`` and return its folder.

    Args:
        listed: All files of the commit, where some have not been downloaded; None: these.
        with_list: Whether the list of its files is there, as after a download of a whole commit.
    """
    storage = cache / f"{kind}s--{id.replace('/', '--')}"
    folder = storage / "snapshots" / commit
    for name, content in files.items():
        blob, path = storage / "blobs" / hashlib.sha256(content).hexdigest(), folder / name
        for parent in (blob.parent, path.parent):
            parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        path.unlink(missing_ok=True)
        path.symlink_to(blob)
    (storage / "refs").mkdir(exist_ok=True)
    (storage / "refs" / "main").write_text(commit)
    if with_list:
        entries = {n: {"size": len(c), "blob_id": hashlib.sha1(c).hexdigest()} for n, c in (listed or files).items()}
        (storage / "trees").mkdir(exist_ok=True)
        (storage / "trees" / f"{commit}.json").write_text(json.dumps({"format_version": 1, "files": entries}))
    return folder


def write_folder(cache: Path, id: str, source: Path, *, commit: str = COMMIT, kind: str = "model") -> Path:
    """Write the files of a folder as a commit of ``main``."""
    paths = [path for path in source.rglob("*") if path.is_file()]
    files = {path.relative_to(source).as_posix(): path.read_bytes() for path in paths}
    return write_repository(cache, id, files, commit=commit, kind=kind)
