"""Residuals beside the hidden states, on disk: with both, other labels need no new pass through the vocabulary.

Shapes: N packed tokens, D width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from lmsteer.data.feature_store import GIB, FeatureStore
from lmsteer.data.features import Features
from lmsteer.one_pass.residuals import Residuals
from lmsteer.storage.atomic_files import atomic_write
from lmsteer.storage.shards import Shards, key_of


class ResidualStore:
    """Residuals by text, in a folder of the store of hidden states, and the spread of each set of texts once summed."""

    def __init__(self, features: FeatureStore) -> None:
        self.features = features
        self.shards = Shards(features.shards.folder / "residuals", ("residuals", "starts"))

    def spread(self, texts: Sequence[str]) -> Tensor | None:
        """The sum (D, D) for exactly these texts, if it is known and the residuals of all are there."""
        if not all(key_of(text) in self.shards for text in texts):
            return None
        try:
            return load_file(self.shards.folder / f"{_digest(texts)}.spread")["spread"]
        except (SafetensorError, KeyError, OSError):
            return None  # missing or damaged: it is summed again

    def read(self, texts: Sequence[str]) -> Tensor:
        """Residuals (N, D) of texts that are there, in order."""
        parts = []
        for text in texts:
            tensors, number = self.shards[key_of(text)]
            start, end = tensors["starts"][number : number + 2].tolist()
            parts.append(tensors["residuals"][start:end])
        return torch.cat(parts).to(self.features.extract.model.device)

    def keep(self, texts: Sequence[str], features: Features, residual_ND: Tensor) -> None:
        """Add residuals, those that are there already left out; nothing where the folder has no room for more."""
        held = sum(path.stat().st_size for path in self.features.folder.rglob("*.safetensors"))
        if held + residual_ND.numel() * residual_ND.element_size() > self.features.limit * GIB:
            return
        parts = residual_ND.cpu().split(features.lengths.tolist())
        with self.shards.locked():
            found = {key_of(text): part for text, part in zip(texts, parts, strict=True)}
            new = {key: part for key, part in found.items() if key not in self.shards}
            if new:
                starts = torch.tensor([0, *(len(part) for part in new.values())]).cumsum(0)
                self.shards.append(list(new), {"residuals": torch.cat(list(new.values())), "starts": starts})

    def keep_spread(self, texts: Sequence[str], residuals: Residuals) -> None:
        """Remember the spread of a set of texts."""
        path = self.shards.folder / f"{_digest(texts)}.spread"
        with self.shards.locked(), atomic_write(path) as temporary:
            temporary.write_bytes(save({"spread": residuals.spread()}))


def _digest(texts: Sequence[str]) -> str:
    """Of the texts, whatever their order."""
    return hashlib.sha256(b"".join(sorted(key_of(text) for text in texts))).hexdigest()[:32]
