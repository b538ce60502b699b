"""Stored scores, by exact text: for files that another scorer, such as the Perspective API, has left."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lmsteer.data.readers.table import get_number
from lmsteer.errors import InputError
from lmsteer.records import read_jsonl
from lmsteer.scoring.scorer import checked

SAME = 1e-6
"""Scores of one text that are further apart contradict each other."""
FORMATS = '{"text", SCORE}, alone or as "prompt", "continuation" or a list "generations"'


class ReplayScorer:
    """Scores that were stored with their texts, found by the text, character for character.

    There is no scorer that asks the Perspective API: it closes on 31 December 2026, and what it said of a text has
    changed over the years.

    Args:
        path: JSONL. A line is ``{"text", SCORE}``, or holds such objects as ``prompt``, ``continuation`` or the list
            ``generations`` (RealToxicityPrompts and DExperts). One without a score, or with null, is not scored.
        score: Name of the score.
        name: What the scorer is called in tables.

    Raises:
        InputError: If the file cannot be read, has no scores or no texts, a score is no number in [0, 1], or a text has
            two scores; names file and line.
    """

    reserved: frozenset[str] = frozenset()

    def __init__(self, *, path: Path, score: str = "toxicity", name: str = "replay") -> None:
        self.name = name
        self._path = Path(path)
        self._scores = read_scores(self._path, score)
        self.revision = f"sha256 {hashlib.sha256(self._path.read_bytes()).hexdigest()[:12]}, score {score}"

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Scores (N,) in [0, 1].

        Raises:
            InputError: If a text has no stored score; names it.
        """
        for text in texts:
            if text not in self._scores:
                raise InputError(f"scorer {self.name}: {self._path} has no score of the text {text!r}")
        return checked(torch.tensor([self._scores[text] for text in texts]), texts, scorer=self.name)


def read_scores(path: Path, score: str) -> dict[str, float]:
    """Texts with their scores in [0, 1], in the order of the file.

    Raises:
        InputError: See ``ReplayScorer``.
    """
    scores: dict[str, float] = {}
    lines: dict[str, int] = {}
    for number, line in read_jsonl(path):
        for item in _items(line, f"{path}, line {number}"):
            if item.get(score) is None:
                continue
            text, value = _scored(item, score, f"{path}, line {number}")
            first = lines.setdefault(text, number)
            if abs(scores.setdefault(text, value) - value) > SAME:
                raise InputError(
                    f"{path}, lines {first} and {number}: {score} of the same text is {scores[text]} and {value}; "
                    f"one score for a text expected: {text!r}"
                )
    if not scores:
        raise InputError(f"{path} holds no {score}; expected lines with {FORMATS}")
    return scores


def _items(line: Mapping[str, object], where: str) -> Iterator[Mapping[str, object]]:
    """The objects of a line that may have a text and a score."""
    if "allresponses" in line:
        raise InputError(f"{where}: responses by number, without texts; texts are needed: {FORMATS} expected")
    found = [line[key] for key in ("prompt", "continuation") if key in line]
    generations = line.get("generations", [])
    found += generations if isinstance(generations, list) else [generations]
    if "text" in line or not found:
        found.append(line)
    for item in found:
        if not isinstance(item, dict) or not isinstance(item.get("text"), str):
            raise InputError(f"{where}: no text; {FORMATS} expected")
        yield item


def _scored(item: Mapping[str, object], score: str, where: str) -> tuple[str, float]:
    value = get_number(item, score, where)
    if isinstance(item[score], str) or not 0 <= value <= 1:
        raise InputError(f"{where}: {score} is {item[score]!r}; a number in [0, 1] or null expected")
    return str(item["text"]), value
