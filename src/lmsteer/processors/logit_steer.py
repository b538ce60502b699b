"""A steer as a function of logits: the hidden state is recovered from all of them, as they have far more entries.

Shapes: B rows, D width, K dimensions, R rank, V vocabulary, C columns of logits (V, or V with padded rows).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.models.head import Head
from lmsteer.steering.dimensions import check_dimensions, is_strength
from lmsteer.steering.steer import Steer
from lmsteer.storage.atomic_files import atomic_write

FILE = "processor.safetensors"
KEY, FORMAT = "lmsteer-processor", 1
TENSORS = ("read", "write", "constant", "offset")
SMALLEST_RATIO = 1e-10
"""Smallest ratio of the eigenvalues of ``E^T E`` at which logits still determine the hidden state."""


@dataclass(frozen=True)
class LogitSteer:
    """Change logits as a steer changes them, without the hidden state and the head.

    ``l = s (E h + c)`` with output embeddings E (V, D), scale s and head bias c, so ``h = (E^T E)^-1 E^T (l / s - c)``,
    and a steer at strength v adds ``s epsilon v E (P2 P1^T h + b)``. A soft-cap is undone before and applied after.

    Attributes:
        dimensions: Names of the dimensions.
        read: ``E (E^T E)^-1 P1 / s`` (K, V, R), float32.
        write: ``s epsilon E P2`` (K, C, R).
        constant: ``s epsilon E b`` (K, C), 0 without a bias of the steer.
        offset: ``s c`` (V,), 0 without a bias of the head.
        softcap: Soft-cap of the logits, or None.
        strength: Strengths that are used where none are given, by dimension.

    Example:
        >>> from lmsteer.models.random_models import tiny
        >>> model, steer = tiny(), Steer(32, dimensions=["tone"], rank=2)
        >>> logits, plain = torch.randn(3, 384), torch.zeros(3, 1)
        >>> torch.equal(LogitSteer.of(model.head, steer)(logits, plain), logits)
        True
    """

    dimensions: tuple[str, ...]
    read: Tensor
    write: Tensor
    constant: Tensor
    offset: Tensor
    softcap: float | None
    strength: dict[str, float]

    @classmethod
    @torch.no_grad()
    def of(cls, head: Head, steer: Steer, strength: Mapping[str, float] | None = None) -> LogitSteer:
        """Compute the function of a steer and the head of its model, on the device of the head.

        Raises:
            InputError: If the output embeddings have dependent columns, so that logits do not tell hidden states apart.
        """
        words_VD = head.weight[: head.vocabulary].double()
        gram_DD = words_VD.T @ words_VD
        eigenvalues = torch.linalg.eigvalsh(gram_DD)
        if eigenvalues[0] <= SMALLEST_RATIO * eigenvalues[-1]:
            raise InputError(
                "the output embeddings have dependent columns, so that the hidden state cannot be recovered from the "
                "logits; form=adapter expected"
            )
        factors = [steer.logit_factors(head, k) for k in range(len(steer.dimensions))]
        read = [words_VD @ torch.linalg.solve(gram_DD, p1.double()) / head.scale for p1, _, _ in factors]
        bias = head.weight.new_zeros(head.vocabulary) if head.bias is None else head.bias[: head.vocabulary]
        return cls(
            dimensions=steer.dimensions,
            read=torch.stack(read).float(),
            write=torch.stack([write for _, write, _ in factors]),
            constant=torch.stack([constant for _, _, constant in factors]),
            offset=bias.float() * head.scale,
            softcap=head.softcap,
            strength=dict(strength or {}),
        )

    def __call__(self, logits: Tensor, strength_BK: Tensor) -> Tensor:
        """Return steered logits (B, C) in the dtype of ``logits``; rows of strength 0 are bitwise unchanged.

        Args:
            logits: (B, C), as the model computes them: no temperature, penalty or mask was applied. Columns after the
                vocabulary may be missing or have any value.
            strength_BK: One strength for each row and dimension.

        Raises:
            InputError: If there are fewer logits than words.
        """
        if logits.shape[-1] < len(self.offset):
            raise InputError(f"{logits.shape[-1]} logits, but the steer is of a model of {len(self.offset)} words")
        rows = strength_BK.ne(0).any(-1)
        if rows.all():
            return self._steered(logits, strength_BK).to(logits.dtype)
        if not rows.any():
            return logits
        return logits.clone().index_put((rows,), self._steered(logits[rows], strength_BK[rows]).to(logits.dtype))

    def _steered(self, logits: Tensor, strength_BK: Tensor) -> Tensor:
        """Return steered logits (B, C) in float32; one product over all dimensions would copy their factors."""
        plain, words = logits.float(), len(self.offset)
        if self.softcap is not None:
            largest = 1 - torch.finfo(torch.float32).eps  # a rounded logit may lie at the cap itself
            plain = self.softcap * torch.atanh((plain / self.softcap).clamp(-largest, largest))
        steered, columns = plain.clone(), plain.shape[-1]
        for k in strength_BK.ne(0).any(0).nonzero().flatten().tolist():
            strength_B1 = strength_BK[:, k, None].to(plain)
            code_BR = torch.addmm(-(self.offset @ self.read[k]), plain[:, :words], self.read[k]) * strength_B1
            steered.addmm_(code_BR, self.write[k, :columns].T)
            if self.constant[k].any():
                steered += strength_B1 * self.constant[k, :columns]
        return steered if self.softcap is None else self.softcap * torch.tanh(steered / self.softcap)

    def strengths(self, strength: Mapping[str, float]) -> Tensor:
        """Return strengths (K,) by name on the CPU; dimensions that are not named have their own, or 0.

        Raises:
            InputError: If a name is not a dimension, or a value is not finite.
        """
        for name, value in strength.items():
            if name not in self.dimensions or not is_strength(value):
                raise InputError(
                    f"strength {name}={value}: a finite number for one of {', '.join(self.dimensions)} expected"
                )
        named = self.strength | dict(strength)
        return torch.tensor([float(named.get(name, 0.0)) for name in self.dimensions])

    def to(self, device: torch.device | str) -> LogitSteer:
        """Return the same function with its tensors on a device."""
        return replace(self, **{name: getattr(self, name).to(device) for name in TENSORS})

    def save(self, path: Path) -> None:
        """Write a file that ``load`` reads, atomically."""
        tensors = {name: getattr(self, name).cpu().contiguous() for name in TENSORS}
        facts = {"format": FORMAT, "dimensions": self.dimensions, "softcap": self.softcap, "strength": self.strength}
        data = save(tensors, metadata={KEY: json.dumps(facts, sort_keys=True, ensure_ascii=False)})
        with atomic_write(path) as temporary:
            temporary.write_bytes(data)

    @classmethod
    def load(cls, folder: Path) -> LogitSteer:
        """Read what ``python -m src.export form=processor`` wrote to a folder.

        Raises:
            InputError: If there is no such file, or it is damaged.
        """
        facts = load_facts(folder)
        try:
            with safe_open(folder / FILE, framework="pt") as file:
                tensors = {name: file.get_tensor(name).float() for name in TENSORS}
            _, columns, _ = tensors["write"].shape
            k, vocabulary, rank = tensors["read"].shape
            shapes = {
                "read": (len(facts["dimensions"]), vocabulary, rank),
                "write": (k, max(columns, vocabulary), rank),
                "constant": (k, columns),
                "offset": (vocabulary,),
            }
            if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != shapes:
                raise ValueError("tensors of other shapes than its metadata says")
            if not all(tensor.isfinite().all() for tensor in tensors.values()):
                raise ValueError("tensors that are not finite")
        except (SafetensorError, ValueError) as error:
            raise _damaged(folder, error) from error
        return cls(**tensors, **facts)


def load_facts(folder: Path) -> dict[str, Any]:
    """Read dimensions, soft-cap and strengths of a processor, without its tensors.

    Raises:
        InputError: If there is no such file, or it is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        raise InputError(f"{path}: no such file; a folder written by `python -m src.export form=processor` expected")
    try:
        with safe_open(path, framework="np") as file:
            facts = json.loads((file.metadata() or {})[KEY])
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']}, this version reads {FORMAT}")
        softcap, strength = facts["softcap"], facts["strength"]
        dimensions = check_dimensions(facts["dimensions"])
        if softcap is not None and not (isinstance(softcap, float) and softcap > 0):
            raise ValueError(f"soft-cap {softcap}")
        if not all(name in dimensions and is_strength(float(value)) for name, value in strength.items()):
            raise ValueError(f"strength {strength}")
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(folder, error) from error
    return {"dimensions": dimensions, "softcap": softcap, "strength": {n: float(v) for n, v in strength.items()}}


def _damaged(folder: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"{folder / FILE}: damaged or not the file of a processor ({reason}); export it again")
