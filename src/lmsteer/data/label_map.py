"""Labels of a data set as numbers in [-1, 1]: by a map of names, by thresholds of a score, or as they are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from lmsteer.data.readers.table import get_number
from lmsteer.errors import InputError

LOW, MIDDLE, HIGH = "low", "middle", "high"
"""Names of the labels of a score below, between and above thresholds."""
SHOWN = 20
"""Labels of the data that a message lists, the most frequent ones first."""
MOST = 10_000
"""Labels of a data set."""

Other = Literal["refuse", "drop"]


def label_name(value: object) -> str:
    """Return the name of a label, the same for a number or truth value and its text in a file.

    Example:
        >>> [label_name(value) for value in (1, 1.0, "1", True, "True", " positive")]
        ['1', '1', '1', 'true', 'true', 'positive']
    """
    text = str(value).strip()
    if text.lower() in ("true", "false"):
        return text.lower()
    try:
        return f"{float(text):.12g}"
    except ValueError:
        return text


class LabelMap:
    """The rule that gives each row its number, and the account of the labels that it met.

    Args:
        labels: Number in [-1, 1] by name of a label. None: labels are such numbers themselves, or ``low`` is -1 and
            ``high`` 1 where there are thresholds.
        other: Whether a label that is not in ``labels`` is refused, or its rows are left out.
        thresholds: Two numbers: a score of at most the first is ``low``, one of at least the second ``high``, and what
            is between them ``middle``, which is left out unless ``labels`` has it. None: labels are no scores.

    Raises:
        InputError: If a number is out of its range, the same name is there twice, or all numbers are the same.

    Example:
        >>> label_map = LabelMap({"pos": 1, "neg": -1}, other="drop")
        >>> [label_map.number({"label": name}, "label", "line 1") for name in ("neg", "neutral")]
        [-1.0, None]
    """

    def __init__(
        self,
        labels: Mapping[str, float] | None = None,
        *,
        other: Other = "refuse",
        thresholds: Sequence[float] | None = None,
    ) -> None:
        self.other = other
        self.thresholds = None if thresholds is None else _checked_thresholds(thresholds)
        if labels is None and thresholds is not None:
            labels = {LOW: -1.0, HIGH: 1.0}
        self.labels = None if labels is None else _checked_labels(labels)
        self._met: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._lowest, self._highest = math.inf, -math.inf

    def number(self, row: Mapping[str, object], column: str, where: str) -> float | None:
        """Return the number of a row; None: it has none, which ``check`` refuses where it must.

        Raises:
            InputError: If a label that should be a number is none, or is not in [-1, 1].
        """
        if self.labels is None:
            number = self._own_number(row, column, where)
            self._lowest, self._highest = min(self._lowest, number), max(self._highest, number)
            return number
        name = label_name(row[column]) if self.thresholds is None else self._band(get_number(row, column, where))
        self._met[name] += 1
        self._first.setdefault(name, where)
        if len(self._met) > MOST:
            raise InputError(f"{where}: more than {MOST} labels in {column}; of a score, corpus.thresholds=[LOW, HIGH]")
        return self.labels.get(name)

    def check(self, corpus: str) -> None:
        """Refuse what only all rows together show.

        Args:
            corpus: Name of the corpus, for messages.

        Raises:
            InputError: If labels are left that have no number, the map has labels that no row has, or labels that are
                numbers begin at 0, which is no class.
        """
        if self.labels is None:
            if self._lowest == 0 < self._highest:  # labels that are all 0 are refused as all equal ones are
                raise InputError(
                    f"corpus {corpus}: labels are from 0 to {self._highest:g}, and none is negative; the class is the "
                    "sign of a label, so that a map is needed, such as corpus.labels={0: -1, 1: 1}, or of scores "
                    "corpus.thresholds=[LOW, HIGH]"
                )
            return
        there = ", ".join(f"{name} ({rows} rows)" for name, rows in self._met.most_common(SHOWN))
        there += " and more" * (len(self._met) > SHOWN)
        if unknown := [name for name in self.labels if name not in self._met]:
            raise InputError(
                f"corpus.labels: no row of corpus {corpus} has the label {unknown[0]!r}; there are {there}"
            )
        left = [name for name in self._met if name not in self.labels and not self._may_be_left_out(name)]
        if left:
            raise InputError(
                f"{self._first[left[0]]}: label {left[0]!r} is not in corpus.labels; there are {there}: give each a "
                "number, or corpus.other=drop"
            )

    def _own_number(self, row: Mapping[str, object], column: str, where: str) -> float:
        try:
            number = get_number(row, column, where)
        except InputError as error:
            raise InputError(f"{error}, or a map such as corpus.labels={{good: 1, bad: -1}}") from None
        if not -1 <= number <= 1:
            raise InputError(
                f"{where}: {column} is {number:g}; allowed are numbers from -1 to 1, or a map, corpus.labels=…"
            )
        return number

    def _band(self, score: float) -> str:
        assert self.thresholds is not None
        low, high = self.thresholds
        return HIGH if score >= high else LOW if score <= low else MIDDLE

    def _may_be_left_out(self, name: str) -> bool:
        return self.other == "drop" or (self.thresholds is not None and name == MIDDLE)


def _checked_thresholds(thresholds: Sequence[float]) -> tuple[float, float]:
    if len(thresholds) != 2 or not thresholds[0] <= thresholds[1]:
        raise InputError(f"corpus.thresholds={list(thresholds)}: two numbers expected, such as [0.1, 0.5], or the same")
    return thresholds[0], thresholds[1]


def _checked_labels(labels: Mapping[str, float]) -> dict[str, float]:
    named = {label_name(name): float(number) for name, number in labels.items()}
    for name, number in named.items():
        if not -1 <= number <= 1:
            raise InputError(f"corpus.labels.{name}={number:g}: allowed are numbers from -1 to 1")
    if len(named) < len(labels):
        raise InputError(f"corpus.labels: {', '.join(map(str, labels))}: one name twice; each label once expected")
    if len(set(named.values())) < 2:
        raise InputError(
            f"corpus.labels={{{', '.join(f'{name}: {number:g}' for name, number in named.items())}}}: two or more "
            "numbers expected, such as -1 and 1"
        )
    return named
