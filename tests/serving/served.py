"""A tiny model with a steer that `python -m src.serve` serves in a process of its own, and requests to it."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.export.tiny_gguf import write_base
from tests.handmade_commands import write_steer

from lmsteer.models.random_models import tiny
from lmsteer.steering.steer import Steer

ROOT = Path(__file__).parents[2]
TIMEOUT = 60
NEW = 8
GREEDY = {"temperature": 0, "max_tokens": NEW, "ignore_eos": True, "n_probs": 1}


def tone_steer(*names: str, seed: int = 1, **options: Any) -> Steer:
    """A steer that changes the tiny model's texts at strengths of one or two."""
    return Steer(32, dimensions=names or ("tone", "dummy"), rank=4, epsilon=0.1, init_std=0.7, seed=seed, **options)


def write_files(folder: Path) -> tuple[Path, Path]:
    """A steer file, and the tiny model as GGUF with tied embeddings and the words of its tokenizer."""
    steer = write_steer(folder / "steer.safetensors", tone_steer())
    return steer, write_base(folder / "tiny.gguf", tiny(), own_words=True)


@dataclass(frozen=True)
class Served:
    """A running server."""

    url: str
    process: subprocess.Popen[str]
    temporary: Path
    key: str = ""

    def ask(self, route: str, request: dict[str, Any] | bytes | None = None) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of an answer."""
        body = json.dumps(request).encode() if isinstance(request, dict) else request
        headers = {"Content-Type": "application/json", "Accept-Encoding": "gzip", "Origin": "http://elsewhere.example"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        sent = urllib.request.Request(self.url + route, data=body, headers=headers)
        try:
            with urllib.request.urlopen(sent, timeout=TIMEOUT) as answer:
                return answer.status, answer.read(), dict(answer.headers)
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read(), dict(refusal.headers)

    def tokens(self, route: str, request: dict[str, Any]) -> list[int]:
        """Token ids of an answer, streamed or not."""
        status, body, _ = self.ask(route, GREEDY | request)
        assert status == 200, body
        if not request.get("stream"):
            return ids_of(json.loads(body))
        events = [line.removeprefix("data: ") for line in body.decode().splitlines() if line]
        assert events[-1] == "[DONE]"
        return [token for event in events[:-1] for token in ids_of(json.loads(event))]

    def message(self, route: str, request: dict[str, Any] | bytes) -> str:
        """The line of a refused request."""
        status, body, _ = self.ask(route, request)
        error = json.loads(body)["error"]
        assert (status, error["code"], error["type"]) == (400, 400, "invalid_request_error")
        return str(error["message"])


def ids_of(answer: dict[str, Any]) -> list[int]:
    choices = [choice["logprobs"]["content"] for choice in answer["choices"] if choice.get("logprobs")]
    return [token["id"] for content in choices for token in content]


@contextmanager
def serving(folder: Path, *options: str, environment: dict[str, str] | None = None) -> Iterator[Served]:
    """Run the command until the end of the block, and then interrupt it."""
    temporary = folder / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "src.serve", "model=tiny", "port=0", "threads=1", *options]
    environment = {**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1", **(environment or {})}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=(folder / "errors").open("w"), text=True
    )
    try:
        assert process.stdout
        lines = iter(process.stdout.readline, "")
        address = next((line.split()[0] for line in lines if line.startswith("http://")), "")
        assert address, (folder / "errors").read_text()
        yield Served(address, process, temporary)
    finally:
        process.kill()
        process.wait()
