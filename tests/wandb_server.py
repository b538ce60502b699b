"""A stand-in for the server of W&B on the loopback device: what its client, its agent and its public API ask."""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "lab"
_OPERATION = re.compile(r"\s*(?:query|mutation)\s+(\w+)")
_STREAM = re.compile(r"/files/[^/]+/[^/]+/(?P<run>[^/]+)/file_stream")


@dataclass
class LoggedRun:
    """A run as the client reported it."""

    name: str
    config: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


@dataclass
class LoggedArtifact:
    """An artifact: the last one of a name is its latest version."""

    id: str
    name: str
    type: str
    digest: str
    project: str
    metadata: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)
    state: str = "PENDING"


class WandbServer:
    """The stand-in: runs, artifacts, links, one sweep whose settings are handed out in turn, and unknown questions."""

    def __init__(self) -> None:
        self.runs: dict[str, LoggedRun] = {}
        self.artifacts: dict[str, LoggedArtifact] = {}
        self.links: list[tuple[str, str]] = []
        self.sweep: dict[str, Any] = {}
        self.settings: list[dict[str, Any]] = []
        self.refused: dict[str, str] = {}
        self.unknown: list[str] = []
        self._given = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    @property
    def url(self) -> str:
        """Address for ``WANDB_BASE_URL``."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def listening(self) -> Iterator[WandbServer]:
        """Answer requests inside."""
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def named(self, ids: list[str]) -> list[str]:
        """The names of artifacts."""
        return [self.artifacts[one].name for one in ids]

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Answer a question of GraphQL."""
        operation = (_OPERATION.match(query) or [query, query[:60]])[1]
        if operation in self.refused:
            return {"errors": [{"message": self.refused[operation]}], "data": None}
        method = getattr(self, f"_{operation}", None)
        if method is None:
            self.unknown.append(operation)
            return {"data": {}}
        with self._lock:
            return {"data": method(variables.get("input", variables))}

    def stream(self, run: str, body: dict[str, Any]) -> None:
        """Take a part of the history of a run."""
        with self._lock:
            logged = self.runs[run]
            for name, part in (body.get("files") or {}).items():
                lines = [json.loads(line) for line in part["content"]] if name.endswith((".jsonl", ".json")) else []
                if name == "wandb-history.jsonl":
                    logged.history += lines
                elif name == "wandb-summary.json" and lines:
                    logged.summary = lines[-1]
            if body.get("complete"):
                logged.exit_code = body.get("exitcode")

    def _ServerFeaturesQuery(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def _Viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        teams = {"edges": [{"node": {"name": ENTITY}}]}
        viewer = {"id": "ada", "entity": ENTITY, "username": "ada", "email": "ada@example.org", "flags": "{}"}
        return {"viewer": {**viewer, "teams": teams}}

    def _RunResumeStatus(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"model": None}

    def _UpsertBucket(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.setdefault(variables["name"], LoggedRun(variables["name"]))
        run.fields |= {name: value for name, value in variables.items() if value is not None}
        run.config |= {name: entry["value"] for name, entry in json.loads(variables.get("config") or "{}").items()}
        project = {"id": "p", "name": run.fields.get("project"), "entity": {"id": "e", "name": ENTITY}}
        bucket = {"id": run.name, "name": run.name, "displayName": run.name, "project": project, "historyLineCount": 0}
        return {"upsertBucket": {"bucket": {**bucket, "sweepName": run.fields.get("sweep")}, "inserted": True}}

    def _CreateRunFiles(self, variables: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.url}/storage/run"} for name in variables["files"]]
        return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}

    def _MarkRunFilesUploaded(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"markRunFilesUploaded": {"success": True}}

    def _CreateArtifact(self, given: dict[str, Any]) -> dict[str, Any]:
        (name,) = given.get("artifactCollectionNames") or [given.get("artifactCollectionName")]
        same = [one for one in self.artifacts.values() if (one.name, one.digest) == (name, given["digest"])]
        artifact = same[-1] if same else LoggedArtifact(
            f"artifact-{len(self.artifacts)}",
            name,
            given["artifactTypeName"],
            given["digest"],
            given["projectName"],
            json.loads(given.get("metadata") or "{}"),
        )  # fmt: skip
        self.artifacts[artifact.id] = artifact
        if given.get("runName"):
            self.runs[given["runName"]].outputs.append(artifact.id)
        sequence = {"latestArtifact": None}
        return {
            "createArtifact": {"artifact": {"id": artifact.id, "state": artifact.state, "artifactSequence": sequence}}
        }

    def _CreateArtifactManifest(self, given: dict[str, Any]) -> dict[str, Any]:
        url = f"{self.url}/storage/manifest"
        manifest = {"id": given["artifactID"], "file": {"id": "f", "uploadUrl": url, "uploadHeaders": []}}
        return {"createArtifactManifest": {"artifactManifest": manifest}}

    def _UpdateArtifactManifest(self, given: dict[str, Any]) -> dict[str, Any]:
        url = f"{self.url}/storage/manifest"
        manifest = {"id": given["artifactManifestID"], "file": {"id": "f", "uploadUrl": url, "uploadHeaders": []}}
        return {"updateArtifactManifest": {"artifactManifest": manifest}}

    def _CreateArtifactFiles(self, given: dict[str, Any]) -> dict[str, Any]:
        nodes = [
            {
                "storagePath": f"{one['artifactID']}/{one['name']}",
                "uploadUrl": f"{self.url}/storage/artifact/{one['artifactID']}/{one['name']}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": one["artifactID"]},
            }
            for one in given["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def _CommitArtifact(self, given: dict[str, Any]) -> dict[str, Any]:
        artifact = self.artifacts[given["artifactID"]]
        artifact.state = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": artifact.id, "digest": artifact.digest}}}

    def _UseArtifact(self, given: dict[str, Any]) -> dict[str, Any]:
        self.runs[given["runName"]].inputs.append(given["artifactID"])
        return {"useArtifact": {"artifact": {"id": given["artifactID"]}}}

    def _ArtifactByID(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"artifact": self._described(self.artifacts[given["id"]])}

    def _LinkArtifact(self, given: dict[str, Any]) -> dict[str, Any]:
        target = f"{given['entityName']}/{given['projectName']}/{given['artifactPortfolioName']}"
        artifact = self.artifacts[given["artifactID"]]
        self.links.append((artifact.name, target))
        project = {"id": "p", "internalId": "p", "name": given["projectName"], "entity": {"name": given["entityName"]}}
        collection = {"__typename": "ArtifactPortfolio", "name": given["artifactPortfolioName"], "project": project}
        membership = {
            "__typename": "ArtifactCollectionMembership",
            "id": "m",
            "versionIndex": 0,
            "createdAt": "2026-01-01T00:00:00Z",
            "aliases": [],
            "artifactCollection": collection,
            "artifact": self._described(artifact),
        }
        return {
            "result": {"versionIndex": 0, "artifactMembership": membership},
            "linkArtifact": {"versionIndex": 0, "artifactMembership": membership},
        }

    def _OrganizationCoreWeaveOrganizationID(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"entity": {"organization": None}}

    def _ArtifactType(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"artifact": None}}

    def _ArtifactMembershipByName(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"project": None}

    def _described(self, artifact: LoggedArtifact) -> dict[str, Any]:
        project = {"id": "p", "internalId": "p", "name": artifact.project, "entity": {"name": ENTITY}}
        return {
            "__typename": "Artifact",
            "id": artifact.id,
            "artifactSequence": {"__typename": "ArtifactSequence", "name": artifact.name, "project": project},
            "versionIndex": 0,
            "artifactType": {"name": artifact.type},
            "description": None,
            "metadata": json.dumps(artifact.metadata),
            "ttlDurationSeconds": -2,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": None,
            "state": artifact.state,
            "size": sum(map(len, artifact.files.values())),
            "digest": artifact.digest,
            "digestAlgorithm": "MANIFEST_MD5",
            "commitHash": "c",
            "fileCount": len(artifact.files),
            "createdAt": "2026-01-01T00:00:00Z",
            "updatedAt": None,
            "aliases": [],
        }

    def _FetchOrgInfoFromEntity(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"entity": {"organization": {"name": "Lab", "orgEntity": {"name": "lab-org"}}, "user": None}}

    def _UpsertSweep(self, given: dict[str, Any]) -> dict[str, Any]:
        self.sweep = {"name": "sweep1", "config": given["config"], "project": given["projectName"]}
        project = {"id": "p", "name": given["projectName"], "entity": {"id": "e", "name": ENTITY}}
        return {"upsertSweep": {"sweep": {"name": "sweep1", "project": project}, "configValidationWarnings": []}}

    def _SweepWithRuns(self, _: dict[str, Any]) -> dict[str, Any]:
        facts = {"id": "sweep1", "name": "sweep1", "config": self.sweep["config"], "state": "RUNNING"}
        return {"project": {"sweep": {**facts, "runs": {"edges": []}}}}

    def _CreateAgent(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"createAgent": {"agent": {"id": "agent1"}}}

    def _Heartbeat(self, given: dict[str, Any]) -> dict[str, Any]:
        commands = []
        if not json.loads(given["runState"] or "{}") and self._given < len(self.settings):
            arguments = {name: {"value": value} for name, value in self.settings[self._given].items()}
            commands = [{"type": "run", "run_id": f"trial{self._given}", "program": None, "args": arguments}]
            self._given += 1
        return {"agentHeartbeat": {"agent": {"id": "agent1"}, "commands": json.dumps(commands)}}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self._body()
                if self.path == "/graphql":
                    body = json.loads(content)
                    self._send(server.answer(body["query"], body.get("variables") or {}))
                    return
                if match := _STREAM.fullmatch(self.path):
                    server.stream(match["run"], json.loads(content))
                self._send({})  # also to what W&B measures of itself

            def do_PUT(self) -> None:
                content, parts = self._body(), self.path.split("/", 4)
                if parts[2] == "artifact":
                    server.artifacts[parts[3]].files[parts[4]] = content
                self._send({})

            def do_GET(self) -> None:
                self._send({})

            def _body(self) -> bytes:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                return gzip.decompress(content) if self.headers.get("Content-Encoding") == "gzip" else content

            def _send(self, answer: dict[str, Any]) -> None:
                content = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
