"""The feature store: hidden states computed once, on disk, for every run and process that needs them.

Shapes: N packed tokens, B texts, D width.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from lmsteer.data.features import FeatureExtractor, Features
from lmsteer.errors import InputError
from lmsteer.storage.atomic_files import atomic_write_lines
from lmsteer.storage.shards import Shards, key_of
from lmsteer.storage.user_cache import cache_folder

SHARD = 32768
"""Tokens of a file: what an interrupted extraction has to do again, at most."""
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class FeatureStoreConfig:
    """Where hidden states are kept.

    Attributes:
        where: "off": nowhere. "auto": in the user's cache, those of rows that a run sees more than once. A folder:
            there, those of every row that a run sees.
        gib: Most GiB that all stores of the folder may take.
        store_all: Keep every row under "auto" too, as when other runs will see the same rows.
    """

    where: str = "auto"
    gib: float = 16.0
    store_all: bool = False

    def __post_init__(self) -> None:
        if not self.where or Path(self.where).is_file():
            raise InputError(f"data.store={self.where}: off, auto or a folder expected")
        if not self.gib > 0:
            raise InputError(f"data.store_gib={self.gib}: a number above 0 expected")

    @property
    def everything(self) -> bool:
        """Whether rows are kept that a run sees only once."""
        return self.store_all or self.where != "auto"

    def wrap(self, extract: FeatureExtractor) -> FeatureExtractor | FeatureStore:
        """The extractor itself, or a store around it."""
        if self.where == "off":
            return extract
        folder = cache_folder() / "features" if self.where == "auto" else Path(self.where).expanduser()
        return FeatureStore(extract, folder, limit=self.gib, strict=self.where != "auto")


class FeatureStore:
    """A ``FeatureExtractor`` with a memory: the same call, the same result.

    Each model (weights, dtype, tokenizer) and length limit has a folder, in which features are found by their text.

    Args:
        folder: Where the stores of all models are.
        limit: Most GiB that ``folder`` may hold.
        strict: Whether more than that is an error, or a line that says so and no storing.
    """

    def __init__(self, extract: FeatureExtractor, folder: Path, *, limit: float = 16.0, strict: bool = True) -> None:
        self.extract, self.folder, self.limit, self.strict = extract, folder, limit, strict
        self.provenance = {
            "model": extract.model.name,
            "fingerprint": extract.model.fingerprint(),
            "max_length": extract.max_length,
        }
        key = hashlib.sha256(json.dumps([self.provenance["fingerprint"], extract.max_length]).encode()).hexdigest()[:16]
        self.shards = Shards(folder / key, ("hidden", "targets", "starts"))

    def __call__(self, texts: Sequence[str]) -> Features:
        """Features of texts, read where they are stored, computed where they are not."""
        keys = [key_of(text) for text in texts]
        missing = [text for text, key in zip(texts, keys, strict=True) if key not in self.shards]
        computed = iter(self._parts(missing))
        device = self.extract.model.device
        parts = [self._read(key) if key in self.shards else next(computed) for key in keys]
        return Features.packed([(hidden.to(device), targets.to(device)) for hidden, targets in parts])

    def add(self, texts: Sequence[str]) -> None:
        """Compute and store the features of texts that the store lacks; goes on where an interrupted call stopped.

        Raises:
            InputError: If the folder would become larger than the limit; nothing is written then.
        """
        if all(key_of(text) in self.shards for text in texts):
            return
        with self.shards.locked(waiting=f"another process is filling {self.shards.folder}; waiting for it"):
            missing = self.missing(texts)
            if not missing:  # another process has stored them meanwhile
                return
            encoded = self.extract.encode(missing)
            if not self._has_room(sum(max(len(ids) - 1, 0) for ids in encoded)):
                return
            atomic_write_lines(self.shards.folder / "origin.json", [json.dumps(self.provenance)])
            self._fill(missing, encoded)

    def missing(self, texts: Sequence[str]) -> list[str]:
        """Those of the texts that the store lacks, each once."""
        return sorted({text for text in texts if key_of(text) not in self.shards})

    def bytes_of(self, tokens: int) -> int:
        """Bytes that the hidden states and targets of so many tokens take."""
        weight = self.extract.model.head.weight
        return tokens * (weight.shape[1] * weight.element_size() + 4)

    def _fill(self, texts: list[str], encoded: list[list[int]]) -> None:
        """Whole groups, shortest texts first: after an interruption the groups that are left are the same."""
        waiting: list[tuple[bytes, Tensor, Tensor]] = []
        tokens = sum(max(len(ids) - 1, 0) for ids in encoded)
        with tqdm(total=tokens, desc="hidden states", unit="token", unit_scale=True) as progress:
            for group in self.extract.groups(encoded):
                for index, (hidden, targets) in zip(
                    group, self.extract.states([encoded[index] for index in group]), strict=True
                ):
                    waiting.append((key_of(texts[index]), hidden.cpu(), targets.cpu()))
                    progress.update(len(targets))
                if sum(len(targets) for _, _, targets in waiting) >= SHARD:
                    self._write(waiting)
                    waiting = []
            if waiting:
                self._write(waiting)

    def _write(self, entries: Sequence[tuple[bytes, Tensor, Tensor]]) -> None:
        lengths = torch.tensor([0, *(len(targets) for _, _, targets in entries)])
        self.shards.append(
            [key for key, _, _ in entries],
            {
                "hidden": torch.cat([hidden for _, hidden, _ in entries]),
                "targets": torch.cat([targets for _, _, targets in entries]).int(),
                "starts": lengths.cumsum(0),
            },
        )

    def _read(self, key: bytes) -> tuple[Tensor, Tensor]:
        tensors, number = self.shards[key]
        start, end = tensors["starts"][number : number + 2].tolist()
        return tensors["hidden"][start:end], tensors["targets"][start:end].long()

    def _parts(self, texts: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        if not texts:
            return []
        features = self.extract(texts)
        sizes = features.lengths.tolist()
        return list(zip(features.hidden_ND.split(sizes), features.targets_N.split(sizes), strict=True))

    def _has_room(self, tokens: int) -> bool:
        needed = self.bytes_of(tokens)
        held = sum(path.stat().st_size for path in self.folder.rglob("*.safetensors"))
        free = shutil.disk_usage(self.folder).free
        if held + needed <= self.limit * GIB and needed <= free:
            return True
        full = f"data.store: {needed / GIB:.2f} GiB of hidden states to keep, but "
        if needed > free:
            full += f"{free / GIB:.2f} are free on the disk of {self.folder}: data.store=FOLDER on another, or off"
        else:
            full += (
                f"{self.folder} holds {held / GIB:.2f} and may hold {self.limit:g}: raise data.store_gib, delete that "
                "folder, or set data.store=off"
            )
        if self.strict:
            raise InputError(full)
        print(f"{full}; going on without", flush=True)
        return False
