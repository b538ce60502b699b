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
from lmsteer.records import Turns
from lmsteer.scoring.perplexity import PerplexityModel, continuation_nll
from lmsteer.scoring.scorer import Scorer, check_scores
from lmsteer.storage.atomic_files import atomic_write_lines
from lmsteer.storage.shards import Shards, key_of
from lmsteer.storage.user_cache import cache_folder

CHUNK = 4096
"""Texts scored between two writes, the most that an interrupted scoring repeats."""
NLL = f"{continuation_nll.__module__}.{continuation_nll.__qualname__}"
"""Name under which likelihoods are stored."""
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
            raise InputError(f"cache={folder}: cannot be created ({error.strerror}); another folder or off") from error
        if not os.access(folder, os.W_OK):
            raise InputError(f"cache={folder}: cannot be written to; another folder or off expected")

    def scores(self, scorer: Scorer, texts: Sequence[str]) -> Tensor:
        """Return the scores (N,) in [0, 1] of ``scorer(texts)``, stored or computed.

        Raises:
            InputError: If a text cannot be scored; scores before it are stored. If a stored score is not in [0, 1].
        """

        def compute(items: Sequence[Item]) -> tuple[Tensor]:
            chunk = [text for (text,) in items]
            return (check_scores(scorer(chunk), chunk, scorer=scorer.name),)

        items = [(text,) for text in texts]
        (stored_scores,) = self._look_up(_kind(scorer), scorer.revision, ("scores",), items, compute)
        return check_scores(stored_scores, texts, scorer=f"{scorer.name}, stored in {self.folder}")

    def continuation_nll(
        self, perplexity_model: PerplexityModel, prompts: Sequence[str | Turns], continuations: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Return the nats (N,) and tokens (N,) of ``continuation_nll``, stored or computed.

        Those of answers to questions are computed each time: they also depend on how the model is asked.

        Raises:
            InputError: If a text cannot be scored; values before it are stored.
        """
        plain = [prompt for prompt in prompts if isinstance(prompt, str)]
        if not prompts or not len(plain) == len(prompts) == len(continuations):
            return continuation_nll(perplexity_model, prompts, continuations)

        def compute(items: Sequence[Item]) -> tuple[Tensor, Tensor]:
            return continuation_nll(perplexity_model, [prompt for prompt, _ in items], [text for _, text in items])

        items, revision = list(zip(plain, continuations, strict=True)), perplexity_model.fingerprint()
        nats, tokens = self._look_up(NLL, revision, ("nats", "tokens"), items, compute)
        return nats, tokens

    def _look_up(
        self,
        name: str,
        revision: str,
        columns: Sequence[str],
        items: Sequence[Item],
        compute: Callable[[Sequence[Item]], Sequence[Tensor]],
    ) -> list[Tensor]:
        """Return a tensor (N,) for each column; what is missing is computed and stored in chunks.

        The order of the chunks depends only on the items, so that the same ones remain after an interruption.
        """
        if not items:
            return [torch.empty(0) for _ in columns]
        provenance = json.dumps({"scorer": name, "revision": revision, "lmsteer": version("lmsteer")})
        shards = Shards(self.folder / hashlib.sha256(provenance.encode()).hexdigest()[:16], columns)
        if not (origin := shards.folder / "origin.json").exists():
            with shards.locked():
                atomic_write_lines(origin, [provenance])
        missing = {item for item in items if key_of(*item) not in shards}
        ordered = sorted(missing, key=lambda item: [(len(part), part) for part in item])
        for chunk in (ordered[start : start + CHUNK] for start in range(0, len(ordered), CHUNK)):
            keys, values = [key_of(*item) for item in chunk], compute(chunk)
            with shards.locked():  # only for writing; others may score meanwhile
                if new := [row for row, key in enumerate(keys) if key not in shards]:
                    tensors = {column: tensor[new] for column, tensor in zip(columns, values, strict=True)}
                    shards.append([keys[row] for row in new], tensors)
        entries = [shards[key_of(*item)] for item in items]
        return [torch.stack([tensors[column][index] for tensors, index in entries]) for column in columns]


def _kind(scorer: Scorer) -> str:
    """Return the name of the class of a scorer, or of that which it stands for."""
    return getattr(scorer, "kind", f"{type(scorer).__module__}.{type(scorer).__qualname__}")


def score_cache(option: str) -> ScoreCache | None:
    """Open the cache of scores in the folder of the option ``cache``: ``auto`` (the user's cache), ``off`` or a folder.

    Raises:
        InputError: If the folder cannot be used.
    """
    if option == "off":
        return None
    return ScoreCache(cache_folder() / "scores" if option == "auto" else Path(option).expanduser() / "scores")
