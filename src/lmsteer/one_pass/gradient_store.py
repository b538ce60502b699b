"""Log-likelihood gradients on disk, next to the hidden states: other labels need no new pass through the vocabulary.

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
from lmsteer.storage.atomic_files import atomic_write
from lmsteer.storage.shards import Shards, key_of


class GradientStore:
    """Gradients by text, in a folder of the feature store, and the Fisher information of each set of texts.

    Folder and tensors have the names "residuals" and "spread", by which older versions stored them.
    """

    def __init__(self, features: FeatureStore) -> None:
        self.features = features
        self.shards = Shards(features.shards.folder / "residuals", ("residuals", "starts"))

    def read_fisher(self, texts: Sequence[str]) -> Tensor | None:
        """Read the sum (D, D) for exactly these texts; None unless it and the gradients of all texts are stored."""
        if not all(key_of(text) in self.shards for text in texts):
            return None
        try:
            return load_file(self.shards.folder / f"{_digest(texts)}.spread")["spread"]
        except (SafetensorError, KeyError, OSError):
            return None  # missing or damaged: it is computed again

    def read(self, texts: Sequence[str]) -> Tensor:
        """Read the gradients (N, D) of stored texts, in order."""
        gradients = []
        for text in texts:
            tensors, number = self.shards[key_of(text)]
            start, end = tensors["starts"][number : number + 2].tolist()
            gradients.append(tensors["residuals"][start:end])
        return torch.cat(gradients).to(self.features.extract.model.device)

    def add(self, texts: Sequence[str], features: Features, gradient_ND: Tensor) -> None:
        """Store the gradients of texts that are not stored yet; do nothing if the folder has no room."""
        size = sum(path.stat().st_size for path in self.features.folder.rglob("*.safetensors"))
        if size + gradient_ND.numel() * gradient_ND.element_size() > self.features.limit * GIB:
            return
        gradients = gradient_ND.cpu().split(features.lengths.tolist())
        with self.shards.locked():
            by_key = {key_of(text): gradient for text, gradient in zip(texts, gradients, strict=True)}
            new = {key: gradient for key, gradient in by_key.items() if key not in self.shards}
            if new:
                starts = torch.tensor([0, *(len(gradient) for gradient in new.values())]).cumsum(0)
                self.shards.append(list(new), {"residuals": torch.cat(list(new.values())), "starts": starts})

    def add_fisher(self, texts: Sequence[str], fisher_DD: Tensor) -> None:
        """Store the Fisher information of a set of texts."""
        path = self.shards.folder / f"{_digest(texts)}.spread"
        with self.shards.locked(), atomic_write(path) as temporary:
            temporary.write_bytes(save({"spread": fisher_DD}))


def _digest(texts: Sequence[str]) -> str:
    """Hash the texts, whatever their order."""
    return hashlib.sha256(b"".join(sorted(key_of(text) for text in texts))).hexdigest()[:32]
