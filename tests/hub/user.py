"""A user's machine in one folder: caches, environment, and commands that use the stand-in hub."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.hub.checkpoints import language_models, unusual_models
from tests.hub.classifiers import classifiers, detoxify_releases
from tests.hub.data_sets import data_sets, open_web_text_prompts
from tests.hub.peoples_data_sets import peoples_data_sets
from tests.hub.server import Hub, Request

from lmsteer.storage.checksums import SUMS
from lmsteer.storage.user_cache import cache_folder

ROOT = Path(__file__).parents[2]
LONGEST = 600.0  # seconds of a command, after which it hangs
TOKENS = {
    "hf_everything": frozenset({"meta-llama/Llama-3.2-1B", "google/gemma-3-270m", "tester/private"}),
    "hf_nothing": frozenset[str](),
}
"""Tokens of the stand-in: one of a user who has accepted all terms, and one of a user who has accepted none."""
WRITERS = ("hf_everything",)
"""Those that may write."""


def build_hub() -> Hub:
    """Build the stand-in with all models, classifiers and data sets; it takes some seconds."""
    repositories = [*language_models(), *unusual_models(), *classifiers(), *data_sets(), *peoples_data_sets()]
    return Hub(repositories, tokens=TOKENS, writers=WRITERS)


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
        "HF_HUB_DISABLE_XET": "1",
        "TORCH_HOME": str(folder / "torch"),
        "LMSTEER_CACHE": str(folder / "lmsteer"),
        "OMP_NUM_THREADS": "1",
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


class Machine:
    """A process that has loaded everything, in whose forks users run their commands, one after the other.

    Its caches are below a link, which points to the folder of the user whose turn it is.
    """

    def __init__(self, hub: Hub, folder: Path) -> None:
        self.hub = hub
        self._link, self._job = folder / "user", folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hub.template"],
            cwd=ROOT,
            env=environment(hub.endpoint, self._link),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "ready"

    def _answer(self) -> str:
        """Return the next line of the process; it has ten minutes for it."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], LONGEST)
        assert ready, "it hangs"
        return self._process.stdout.readline().strip()

    def run(self, user: Path, module: str, options: Sequence[str], variables: Mapping[str, str]) -> Ended:
        """Run a command of a user and wait for its end."""
        self._link.unlink(missing_ok=True)
        self._link.symlink_to(user)
        out, err = self._job / "out", self._job / "err"
        job = {"module": module, "options": list(options), "variables": dict(variables)}
        before, start = len(self.hub.requests), time.monotonic()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({**job, "out": str(out), "err": str(err)}) + "\n")
        self._process.stdin.flush()
        status = int(self._answer())
        seconds = time.monotonic() - start
        texts = (path.read_text(errors="replace") for path in (out, err))
        return Ended(status, *texts, tuple(self.hub.requests[before:]), seconds)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


class User:
    """A user with caches of their own: what one of their commands has downloaded is there for the next.

    Args:
        folder: An empty folder for the caches.
        token: Token of the hub; None: not signed in.
    """

    def __init__(self, machine: Machine, folder: Path, token: str | None = None) -> None:
        self.machine, self.folder, self.token = machine, folder, token
        prepare(folder)

    def run(self, command: str, *options: str) -> Ended:
        """Run ``python -m src.COMMAND``, in a process that need not load everything first."""
        variables = {"HF_TOKEN": self.token} if self.token else {}
        return self.machine.run(self.folder, f"src.{command}", options, variables)

    def run_anew(self, command: str, *options: str, **more: str) -> Ended:
        """Run ``python -m src.COMMAND`` as a new process, with further environment variables."""
        hub = self.machine.hub
        before, start = len(hub.requests), time.monotonic()
        ended = subprocess.run(
            [sys.executable, "-m", f"src.{command}", *options],
            cwd=ROOT,
            env=environment(hub.endpoint, self.folder, self.token, **more),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=LONGEST,
        )
        seconds = time.monotonic() - start
        return Ended(ended.returncode, ended.stdout, ended.stderr, tuple(hub.requests[before:]), seconds)

    def cached_files(self) -> dict[str, bytes]:
        """Return the blobs of the hub's cache by name: each is named by the digest of its content."""
        blobs = (self.folder / "huggingface" / "hub").glob("*/blobs/*")
        return {blob.name: blob.read_bytes() for blob in blobs if not blob.name.endswith(".incomplete")}
