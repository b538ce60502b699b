"""The row that makes words less likely which tell the classes of the training rows apart.

Shapes: N rows or tokens, V vocabulary, H tokens of the past, M words of several tokens.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from lmsteer.data.datamodule import SteerDataModule
from lmsteer.errors import InputError
from lmsteer.methods.class_rows import require_classes
from lmsteer.methods.learned_method import FitJob, Learned, LearnedMethod
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Mix, Mixture, Source
from lmsteer.records import Row
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.training.fit import Solver

ANY = -2
"""Stands for any token before a sequence; -1 is the place before the text begins."""
WORDS = {"positive": "words of positive rows", "negative": "words of negative rows"}


@dataclass(frozen=True, kw_only=True)
class Blacklist(LearnedMethod):
    """Subtract the strength from the logits of words of the other class, the "soft blacklist".

    The words are those of the training rows with the largest log-odds between the classes (with an informative
    Dirichlet prior, Monroe et al., 2008, z-scores), so no scorer's own list is used. Each is written with and without a
    space before it and a capital. A word of several tokens is biased at its last token, where the others came before
    it. Below 0 the words of positive rows become less likely. One pass a token.

    Attributes:
        words: Words of each class.
        min_count: Fewest rows of its class that contain a word.
    """

    name: ClassVar[str] = "blacklist"
    value_kinds: ClassVar[Mapping[str, Any]] = dict.fromkeys(WORDS.values(), list[str])
    words: int = 100
    min_count: int = 3

    def __post_init__(self) -> None:
        for name, value in (("words", self.words), ("min_count", self.min_count)):
            if value < 1:
                raise InputError(f"method.{name}={value}: an integer of 1 or more expected")

    def uses_seed(self, rows: int | None) -> bool:
        """All training rows are counted, so only their choice depends on the seed."""
        return rows is not None

    def check_data(self, data: SteerDataModule, steer_config: SteerConfig, solver: Solver) -> None:
        """Refuse a corpus without one of the classes, or without a word that is frequent enough."""
        choose_words(data.corpus.train, self.words, self.min_count)

    def learn(self, job: FitJob) -> Learned:
        """Choose the words."""
        rows = [row for row in job.data.corpus.train if row.label]
        chosen = choose_words(job.data.corpus.train, self.words, self.min_count)
        return Learned(values=chosen, training={"seen": job.data.count(rows)})

    def check_learned(self, model: LanguageModel, learned: Learned, path: Path) -> None:
        """Refuse a list without a word that the model can read, and one with a word longer than its context.

        Raises:
            InputError: Naming the file.
        """
        for name in WORDS.values():
            lengths = [len(ids) for ids in spellings(model, learned.values[name])]
            if not 0 < max(lengths, default=0) <= model.context:
                raise InputError(f"{path}: {name}: words of 1 to {model.context} tokens of {model.name} expected")

    def mixture(self, model: LanguageModel, learned: Learned, strength: float) -> Mixture:
        """Return the plain model, its readout biased against the words of the other class."""
        words = learned.values[WORDS["negative" if strength > 0 else "positive"]]
        sequences = spellings(model, words)
        mix = sequence_bias(sequences, -abs(strength), len(model.head.weight), model.device)
        return Mixture((Source(model, model.head),), mix, history=max(map(len, sequences)) - 1)


@lru_cache(maxsize=1)  # the check before a fit and the fit read the same rows
def choose_words(rows: tuple[Row, ...], number: int, min_count: int) -> dict[str, list[str]]:
    """Return the lists of a blacklist.

    Raises:
        InputError: If a class has no rows, or no word is frequent enough.
    """
    positive, negative = require_classes(rows, Blacklist.name)
    chosen = {
        WORDS["positive"]: telling_words(positive, negative, number=number, min_count=min_count),
        WORDS["negative"]: telling_words(negative, positive, number=number, min_count=min_count),
    }
    for name, words in chosen.items():
        if not words:
            raise InputError(f"method.min_count={min_count}: no {name} is in so many; a smaller one expected")
    return chosen


def telling_words(rows: Sequence[Row], others: Sequence[Row], *, number: int, min_count: int) -> list[str]:
    """Return the words whose log-odds in ``rows`` against ``others`` have the largest z-scores above 0.

    Example:
        >>> bad, good = [Row("a dull film", -1.0)] * 3, [Row("a fine film", 1.0)] * 3
        >>> telling_words(bad, good, number=5, min_count=1)
        ['dull']
    """
    count, other = (Counter(word for row in part for word in set(_words(row.text))) for part in (rows, others))
    total, total_other = count.total(), other.total()
    prior = count + other
    scores = {}
    for word, frequency in count.items():
        if frequency < min_count:
            continue
        here, there = frequency + prior[word], other[word] + prior[word]
        log_odds = math.log(here / (total + prior.total() - here)) - math.log(
            there / (total_other + prior.total() - there)
        )
        scores[word] = log_odds / math.sqrt(1 / here + 1 / there)
    telling = [word for word in scores if scores[word] > 0]
    return sorted(telling, key=lambda word: (-scores[word], word))[:number]


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", text.lower())


def spellings(model: LanguageModel, words: Sequence[str]) -> list[tuple[int, ...]]:
    """Return the token ids of each word with and without a space and a capital, without repetitions."""
    special = set(model.tokenizer.all_special_ids)
    texts = [space + form for word in words for form in (word, word.capitalize()) for space in (" ", "")]
    encoded = model.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    sequences = dict.fromkeys(tuple(token for token in ids if token not in special) for ids in encoded)
    return [ids for ids in sequences if ids and max(ids) < model.rows]


def sequence_bias(sequences: Sequence[tuple[int, ...]], value: float, vocabulary: int, device: torch.device) -> Mix:
    """Return the rule that adds a bias to the last token of each sequence, in rows whose past ends in the others.

    Biases of sequences that end in the same token add up, as in the ``sequence_bias`` of transformers.

    Args:
        sequences: Token ids of the M words; the rule needs one token of the past less than the longest has.
        vocabulary: Number of logits.
    """
    single = [ids[0] for ids in sequences if len(ids) == 1]
    several = [ids for ids in sequences if len(ids) > 1]
    history = max(map(len, sequences)) - 1
    bias_V = torch.zeros(vocabulary).index_add_(0, _ids(single), torch.full((len(single),), value)).to(device)
    before = [[ANY] * (history + 1 - len(ids)) + list(ids[:-1]) for ids in several]
    before_MH, last_M = (
        _ids(before).reshape(len(several), history).to(device),
        _ids([ids[-1] for ids in several]).to(device),
    )

    def mix(logits: Sequence[Tensor], past_NH: Tensor) -> Tensor:
        biased_NV = logits[0] + bias_V
        matches_NM = ((past_NH[:, None] == before_MH) | (before_MH == ANY)).all(-1)
        return biased_NV.index_add_(1, last_M, matches_NM.to(biased_NV.dtype), alpha=value) if several else biased_NV

    return mix


def _ids(ids: Sequence[object]) -> Tensor:
    return torch.tensor(ids, dtype=torch.long)
