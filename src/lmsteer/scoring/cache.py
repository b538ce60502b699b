"""The score store: what scorers and judges said once, on disk, so that nothing is scored twice.

Shapes: N texts.
"""

from __future__ import annotations

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
from lmsteer.scoring.scorer import Scorer, checked
from lmsteer.storage.atomic_files import atomic_write_lines
from lmsteer.storage.shards import Shards, key_of
from lmsteer.storage.user_cache import cache_folder

CHUNK = 4096
"""Texts scored between two writes: what an interrupted scoring has to do again, at most."""
Item = tuple[str, ...]


class ScoreCache:
    """Scorers and judges with a memory: every text is scored once, and has the very same score ever after.

    Scores lie in a folder of their own for each scorer and revision, found by the text. Any number of processes may
    use one folder; where two score a text at the same time, the score that was written first counts.

    Args:
        folder: Where the scores of all scorers are.

    Raises:
        InputError: If the folder cannot be made or written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"scores={folder}: cannot be made ({error.strerror}); another folder or off") from error
        if not os.access(folder, os.W_OK):
            raise InputError(f"scores={folder}: cannot be written to; another folder or off expected")

    def scores(self, scorer: Scorer, texts: Sequence[str]) -> Tensor:
        """What ``scorer(texts)`` gives: scores (N,) in [0, 1].

        Raises:
            InputError: If a text cannot be scored; what was scored before it is kept.
        """
        if not texts:
            return torch.empty(0)

        def compute(items: Sequence[Item]) -> dict[str, Tensor]:
            part = [text for (text,) in items]
            return {"scores": checked(scorer(part), part, scorer=scorer.name)}

        kind = type(scorer)
        shards = self._shards(f"{kind.__module__}.{kind.__qualname__}", scorer.revision, ("scores",))
        items = [(text,) for text in texts]
        _fill(shards, items, compute)
        return _read(shards, items, "scores")

    def nats(
        self, perplexity_model: LanguageModel, prompts: Sequence[str], continuations: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """What ``continuation_nll`` gives: nats (N,) and tokens (N,) of continuations.

        Raises:
            InputError: If a text cannot be scored; what was scored before it is kept.
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
        described = shards.folder / "origin.json"
        if not described.exists():
            with shards.locked():
                atomic_write_lines(described, [provenance])
        return shards


def score_cache(option: str) -> ScoreCache | None:
    """The store that the option ``scores`` names: ``auto`` (beside the embedded stack), ``off``, or a folder.

    Raises:
        InputError: If the folder cannot be used.
    """
    if option == "off":
        return None
    return ScoreCache(cache_folder() / "scores" if option == "auto" else Path(option).expanduser())


def _fill(shards: Shards, items: Sequence[Item], compute: Callable[[Sequence[Item]], dict[str, Tensor]]) -> None:
    """Compute what is missing, in an order of its own: after an interruption the chunks that are left are the same."""
    missing = {item for item in items if key_of(*item) not in shards}
    ordered = sorted(missing, key=lambda item: [(len(part), part) for part in item])
    for start in range(0, len(ordered), CHUNK):
        chunk = ordered[start : start + CHUNK]
        values = compute(chunk)
        # Others may score meanwhile; only the writing waits for them.
        with shards.locked():
            new = [row for row, item in enumerate(chunk) if key_of(*item) not in shards]
            if new:
                shards.append(
                    [key_of(*chunk[row]) for row in new], {name: column[new] for name, column in values.items()}
                )


def _read(shards: Shards, items: Sequence[Item], name: str) -> Tensor:
    places = (shards[key_of(*item)] for item in items)
    return torch.stack([tensors[name][number] for tensors, number in places])
