"""Rows of a table as labeled texts: a text and a label, or two texts of which one is preferred."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lmsteer.data.corpus import Corpus
from lmsteer.data.label_map import LabelMap, Other
from lmsteer.data.readers.messages import ASSISTANT, get_answered
from lmsteer.data.readers.table import LocatedRow, get_text
from lmsteer.data.splits import SCORER_SPLIT, corpus_of_splits
from lmsteer.errors import InputError
from lmsteer.records import Row, from_messages

TEXT, LABEL, MESSAGES, ANSWER = "text", "label", "messages", "answer"
LEFT_OUT = "left_out"
"""Entry of ``Corpus.removed``: rows without a label of the map or without a text, and pairs of equal texts."""


@dataclass(kw_only=True)
class LabeledRows:
    """The columns of a table that make labeled texts.

    Attributes:
        text: Column of texts, or of answers as messages of the hub's format.
        label: Column of labels.
        label_map: The rule that gives each label its number.
        pairs: Columns of a preferred and of another text, which become rows of label 1 and -1; None: texts are labeled.
        question: Column of the question that a text answers, as a text or as messages; None: there is none, or it is
            part of the messages.
        left_out: Rows that became none, so far.

    Example:
        >>> rows = LabeledRows(pairs=("chosen", "rejected"), question="prompt")
        >>> pair = {"prompt": "How was it?", "chosen": "Lovely.", "rejected": "Go away."}
        >>> [(row.question, row.text, row.label) for row in rows.read([("line 1", pair)])]
        [('How was it?', 'Lovely.', 1.0), ('How was it?', 'Go away.', -1.0)]
    """

    text: str = TEXT
    label: str = LABEL
    label_map: LabelMap = field(default_factory=LabelMap)
    pairs: tuple[str, str] | None = None
    question: str | None = None
    left_out: int = 0

    @classmethod
    def of(
        cls,
        *,
        text: str,
        label: str,
        labels: Mapping[str, float] | None,
        other: Other,
        thresholds: Sequence[float] | None,
        pairs: Sequence[str] | None,
        question: str | None,
    ) -> LabeledRows:
        """Check the options of a corpus, and build what reads its rows.

        Raises:
            InputError: If an option is out of its range, or does not go with ``pairs``.
        """
        label_map = LabelMap(labels, other=other, thresholds=thresholds)
        if pairs is None:
            return cls(text=text, label=label, label_map=label_map, question=question)
        if len(pairs) != 2 or pairs[0] == pairs[1]:
            raise InputError(f"corpus.pairs={list(pairs)}: two columns expected, such as [chosen, rejected]")
        if labels is not None or thresholds is not None:
            raise InputError("corpus.pairs: the labels are 1 and -1; leave labels and thresholds out")
        return cls(pairs=(pairs[0], pairs[1]), label_map=label_map, question=question)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that a table must have."""
        question = () if self.question is None else (self.question,)
        return (*(self.pairs or (self.label,)), *question)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Columns of which a table must have one; none for pairs."""
        return () if self.pairs else (self.text, MESSAGES) if self.question is None else (self.text,)

    def corpus(self, name: str, splits: Mapping[str, Iterable[LocatedRow]]) -> Corpus:
        """Build a corpus of the rows of a source by split.

        Raises:
            InputError: If a row is malformed, or as ``LabelMap.check`` and ``corpus_of_splits``.
        """
        rows = {split: list(self.read(located)) for split, located in splits.items()}
        self.label_map.check(name)
        corpus = corpus_of_splits(name, rows, scorer_split=SCORER_SPLIT)
        return replace(corpus, removed={**corpus.removed, LEFT_OUT: self.left_out}) if self.left_out else corpus

    def read(self, rows: Iterable[LocatedRow]) -> Iterator[Row]:
        """Yield the labeled texts of rows.

        Raises:
            InputError: If a text is missing or malformed; names the place.
        """
        for where, row in rows:
            labeled = self._pair(row) if self.pairs else self._one(row, where)
            self.left_out += not labeled
            for column, label in labeled:
                yield self._row(row, column, label, where)

    def _pair(self, row: Mapping[str, object]) -> list[tuple[str, float]]:
        assert self.pairs is not None
        better, worse = self.pairs
        same = row[better] == row[worse]
        return [] if same or self._lacks_text(row, better, worse) else [(better, 1.0), (worse, -1.0)]

    def _one(self, row: Mapping[str, object], where: str) -> list[tuple[str, float]]:
        number = self.label_map.number(row, self.label, where)
        column = self.text if self.text in row else ANSWER if ANSWER in row else MESSAGES
        return [] if number is None or self._lacks_text(row, column) else [(column, number)]

    def _lacks_text(self, row: Mapping[str, object], *columns: str) -> bool:
        """Return whether a row has no text and may be left out."""
        values = [row.get(column) for column in columns]
        blank = any(value is None or (isinstance(value, str) and not value.strip()) for value in values)
        return blank and self.label_map.other == "drop"

    def _row(self, row: Mapping[str, object], column: str, label: float, where: str) -> Row:
        if column not in (self.text, *(self.pairs or ())):
            *turns, (_, answer) = get_answered(row, where)
            return Row(answer, label, tuple(turns))
        if self.question is None and not isinstance(row[column], list):
            return Row(get_text(row, column, where), label)
        messages = [] if self.question is None else _messages(row, self.question, "user", where)
        try:
            *turns, (role, answer) = from_messages([*messages, *_messages(row, column, ASSISTANT, where)])
        except ValueError as error:
            hint = "" if self.question else "; corpus.question=COLUMN names the column of the question"
            raise InputError(f"{where}: {column}: {error}{hint}") from None
        if role != ASSISTANT:
            raise InputError(
                f"{where}: {column}: the last message is of the {role}; an answer of the assistant expected"
            )
        return Row(answer, label, tuple(turns))


def _messages(row: Mapping[str, object], column: str, role: str, where: str) -> list[object]:
    """Return the messages of a column; a text is one of a role."""
    value = row[column]
    return value if isinstance(value, list) else [{"role": role, "content": get_text(row, column, where)}]
