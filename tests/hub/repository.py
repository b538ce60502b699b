"""Repositories of the stand-in hub: files by path, in commits, with the listings that the hub's API gives of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

LARGE = (".safetensors", ".bin", ".h5", ".msgpack", ".ot", ".parquet", ".jsonl", ".model", ".gguf")
"""Suffixes of files that the hub keeps in its large-file storage, behind a redirect to another host."""

Access = Literal["public", "gated", "private"]


@dataclass(frozen=True)
class File:
    """A file of a repository."""

    path: str
    content: bytes

    @property
    def is_large(self) -> bool:
        """Whether it is served by the large-file storage."""
        return self.path.endswith(LARGE)

    @property
    def blob(self) -> str:
        """Name of the blob in git."""
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    @property
    def sha256(self) -> str:
        """Name of the content in the large-file storage."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def etag(self) -> str:
        """Entity tag without quotes, by which clients name the file in their cache."""
        return self.sha256 if self.is_large else self.blob

    def entry(self) -> dict[str, Any]:
        """Return the entry of a tree listing."""
        entry: dict[str, Any] = {"type": "file", "path": self.path, "size": len(self.content), "oid": self.blob}
        if self.is_large:
            entry["lfs"] = {"oid": self.sha256, "size": len(self.content), "pointerSize": 134}
        return entry


@dataclass
class Repository:
    """A model or a data set of the hub.

    Attributes:
        id: Name on the hub, ``ORG/NAME``.
        kind: ``models`` or ``datasets``.
        head: Commit of ``main``.
        commits: Files by path, for each commit.
        former: Earlier names, which the hub redirects.
    """

    id: str
    kind: Literal["models", "datasets"]
    head: str
    commits: dict[str, dict[str, File]]
    access: Access = "public"
    former: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    branches: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        id: str,
        files: Mapping[str, bytes],
        *,
        kind: Literal["models", "datasets"] = "models",
        commit: str | None = None,
        **options: Any,
    ) -> Repository:
        """Build a repository of one commit, whose name is by default a digest of the files."""
        repository = cls(id, kind, "", {}, **options)
        repository.push(files, commit=commit)
        return repository

    def push(self, files: Mapping[str, bytes], *, commit: str | None = None) -> str:
        """Add a commit of exactly these files to ``main`` and return its name."""
        by_path = {path: File(path, content) for path, content in sorted(files.items())}
        blobs = "".join(f"{self.id} {path} {file.blob}\n" for path, file in by_path.items())
        self.head = commit or hashlib.sha1(blobs.encode()).hexdigest()
        self.commits[self.head] = by_path
        return self.head

    def resolve(self, revision: str) -> str | None:
        """Return the commit of a branch or commit; None: there is none."""
        if revision in ("main", "HEAD"):
            return self.head
        return self.branches.get(revision, revision if revision in self.commits else None)

    def info(self, commit: str, *, blobs: bool = False) -> dict[str, Any]:
        """Return what the API says of the repository at a commit."""
        siblings = [
            {"rfilename": file.path} | ({"size": len(file.content), "blobId": file.blob} if blobs else {})
            for file in self.commits[commit].values()
        ]
        return {
            "_id": hashlib.sha1(self.id.encode()).hexdigest()[:24],
            "id": self.id,
            "sha": commit,
            "private": self.access == "private",
            "gated": "manual" if self.access == "gated" else False,
            "disabled": False,
            "tags": list(self.tags),
            "siblings": siblings,
            "lastModified": "2024-01-01T00:00:00.000Z",
            "createdAt": "2022-03-02T23:29:04.000Z",
            "downloads": 0,
            "likes": 0,
        } | ({"modelId": self.id} if self.kind == "models" else {})

    def tree(self, commit: str, folder: str = "", *, recursive: bool = False) -> list[dict[str, Any]] | None:
        """Return the entries below a folder, as the API lists them; None: there is no such folder."""
        prefix = f"{folder}/" if folder else ""
        below = [file for path, file in self.commits[commit].items() if path.startswith(prefix)]
        if folder and not below:
            return None
        folders: dict[str, None] = {}
        entries = []
        for file in below:
            parents = file.path.removeprefix(prefix).split("/")[:-1]
            for depth in range(len(parents) if recursive else min(1, len(parents))):
                folders[prefix + "/".join(parents[: depth + 1])] = None
            if recursive or not parents:
                entries.append(file.entry())
        return [
            {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}
            for path in folders
        ] + entries
