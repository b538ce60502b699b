"""A user's machine in one folder: caches, environment, and commands that use the stand-in hub."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.hub.checkpoints import language_models, unusual_models
from tests.hub.classifiers import classifiers, detoxify_releases
from tests.hub.data_sets import data_sets, open_web_text_prompts
from tests.hub.server import Hub, Request

from lmsteer.storage.checksums import SUMS
from lmsteer.storage.user_cache import cache_folder

ROOT = Path(__file__).parents[2]
TOKENS = {
    "hf_everything": frozenset({"meta-llama/Llama-3.2-1B", "google/gemma-3-270m", "tester/private"}),
    "hf_nothing": frozenset[str](),
}
"""Tokens of the stand-in: one of a user who has accepted all terms, and one of a user who has accepted none."""


def build_hub() -> Hub:
    """Build the stand-in with all models, classifiers and data sets; it takes some seconds."""
    repositories = [*language_models(), *unusual_models(), *classifiers(), *data_sets()]
    return Hub(repositories, tokens=TOKENS)


@cache
def _release_pages() -> dict[str, dict[str, bytes]]:
    """Return what does not come from the hub, by the folder of the user's machine to which it is downloaded."""
    return {
        "torch/hub/checkpoints": detoxify_releases(),
        "lmsteer/owt-sentiment-prompts": open_web_text_prompts(),
    }


def prepare(folder: Path) -> None:
    """Put into a user's folder what does not come from the hub: the embedded stack, and files of release pages."""
    for name, files in _release_pages().items():
        target = folder / name
        target.mkdir(parents=True)
        for file, content in files.items():
            (target / file).write_bytes(content)
    for embedded in cache_folder().iterdir():
        if (embedded / SUMS).is_file():
            (folder / "lmsteer" / embedded.name).symlink_to(embedded)


def variables(endpoint: str, folder: Path, token: str | None = None) -> dict[str, str]:
    """Return the environment variables that make a command use the stand-in, with all caches below a folder."""
    named = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder / "huggingface"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TORCH_HOME": str(folder / "torch"),
        "LMSTEER_CACHE": str(folder / "lmsteer"),
        "WANDB_MODE": "offline",
        "NO_PROXY": "127.0.0.1",
    }
    return named | ({"HF_TOKEN": token} if token else {})


def environment(endpoint: str, folder: Path, token: str | None = None, **more: str) -> dict[str, str]:
    """Return the whole environment of a child process: this one without its own settings of the hub's clients."""
    foreign = ("HF_", "HUGGING", "TRANSFORMERS_", "DISABLE_SAFETENSORS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | variables(endpoint, folder, token) | more


@dataclass(frozen=True)
class Ended:
    """A command that has ended: exit status, what it printed, its requests to the hub, and its wall-clock seconds."""

    status: int
    out: str
    err: str
    requests: tuple[Request, ...]
    seconds: float

    @property
    def refusal(self) -> str:
        """The one line of a command that was refused; a traceback is none."""
        said = self.out + self.err
        assert self.status == 1, said
        assert "Traceback" not in said, said
        lines = [line for line in said.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1, said
        return lines[0]

    def succeeded(self) -> "Ended":
        """Return itself; a command that failed is none."""
        assert self.status == 0, self.out + self.err
        return self


class User:
    """A user with a machine of their own: what one of their commands has downloaded is there for the next.

    Args:
        folder: An empty folder for the caches and the runs.
        token: Token of the hub; None: not signed in.
    """

    def __init__(self, hub: Hub, folder: Path, token: str | None = None) -> None:
        self.hub, self.folder, self.token = hub, folder, token
        prepare(folder)

    def run(self, command: str, *options: str, module: str = "src", **variables: str) -> Ended:
        """Run ``python -m src.COMMAND`` in a process of its own and wait for it."""
        return self.python("-m", f"{module}.{command}", *options, **variables)

    def python(self, *arguments: str, **variables: str) -> Ended:
        """Run Python in the environment of the user's commands and wait for it."""
        before, start = len(self.hub.requests), time.monotonic()
        ended = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment(self.hub.endpoint, self.folder, self.token, **variables),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=600,
        )
        seconds = time.monotonic() - start
        requests = tuple(self.hub.requests[before:])
        return Ended(ended.returncode, ended.stdout, ended.stderr, requests, seconds)

    def cached_files(self) -> dict[str, bytes]:
        """Return the blobs of the hub's cache by name: each is named by the digest of its content."""
        blobs = (self.folder / "huggingface" / "hub").glob("*/blobs/*")
        return {blob.name: blob.read_bytes() for blob in blobs if not blob.name.endswith(".incomplete")}
