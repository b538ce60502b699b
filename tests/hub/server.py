"""A stand-in for the Hugging Face hub on the loopback device: what its clients need to list, download and upload.

The API and small files are answered at ``endpoint``; large files are answered by a redirect to a second address, as
the hub's storage is another host.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.hub.answers import Answer, content, gated, missing_file, missing_revision, unknown_token
from tests.hub.fault import Fault
from tests.hub.repository import File, Repository
from tests.hub.uploads import OWNER, Uploads

_API = re.compile(r"/api/(models|datasets)/(?P<rest>.+)")
_ACTION = re.compile(r"(?P<id>.+?)/(?P<action>revision|tree|paths-info|refs|auth-check)(?:/(?P<rest>.*))?")
_RESOLVE = re.compile(r"(/(?P<kind>datasets))?/(?P<id>[^/]+(/[^/]+)?)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
_STORED = re.compile(r"/storage/(?P<sha256>[0-9a-f]{64})")
_CACHED = re.compile(r"/api/resolve-cache/(?P<kind>models|datasets)/(?P<id>.+?)/(?P<commit>[0-9a-f]{40})/(?P<path>.+)")


@dataclass(frozen=True)
class Request:
    """A request that was answered: the bytes are those of the body that was sent."""

    method: str
    path: str
    status: int
    bytes: int


class Hub:
    """The stand-in: repositories, tokens with the repositories that they open, faults, and a log of all requests.

    Example:
        >>> from tests.hub.repository import Repository
        >>> with Hub([Repository.of("org/name", {"config.json": b"{}"})]) as hub:
        ...     hub.endpoint.startswith("http://127.0.0.1:")
        True
    """

    def __init__(
        self,
        repositories: Iterable[Repository],
        *,
        tokens: Mapping[str, frozenset[str]] | None = None,
        writers: Collection[str] = (),
    ) -> None:
        self.repositories = {(repository.kind, repository.id): repository for repository in repositories}
        self.tokens = dict(tokens or {})
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        self._ports = [0, 0]
        self._servers: list[ThreadingHTTPServer] = []
        self.uploads = Uploads(self.repositories, self.tokens, writers, lambda: (self.endpoint, self.storage))

    def __enter__(self) -> Hub:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def is_listening(self) -> bool:
        """Whether requests are answered."""
        return bool(self._servers)

    @property
    def endpoint(self) -> str:
        """Address for ``HF_ENDPOINT``."""
        return f"http://127.0.0.1:{self._ports[0]}"

    @property
    def storage(self) -> str:
        """Address of the large-file storage."""
        return f"http://127.0.0.1:{self._ports[1]}"

    def start(self) -> None:
        """Listen, at the same ports as before if it was stopped."""
        for index, port in enumerate(self._ports):
            server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
            server.daemon_threads = True
            self._servers.append(server)
            self._ports[index] = server.server_address[1]
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        """Stop listening: connections are refused."""
        while self._servers:
            server = self._servers.pop()
            server.shutdown()
            server.server_close()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Be out of reach for a while."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def failing(self, *faults: Fault) -> Iterator[None]:
        """Have faults for a while."""
        self.faults.extend(faults)
        try:
            yield
        finally:
            self.faults.clear()

    def log(self, method: str, path: str, status: int, sent: int) -> None:
        """Note a request."""
        with self._lock:
            self.requests.append(Request(method, path, status, sent))

    def find_fault(self, request: str) -> Fault | None:
        """Return the first fault that a request meets."""
        with self._lock:
            return next((fault for fault in self.faults if fault.meets(request)), None)

    def repository(self, id: str, kind: str = "models") -> Repository | None:
        """Return a repository by its name."""
        return self.repositories.get((kind, id))

    def files(self) -> Iterator[tuple[str, File]]:
        """Yield the files of all commits, with the name of their repository."""
        for repository in self.repositories.values():
            for files in repository.commits.values():
                yield from ((repository.id, file) for file in files.values())

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Return the answer to a request, leaving faults aside."""
        url = urlsplit(target)
        path = unquote(url.path)
        opened = self._opened(headers)
        if isinstance(opened, Answer):
            return opened
        token = (headers.get("Authorization") or "").removeprefix("Bearer ")
        if (uploaded := self.uploads.answer(method, path, token, body)) is not None:
            return uploaded
        if stored := _STORED.fullmatch(path):
            return self._stored(stored["sha256"], headers)
        if cached := _CACHED.fullmatch(path):
            repository = self.repositories.get((cached["kind"], cached["id"]))
            file = repository and repository.commits.get(cached["commit"], {}).get(cached["path"])
            return content(file, cached["commit"], headers) if file else missing_file()
        if path == "/api/whoami-v2":
            access = {"auth": {"accessToken": {"role": self.uploads.role(token)}}}
            user = {"type": "user", "name": OWNER, **access}
            return Answer.of_json(user) if opened is not None else unknown_token()
        if api := _API.fullmatch(path):
            return self._api(api[1], api["rest"], target, parse_qs(url.query), parse_qs(body.decode()), opened)
        if resolved := _RESOLVE.fullmatch(url.path):
            return self._resolve(resolved, target, headers, opened)
        return Answer.error(404, "", "Sorry, we can't find the page you are looking for.")

    def _opened(self, headers: Mapping[str, str]) -> frozenset[str] | Answer | None:
        """Return the repositories that the token of a request opens; None: no token; an answer: an unknown one."""
        authorization = headers.get("Authorization") or ""
        if not authorization:
            return None
        token = authorization.removeprefix("Bearer ")
        return self.tokens[token] if token in self.tokens else unknown_token()

    def _find(self, kind: str, id: str, target: str, opened: frozenset[str] | None) -> Repository | Answer:
        for repository in self.repositories.values():
            if repository.kind == kind and id in repository.former:
                return Answer(307, {"Location": target.replace(f"/{id}", f"/{repository.id}", 1)})
        repository_ = self.repositories.get((kind, id))
        if repository_ is None or (repository_.access == "private" and repository_.id not in (opened or ())):
            if opened is None:  # the hub does not tell a stranger whether a repository exists
                return Answer.error(401, "RepoNotFound", "Invalid username or password.")
            return Answer.error(404, "RepoNotFound", "Repository not found")
        return repository_

    def _api(
        self,
        kind: str,
        rest: str,
        target: str,
        query: Mapping[str, list[str]],
        form: Mapping[str, list[str]],
        opened: frozenset[str] | None,
    ) -> Answer:
        parts = _ACTION.fullmatch(rest)
        repository = self._find(kind, parts["id"] if parts else rest, target, opened)
        if isinstance(repository, Answer):
            return repository
        action, rest = (parts["action"], parts["rest"] or "") if parts else ("revision", "main")
        if action == "auth-check":
            refused = repository.access == "gated" and repository.id not in (opened or ())
            return gated(repository, known=opened is not None) if refused else Answer.of_json({})
        if action == "refs":
            branches = [{"name": "main", "ref": "refs/heads/main", "targetCommit": repository.head}]
            return Answer.of_json({"branches": branches, "converts": [], "tags": []})
        revision, _, folder = rest.partition("/")
        commit = repository.resolve(revision)
        if commit is None:
            return missing_revision(revision)
        if action == "revision":
            return Answer.of_json(repository.info(commit, blobs="blobs" in query), **{"X-Repo-Commit": commit})
        if action == "paths-info":
            entries = repository.tree(commit, recursive=True) or []
            paths = {path.rstrip("/") for path in form.get("paths", [])}
            return Answer.of_json([entry for entry in entries if entry["path"] in paths])
        listing = repository.tree(commit, folder, recursive=query.get("recursive", ["false"])[0].lower() == "true")
        if listing is None:
            return Answer.error(404, "EntryNotFound", f'{folder} does not exist on "{revision}"')
        return Answer.of_json(listing, **{"X-Repo-Commit": commit})

    def _resolve(
        self, parts: re.Match[str], target: str, headers: Mapping[str, str], opened: frozenset[str] | None
    ) -> Answer:
        kind, id, revision, path = parts["kind"] or "models", parts["id"], unquote(parts["revision"]), parts["path"]
        repository = self._find(kind, unquote(id), target, opened)
        if isinstance(repository, Answer):
            return repository
        if repository.access == "gated" and repository.id not in (opened or ()):
            return gated(repository, known=opened is not None)
        commit = repository.resolve(revision)
        if commit is None:
            return missing_revision(revision)
        file = repository.commits[commit].get(unquote(path))
        if file is None:
            return missing_file(**{"X-Repo-Commit": commit})
        facts = {"X-Repo-Commit": commit, "ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"}
        if file.is_large:
            linked = {"X-Linked-Size": str(len(file.content)), "X-Linked-ETag": f'"{file.etag}"'}
            return Answer(302, {**facts, **linked, "Location": f"{self.storage}/storage/{file.sha256}?Expires=1"})
        cached = f"/api/resolve-cache/{kind}/{repository.id}/{commit}/{quote(file.path)}"
        return Answer(307, {**facts, "Location": f"{cached}?{quote(target, safe='')}=&etag=%22{file.etag}%22"})

    def _stored(self, sha256: str, headers: Mapping[str, str]) -> Answer:
        stored = next((file for _, file in self.files() if file.is_large and file.sha256 == sha256), None)
        if stored is not None:
            return content(stored, "", headers)
        return Answer(403, {"Content-Type": "application/xml"}, b"<Error><Code>AccessDenied</Code></Error>")


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    """Return a class of handlers that ask a hub."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self._body()
            if not hub.is_listening:  # a connection that was kept open when the hub went down
                self.close_connection = True
                return
            fault = hub.find_fault(f"{self.command} {self.path}")
            if fault and fault.drop:
                hub.log(self.command, self.path, 0, 0)
                self.close_connection = True
                return
            if fault and fault.status is not None:
                answer = Answer.error(fault.status, "", fault.message, **fault.headers)
            else:
                answer = hub.answer(self.command, self.path, self.headers, body)
            cut = fault.cut if fault else None
            sent = b"" if self.command == "HEAD" else answer.body[:cut]
            hub.log(self.command, self.path, answer.status, len(sent))
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(sent)
            if len(sent) < len(answer.body) and self.command != "HEAD":
                self.close_connection = True

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        do_GET = do_HEAD = do_POST = do_PUT = _serve

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
