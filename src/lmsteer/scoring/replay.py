"""Scores from a file, by exact text, such as those of the Perspective API."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lmsteer.data.readers.table import get_number
from lmsteer.errors import InputError
from lmsteer.records import read_jsonl
from lmsteer.scoring.scorer import check_scores

TOLERANCE = 1e-6
"""Largest difference between scores of the same text."""
FORMATS = '{"text", SCORE}, alone or as "prompt", "continuation" or a list "generations"'


class ReplayScorer:
    """Scores that are read from a file with their exact texts.

    No scorer calls the Perspective API, as it closes on 31 December 2026 and its scores have changed over the years.

    Args:
        path: JSONL. A line is ``{"text", SCORE}``, or contains such objects as ``prompt``, ``continuation`` or the list
            ``generations`` (RealToxicityPrompts and DExperts). An object without a score, or with null, is ignored.
        score: Name of the score.
        name: Name in tables.

    Raises:
        InputError: If the file cannot be read, has no scores or no texts, a score is not a number in [0, 1], or a text
            has two scores; names file and line.
    """

    reserved: frozenset[str] = frozenset()

    def __init__(self, *, path: Path, score: str = "toxicity", name: str = "replay") -> None:
        self.name = name
        self._path = Path(path)
        self._scores = read_scores(self._path, score)
        self.revision = f"sha256 {hashlib.sha256(self._path.read_bytes()).hexdigest()[:12]}, score {score}"

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return scores (N,) in [0, 1].

        Raises:
            InputError: If a text has no stored score; names it.
        """
        for text in texts:
            if text not in self._scores:
                raise InputError(f"scorer {self.name}: {self._path} has no score of the text {text!r}")
        return check_scores(torch.tensor([self._scores[text] for text in texts]), texts, scorer=self.name)


def read_scores(path: Path, score: str) -> dict[str, float]:
    """Read texts with their scores in [0, 1], in the order of the file.

    Raises:
        InputError: As ``ReplayScorer``.
    """
    scores: dict[str, float] = {}
    lines: dict[str, int] = {}
    for number, line in read_jsonl(path):
        for item in _items(line, f"{path}, line {number}"):
            if item.get(score) is None:
                continue
            text, value = _text_and_score(item, score, f"{path}, line {number}")
            first_line = lines.setdefault(text, number)
            if abs(scores.setdefault(text, value) - value) > TOLERANCE:
                raise InputError(
                    f"{path}, lines {first_line} and {number}: {score} of the same text is {scores[text]} and {value}; "
                    f"one score per text expected: {text!r}"
                )
    if not scores:
        raise InputError(f"{path} contains no {score}; expected lines with {FORMATS}")
    return scores


def _items(line: Mapping[str, object], where: str) -> Iterator[Mapping[str, object]]:
    """Yield the objects of a line that may have a text and a score."""
    if "allresponses" in line:
        raise InputError(f"{where}: responses by number, without texts; {FORMATS} expected")
    items = [line[key] for key in ("prompt", "continuation") if key in line]
    generations = line.get("generations", [])
    items += generations if isinstance(generations, list) else [generations]
    if "text" in line or not items:
        items.append(line)
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("text"), str):
            raise InputError(f"{where}: no text; {FORMATS} expected")
        yield item


def _text_and_score(item: Mapping[str, object], score: str, where: str) -> tuple[str, float]:
    value = get_number(item, score, where)
    if isinstance(item[score], str) or not 0 <= value <= 1:
        raise InputError(f"{where}: {score} is {item[score]!r}; a number in [0, 1] or null expected")
    return str(item["text"]), value
