"""A repository of the Hugging Face hub: is it cached, can it be had, what has to be downloaded.

A cached commit is used without a request, so that a run with a warm cache needs no network.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from lmsteer.errors import InputError
from lmsteer.storage.hub_errors import hub_reason
from lmsteer.storage.hub_files import (
    configuration_names,
    has_all_weights,
    has_tokenizer,
    is_table,
    is_tensors,
    table_names,
    weight_names,
)

TIMEOUT = 20.0  # seconds without an answer
CONFIG = "config.json"
ITEMSIZE = {"float16": 2, "bfloat16": 2, "float64": 8}
"""Bytes of a weight by its type, for types other than float32."""
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Snapshot:
    """The files of one commit on this machine.

    Attributes:
        commit: Empty for a folder of the user.
    """

    folder: Path
    commit: str
    names: tuple[str, ...]

    def files(self) -> dict[str, str]:
        """Return the hub's digest of each file (sha256 of large ones, git's sha1 of others); empty for a folder."""
        if not self.commit:
            return {}
        return {name: (self.folder / name).resolve().name for name in self.names}

    def weight_bytes(self) -> int:
        """Return the size of the weights in bytes."""
        return sum((self.folder / name).stat().st_size for name in weight_names(self.names) if is_tensors(name))


@dataclass(frozen=True)
class Listing:
    """The files of a repository that are needed, by name with their bytes, as the hub lists them."""

    commit: str
    sizes: Mapping[str, int]

    def weight_bytes(self) -> int:
        """Return the size of the weights in bytes."""
        return sum(self.sizes[name] for name in weight_names(self.sizes) if is_tensors(name))


@dataclass(frozen=True)
class HubRepository:
    """A model or a data set of the hub, or a model in a folder of the user.

    Args:
        id: ``ORG/NAME``, or a folder in the hub's layout.
        revision: Branch, tag or commit; None: the default branch.
        weights: Whether the weights of a model are needed, and not only its configuration and tokenizer.
        subset: Subset of a data set, whose tables alone are needed: those in a folder of its name. Empty: all tables.
        noun: Kind of the repository in messages.
        instead: What the user may choose when it cannot be had; the end of messages.

    Example:
        >>> HubRepository("openai-community/gpt2").page
        'https://huggingface.co/openai-community/gpt2'
    """

    id: str
    kind: Literal["model", "dataset"] = "model"
    revision: str | None = None
    weights: bool = True
    subset: str = ""
    noun: str = field(default="model", compare=False)
    instead: str = field(default="a hub id (ORG/NAME) or a folder in the hub's layout", compare=False)

    only_fetched: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """Kind and id."""
        return f"{self.noun} {self.id}"

    @property
    def page(self) -> str:
        """Address of its page."""
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{'datasets/' * (self.kind == 'dataset')}{self.id}"

    @property
    def storage(self) -> Path:
        """Folder of the hub's cache."""
        from huggingface_hub import constants

        return Path(constants.HF_HUB_CACHE)

    @property
    def has_weights(self) -> bool:
        """Whether it is a model whose weights are needed."""
        return self.kind == "model" and self.weights

    @property
    def can_change(self) -> bool:
        """Whether there may be a newer commit: not of a commit, nor of a folder of the user."""
        return not (self._is_folder or (self.revision and COMMIT.fullmatch(self.revision)))

    @property
    def _is_folder(self) -> bool:
        return self.kind == "model" and Path(self.id).expanduser().is_dir()

    def cached(self) -> Snapshot | None:
        """Return what is on this machine, if nothing that is needed is missing; nobody is asked.

        Without the list of its files, which a whole download leaves in the cache, a repository counts as complete if it
        has configuration, tokenizer and weights; a data set only while ``HF_HUB_OFFLINE`` is set.
        """
        if self._is_folder:
            folder = Path(self.id).expanduser()
            return Snapshot(folder, "", tuple(path.name for path in folder.iterdir() if path.is_file()))
        storage = self.storage / f"{self.kind}s--{self.id.replace('/', '--')}"
        commit = self._cached_commit(storage)
        folder = storage / "snapshots" / commit
        if not commit or not folder.is_dir():
            return None
        present = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        listed = self._listed(commit)
        names = self.needed(present if listed is None else listed)
        is_complete = self._seems_complete(folder, names) if listed is None else names and set(names) <= set(present)
        return Snapshot(folder, commit, tuple(sorted(names))) if is_complete else None

    def _cached_commit(self, storage: Path) -> str:
        if self.revision and COMMIT.fullmatch(self.revision):
            return self.revision
        reference = storage / "refs" / (self.revision or "main")
        return reference.read_text(encoding="utf-8").strip() if reference.is_file() else ""

    def _listed(self, commit: str) -> list[str] | None:
        from huggingface_hub import get_cached_repo_tree
        from huggingface_hub.errors import CachedRepoTreeNotFoundError

        try:
            return [file.path for file in get_cached_repo_tree(self.id, repo_type=self.kind, revision=commit)]
        except CachedRepoTreeNotFoundError:
            return None

    def _seems_complete(self, folder: Path, names: list[str]) -> bool:
        from huggingface_hub import is_offline_mode

        if self.kind == "dataset":
            return is_offline_mode() and any(map(is_table, names))
        has_model = CONFIG in names and has_tokenizer(names)
        return has_model and (not self.weights or has_all_weights(folder, names))

    def needed(self, names: Iterable[str]) -> list[str]:
        """Select the files that are needed from the names of all: of weights one format, safetensors if there."""
        if self.kind == "dataset":
            return table_names(names, self.subset)
        return configuration_names(names) + (weight_names(names) if self.weights else [])

    def look_up(self) -> Listing:
        """Ask the hub for the commit and the files.

        Raises:
            InputError: If it does not exist, is not accessible or has no files of the kind, or the hub does not answer.
        """
        from huggingface_hub import HfApi

        if self.id.startswith(("/", ".", "~")):
            raise InputError(f"{self.label}: no such folder; {self.instead} expected")
        with self._explained():
            api = HfApi()
            info = api.repo_info(
                self.id, repo_type=self.kind, revision=self.revision, files_metadata=True, timeout=TIMEOUT
            )
            if getattr(info, "gated", False):
                api.auth_check(self.id, repo_type=self.kind)
        sizes = {file.rfilename: file.size or 0 for file in getattr(info, "siblings", None) or ()}
        names = self.needed(sizes)
        self._check_needed(names, list(sizes))
        return Listing(info.sha or "", {name: sizes[name] for name in names})

    def _check_needed(self, names: list[str], all_names: list[str]) -> None:
        """Refuse a repository without the files of its kind, of which ``all_names`` are all."""
        if self.kind == "model" and self.weights and not weight_names(names):
            raise self._refusal("it has no weights of transformers, safetensors or pytorch_model.bin")
        if self.kind == "dataset" and not any(map(is_table, names)):
            raise self._refusal("it has no tables: parquet, jsonl or csv")

    def is_cached(self) -> bool:
        """Return whether all that is needed is on this machine, without asking anybody."""
        return self.cached() is not None

    def size(self) -> int:
        """Return the number of bytes to download if nothing is there.

        Raises:
            InputError: As ``look_up`` does.
        """
        return sum(self.look_up().sizes.values())

    def weight_bytes(self) -> int:
        """Return the size of the weights, of the cached ones or as the hub says.

        Raises:
            InputError: As ``look_up`` does.
        """
        snapshot = self.cached()
        return self.look_up().weight_bytes() if snapshot is None else snapshot.weight_bytes()

    def stored_itemsize(self) -> int:
        """Return the bytes of one weight by the configuration of a model; 0: unknown, as it is quantized.

        Raises:
            InputError: As ``look_up`` does, or if there is no configuration.
        """
        from huggingface_hub import hf_hub_download

        snapshot = self.cached()
        with self._explained():
            path = (
                hf_hub_download(self.id, CONFIG, revision=self.revision, etag_timeout=TIMEOUT)
                if snapshot is None
                else snapshot.folder / CONFIG
            )
            config = json.loads(Path(path).read_text(encoding="utf-8"))
        if "quantization_config" in config:
            return 0
        config = config.get("text_config") or config
        return ITEMSIZE.get(str(config.get("dtype") or config.get("torch_dtype")), 4)

    def fetch(self, *, force: bool = False) -> Snapshot:
        """Return the files on this machine, after downloading what is missing.

        Args:
            force: Ask the hub for a newer commit of the revision even if one is cached.

        Raises:
            InputError: As ``look_up`` does, or if a download fails; what has arrived stays in the hub's cache.
        """
        from huggingface_hub import snapshot_download

        if (snapshot := self.cached()) is not None and not (force and self.can_change):
            return snapshot
        names = list(self.look_up().sizes)
        patterns = [re.sub(r"([*?\[])", r"[\1]", name) for name in names]
        with self._explained():
            folder = snapshot_download(
                self.id, repo_type=self.kind, revision=self.revision, allow_patterns=patterns, etag_timeout=TIMEOUT
            )
        return Snapshot(Path(folder), Path(folder).name, tuple(sorted(names)))

    def record(self) -> dict[str, Any]:
        """Return id, revision, commit and files of what is cached."""
        entry: dict[str, Any] = {"id": self.id, "kind": self.kind, "revision": self.revision}
        snapshot = self.cached()
        return entry if snapshot is None else {**entry, "commit": snapshot.commit, "files": snapshot.files()}

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # the client's errors, the network's and the file system's have no common base
            raise self._refusal(hub_reason(error, self.page, self.revision)) from error

    def _refusal(self, reason: str) -> InputError:
        return InputError(f"{self.label} cannot be loaded ({reason}); allowed are {self.instead}")
