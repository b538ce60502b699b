"""Uploads to the stand-in hub: a repository is made, large files are stored, and a commit takes them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from tests.hub.answers import Answer
from tests.hub.repository import LARGE, File, Repository

OWNER = "tester"
"""User of all tokens."""
_CREATE, _VALIDATE = "/api/repos/create", "/api/validate-yaml"
_OF_MODEL = re.compile(r"/api/models/(?P<id>[^/]+/[^/]+)/(?P<action>preupload|commit)/(?P<revision>[^/]+)")
_BATCH = re.compile(r"/(?P<id>[^/]+/[^/]+)\.git/info/lfs/objects/batch")
_STORE = re.compile(r"/upload/(?P<sha256>[0-9a-f]{64})")

Repositories = dict[tuple[str, str], Repository]


class Uploads:
    """What the hub does with files that are sent to it.

    Args:
        repositories: Those of the hub, by kind and id.
        tokens: Repositories that a token opens; one that is made is opened for the token that made it.
        writers: Tokens that may write; the others may only read.
        address: Gives the address of the API and that of the storage.
    """

    def __init__(
        self,
        repositories: Repositories,
        tokens: dict[str, frozenset[str]],
        writers: Collection[str],
        address: Callable[[], tuple[str, str]],
    ) -> None:
        self.repositories, self.tokens, self.writers = repositories, tokens, writers
        self._address = address
        self.stored: dict[str, bytes] = {}

    def role(self, token: str) -> str:
        """Return what a token may do."""
        return "write" if token in self.writers else "read"

    def answer(self, method: str, path: str, token: str, body: bytes) -> Answer | None:
        """Return the answer to a request that is part of an upload; None: it is none."""
        if stored := _STORE.fullmatch(path):  # signed by its address, so that it needs no token
            return self._store(method, stored["sha256"], body)
        batch, of_model = _BATCH.fullmatch(path), _OF_MODEL.fullmatch(path)
        if path not in (_CREATE, _VALIDATE) and not (batch or of_model):
            return None
        if token not in self.tokens:
            return Answer.error(401, "", "Invalid username or password.")
        if path == _VALIDATE:
            return Answer.of_json({"errors": [], "warnings": []})
        if path == _CREATE:
            return self._create(token, json.loads(body))
        id = (batch or of_model or {})["id"]
        repository = self.repositories.get(("models", id))
        if repository is None:
            return Answer.error(404, "RepoNotFound", "Repository not found")
        if token not in self.writers or id.partition("/")[0] != OWNER:
            return Answer.error(403, "", f"You don't have the rights to write to {id}.")
        if batch:
            return self._batch(json.loads(body))
        assert of_model
        return (self._preupload if of_model["action"] == "preupload" else self._commit)(repository, body)

    def _create(self, token: str, options: Mapping[str, Any]) -> Answer:
        owner, name = options.get("organization") or OWNER, options["name"]
        if token not in self.writers or owner != OWNER:
            return Answer.error(403, "", f"You don't have the rights to create a model under the namespace {owner}.")
        id = f"{owner}/{name}"
        made = {"url": f"{self._address()[0]}/{id}", "name": id}
        if ("models", id) in self.repositories:
            refusal = Answer.error(409, "", "You already created this model repo")
            return Answer(409, refusal.headers, json.dumps(made | {"error": "You already created it"}).encode())
        is_private = options.get("private") or options.get("visibility") == "private"
        repository = Repository.of(id, {".gitattributes": b""}, access="private" if is_private else "public")
        self.repositories["models", id] = repository
        self.tokens[token] |= {id}
        return Answer.of_json(made)

    def _preupload(self, repository: Repository, body: bytes) -> Answer:
        there = repository.commits[repository.head]
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
                "oid": there[file["path"]].etag if file["path"] in there else None,
            }
            for file in json.loads(body)["files"]
        ]
        return Answer.of_json({"files": files})

    def _batch(self, asked: Mapping[str, Any]) -> Answer:
        target = self._address()[1]
        objects = [
            entry
            if entry["oid"] in self.stored
            else entry | {"actions": {"upload": {"href": f"{target}/upload/{entry['oid']}", "header": {}}}}
            for entry in asked["objects"]
        ]
        return Answer.of_json({"transfer": "basic", "objects": objects})

    def _store(self, method: str, sha256: str, body: bytes) -> Answer:
        if method != "PUT" or hashlib.sha256(body).hexdigest() != sha256:
            return Answer(400, {"Content-Type": "application/xml"}, b"<Error><Code>BadDigest</Code></Error>")
        self.stored[sha256] = body
        return Answer(200, {"ETag": f'"{sha256}"'})

    def _commit(self, repository: Repository, body: bytes) -> Answer:
        files = {path: file.content for path, file in repository.commits[repository.head].items()}
        for line in body.splitlines():
            operation = json.loads(line)
            key, value = operation["key"], operation["value"]
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.stored[value["oid"]]
                assert File(value["path"], files[value["path"]]).sha256 == value["oid"]
        commit = repository.push(files)
        url = f"{self._address()[0]}/{repository.id}/commit/{commit}"
        return Answer.of_json({"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})
