"""The feature store: hidden states computed once, on disk, for every run and process that needs them.

Shapes: N packed tokens, B texts, D width.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from lmsteer.data.features import FeatureExtractor, Features, Tokens
from lmsteer.errors import InputError
from lmsteer.models.chat import Text
from lmsteer.models.language_model import LanguageModel
from lmsteer.storage.atomic_files import atomic_write_lines
from lmsteer.storage.shards import Shards, key_of
from lmsteer.storage.user_cache import cache_folder

logger = logging.getLogger(__name__)

TOKENS_PER_FILE = 32768
"""Tokens of a file, the most that an interrupted extraction repeats."""
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class FeatureStoreConfig:
    """The folder and size of the feature store.

    Attributes:
        where: "off": do not store. "auto": store rows that a run uses more than once in the user's cache. A folder:
            store every row of a run there.
        gib: Largest size of all stores of the folder, in GiB.
        store_all: Store every row under "auto" too, as when other runs will use the same rows.
    """

    where: str = "auto"
    gib: float = 16.0
    store_all: bool = False

    def __post_init__(self) -> None:
        if not self.where or Path(self.where).is_file():
            raise InputError(f"cache={self.where}: off, auto or a folder expected")
        if not self.gib > 0:
            raise InputError(f"cache_gib={self.gib}: a number above 0 expected")

    @property
    def everything(self) -> bool:
        """Whether rows are stored that a run uses only once."""
        return self.store_all or self.where != "auto"

    def wrap(self, extract: FeatureExtractor) -> FeatureExtractor | FeatureStore:
        """Return the extractor itself, or a store around it."""
        if self.where == "off":
            return extract
        folder = cache_folder() / "features" if self.where == "auto" else Path(self.where).expanduser() / "features"
        return FeatureStore(extract, folder, limit=self.gib, strict=self.where != "auto")


class FeatureStore:
    """A ``FeatureExtractor`` that stores its results on disk.

    Each model (weights, dtype, tokenizer) and length limit has a folder, in which features are indexed by text.

    Args:
        folder: Folder of the stores of all models.
        limit: Largest size of ``folder`` in GiB.
        strict: Raise an error if that is exceeded; else log a warning and do not store.
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

    @property
    def model(self) -> LanguageModel:
        """The language model of the features."""
        return self.extract.model

    def __call__(self, texts: Sequence[Text]) -> Features:
        """Return the features of texts: read if stored, computed otherwise."""
        keys = [key_of(*_parts(text)) for text in texts]
        missing = [text for text, key in zip(texts, keys, strict=True) if key not in self.shards]
        computed = iter(self._compute(missing))
        device = self.model.device
        states = [self._read(key) if key in self.shards else next(computed) for key in keys]
        return Features.pack([(hidden.to(device), targets.to(device)) for hidden, targets in states])

    def add(self, texts: Sequence[Text]) -> None:
        """Compute and store the features of texts that are not stored; continue an interrupted call.

        Raises:
            InputError: If the folder would exceed the limit; nothing is written then.
        """
        if all(key_of(*_parts(text)) in self.shards for text in texts):
            return
        with self.shards.locked(waiting=f"another process is filling {self.shards.folder}; waiting for it"):
            missing = sorted({text for text in texts if key_of(*_parts(text)) not in self.shards}, key=_parts)
            if not missing:  # stored by another process meanwhile
                return
            encoded = self.extract.encode(missing)
            if not self._has_room(sum(len(text.targets) for text in encoded)):
                return
            atomic_write_lines(self.shards.folder / "origin.json", [json.dumps(self.provenance)])
            self._fill(missing, encoded)

    def _fill(self, texts: list[Text], encoded: list[Tokens]) -> None:
        """Store whole groups, shortest texts first: after an interruption the remaining groups are the same."""
        pending: list[tuple[bytes, Tensor, Tensor]] = []
        tokens = sum(len(text.targets) for text in encoded)
        with tqdm(total=tokens, desc="hidden states", unit="token", unit_scale=True) as progress:
            for group in self.extract.groups(encoded):
                for index, (hidden, targets) in zip(
                    group, self.extract.states([encoded[index] for index in group]), strict=True
                ):
                    pending.append((key_of(*_parts(texts[index])), hidden.cpu(), targets.cpu()))
                    progress.update(len(targets))
                if sum(len(targets) for _, _, targets in pending) >= TOKENS_PER_FILE:
                    self._write(pending)
                    pending = []
            if pending:
                self._write(pending)

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

    def _compute(self, texts: Sequence[Text]) -> list[tuple[Tensor, Tensor]]:
        if not texts:
            return []
        features = self.extract(texts)
        sizes = features.lengths.tolist()
        return list(zip(features.hidden_ND.split(sizes), features.targets_N.split(sizes), strict=True))

    def _has_room(self, tokens: int) -> bool:
        weight = self.model.head.weight
        needed = tokens * (weight.shape[1] * weight.element_size() + 4)  # hidden states and targets
        size = sum(path.stat().st_size for path in self.folder.rglob("*.safetensors"))
        free = shutil.disk_usage(self.folder).free
        if size + needed <= self.limit * GIB and needed <= free:
            return True
        message = f"cache: {needed / GIB:.2f} GiB of hidden states to store, but "
        if needed > free:
            message += f"{free / GIB:.2f} are free on the disk of {self.folder}: cache=FOLDER on another, or off"
        else:
            message += (
                f"{self.folder} holds {size / GIB:.2f} and may hold {self.limit:g}: raise cache_gib, delete that "
                "folder, or set cache=off"
            )
        if self.strict:
            raise InputError(message)
        logger.warning("%s; continuing without storing", message)
        return False


def _parts(text: Text) -> tuple[str, ...]:
    """Return the parts of a text by which it is found: question and answer are two."""
    return (text,) if isinstance(text, str) else (text.before, text.answer)
