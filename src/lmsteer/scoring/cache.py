"""The score cache: results of scorers and perplexity models on disk, so that no text is scored twice.

Shapes: N texts.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.scoring.perplexity import continuation_nll
from lmsteer.scoring.scorer import Scorer, check_scores
from lmsteer.storage.atomic_files import atomic_write_lines
from lmsteer.storage.shards import Shards, key_of
from lmsteer.storage.user_cache import cache_folder

CHUNK = 4096
"""Texts scored between two writes, the most that an interrupted scoring repeats."""
Item = tuple[str, ...]


class ScoreCache:
    """Scores of texts by scorers and perplexity models, computed once and stored on disk.

    Each scorer and revision has a folder, in which scores are indexed by text. Any number of processes may use one
    folder; if two score a text at the same time, the score that was written first counts.

    Args:
        folder: Folder of the scores of all scorers.

    Raises:
        InputError: If the folder cannot be created or written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"scores={folder}: cannot be created ({error.strerror}); another folder or off") from error
        if not os.access(folder, os.W_OK):
            raise InputError(f"scores={folder}: cannot be written to; another folder or off expected")

    def scores(self, scorer: Scorer, texts: Sequence[str]) -> Tensor:
        """Return the scores (N,) in [0, 1] of ``scorer(texts)``, stored or computed.

        Raises:
            InputError: If a text cannot be scored; scores before it are stored.
        """
        if not texts:
            return torch.empty(0)

        def compute(items: Sequence[Item]) -> dict[str, Tensor]:
            chunk = [text for (text,) in items]
            return {"scores": check_scores(scorer(chunk), chunk, scorer=scorer.name)}

        kind = type(scorer)
        shards = self._shards(f"{kind.__module__}.{kind.__qualname__}", scorer.revision, ("scores",))
        items = [(text,) for text in texts]
        _fill(shards, items, compute)
        return _read(shards, items, "scores")

    def continuation_nll(
        self, perplexity_model: LanguageModel, prompts: Sequence[str], continuations: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Return the nats (N,) and tokens (N,) of ``continuation_nll``, stored or computed.

        Raises:
            InputError: If a text cannot be scored; values before it are stored.
        """
        if not prompts or len(prompts) != len(continuations):
            return continuation_nll(perplexity_model, prompts, continuations)

        def compute(items: Sequence[Item]) -> dict[str, Tensor]:
            nats, tokens = continuation_nll(
                perplexity_model, [prompt for prompt, _ in items], [text for _, text in items]
            )
            return {"nats": nats, "tokens": tokens}

        kind = f"{continuation_nll.__module__}.{continuation_nll.__qualname__}"
        shards = self._shards(kind, perplexity_model.fingerprint(), ("nats", "tokens"))
        items = list(zip(prompts, continuations, strict=True))
        _fill(shards, items, compute)
        return _read(shards, items, "nats"), _read(shards, items, "tokens")

    def _shards(self, scorer: str, revision: str, columns: Sequence[str]) -> Shards:
        provenance = json.dumps({"scorer": scorer, "revision": revision, "lmsteer": version("lmsteer")})
        shards = Shards(self.folder / hashlib.sha256(provenance.encode()).hexdigest()[:16], columns)
        provenance_file = shards.folder / "origin.json"
        if not provenance_file.exists():
            with shards.locked():
                atomic_write_lines(provenance_file, [provenance])
        return shards


def score_cache(option: str) -> ScoreCache | None:
    """Open the cache of the option ``scores``: ``auto`` (in the user's cache folder), ``off``, or a folder.

    Raises:
        InputError: If the folder cannot be used.
    """
    if option == "off":
        return None
    return ScoreCache(cache_folder() / "scores" if option == "auto" else Path(option).expanduser())


def _fill(shards: Shards, items: Sequence[Item], compute: Callable[[Sequence[Item]], dict[str, Tensor]]) -> None:
    """Compute missing values in a fixed order, so that the remaining chunks are the same after an interruption."""
    missing = {item for item in items if key_of(*item) not in shards}
    ordered = sorted(missing, key=lambda item: [(len(part), part) for part in item])
    for start in range(0, len(ordered), CHUNK):
        chunk = ordered[start : start + CHUNK]
        values = compute(chunk)
        with shards.locked():  # only for writing; others may score meanwhile
            new = [row for row, item in enumerate(chunk) if key_of(*item) not in shards]
            if new:
                shards.append(
                    [key_of(*chunk[row]) for row in new], {name: column[new] for name, column in values.items()}
                )


def _read(shards: Shards, items: Sequence[Item], name: str) -> Tensor:
    entries = (shards[key_of(*item)] for item in items)
    return torch.stack([tensors[name][index] for tensors, index in entries])
