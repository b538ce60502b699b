"""Answers of the stand-in hub: content, listings, and refusals in the hub's own words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.hub.repository import File, Repository

RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(frozen=True)
class Answer:
    """Status, headers and body of an answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def of_json(cls, value: Any, **headers: str) -> Answer:
        """Answer with JSON."""
        return cls(200, {"Content-Type": "application/json; charset=utf-8", **headers}, json.dumps(value).encode())

    @classmethod
    def error(cls, status: int, code: str, message: str, **headers: str) -> Answer:
        """Refuse, as the hub does: a code and a message in headers, the message in the body too."""
        named = {"X-Error-Code": code, "X-Error-Message": message} if code else {"X-Error-Message": message}
        body = json.dumps({"error": message}).encode()
        return cls(status, {"Content-Type": "application/json; charset=utf-8", **named, **headers}, body)


def content(file: File, commit: str, headers: Mapping[str, str]) -> Answer:
    """Answer with the content of a file, or the range of it that is asked for."""
    facts = {"ETag": f'"{file.etag}"', "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    if commit:
        facts["X-Repo-Commit"] = commit
    asked = RANGE.fullmatch(headers.get("Range") or "")
    if not asked:
        return Answer(200, facts, file.content)
    start, size = int(asked[1]), len(file.content)
    if start >= size:
        return Answer(416, {"Content-Range": f"bytes */{size}"})
    end = min(int(asked[2] or size - 1), size - 1)
    return Answer(206, {**facts, "Content-Range": f"bytes {start}-{end}/{size}"}, file.content[start : end + 1])


def unknown_token() -> Answer:
    """Refuse a token that nobody has."""
    return Answer.error(401, "", "Invalid credentials in Authorization header")


def missing_revision(revision: str) -> Answer:
    """Refuse a branch or commit that is not there."""
    return Answer.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")


def missing_file(**headers: str) -> Answer:
    """Refuse a path that is not there."""
    return Answer.error(404, "EntryNotFound", "Entry not found", **headers)


def gated(repository: Repository, *, known: bool) -> Answer:
    """Refuse a repository whose terms have not been accepted."""
    what = "model" if repository.kind == "models" else "dataset"
    page = f"https://huggingface.co/{'' if repository.kind == 'models' else 'datasets/'}{repository.id}"
    if known:
        reason = f"you are not in the authorized list. Visit {page} to ask for access."
        return Answer.error(403, "GatedRepo", f"Access to {what} {repository.id} is restricted and {reason}")
    reason = "You must have access to it and be authenticated to access it. Please log in."
    return Answer.error(401, "GatedRepo", f"Access to {what} {repository.id} is restricted. {reason}")
