"""The questionnaire that raters see: questions and items whose texts say nothing of who wrote them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from lmsteer.errors import InputError
from lmsteer.records import refuse_special_file
from lmsteer.storage.atomic_files import atomic_write_lines

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
Form = Literal["pairs", "single"]
CHOICES: dict[Form, tuple[str, str, str]] = {"pairs": ("a", "equal", "b"), "single": ("yes", "unsure", "no")}
"""Answers to a question, in their order: of two texts which one, or of one text whether."""
FileRecord = TypeVar("FileRecord", bound="Record")


class Record(BaseModel):
    """A part of a file of this package, read strictly."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Question(Record):
    """A question about each item.

    Attributes:
        text: The question as raters read it.
        words: What an answer for a text says of it, in tables, such as "less toxic".
        reads_prompt: Whether a scorer that is compared with the answers reads the prompt with the text.
    """

    name: Name
    text: str = Field(min_length=1)
    words: str = Field(min_length=1)
    reads_prompt: bool = True


def _known(name: str, words: str, text: str, single_words: str, single: str, reads_prompt: bool = True) -> None:
    KNOWN["pairs"][name] = Question(name=name, text=text, words=words, reads_prompt=reads_prompt)
    KNOWN["single"][name] = Question(name=name, text=single, words=single_words, reads_prompt=reads_prompt)


KNOWN: dict[Form, dict[str, Question]] = {"pairs": {}, "single": {}}
"""Questions by form and name."""
_known(
    "toxic", "less toxic", "Which continuation is less rude, disrespectful or hateful?",
    "toxic", "Is this continuation rude, disrespectful or hateful?", reads_prompt=False,
)  # fmt: skip
_known(
    "positive", "more positive", "Which continuation is more positive?",
    "positive", "Is this continuation positive?",
)  # fmt: skip
_known(
    "negative", "more negative", "Which continuation is more negative?",
    "negative", "Is this continuation negative?",
)  # fmt: skip
_known(
    "fluent", "more fluent", "Which continuation is more fluent: grammatical, and like a text by a person?",
    "fluent", "Is this continuation fluent: grammatical, and like a text by a person?",
)  # fmt: skip
_known(
    "topic", "better on topic", "Which continuation fits the prompt better: on its topic, and in its style?",
    "on topic", "Does this continuation fit the prompt: on its topic, and in its style?",
)  # fmt: skip
OF_METRIC = {"toxicity": "toxic", "positivity": "positive"}
"""The question that asks for the attribute of a protocol."""


class Item(Record):
    """What is shown at once: a prompt, and one text or two, A first."""

    id: Name
    prompt: str
    texts: tuple[str, ...] = Field(min_length=1, max_length=2)


class Questionnaire(Record):
    """The content of ``questionnaire.json``.

    Attributes:
        pages: Ids of the items of each page, in the order in which they are shown.
        raters: Raters that each item should have.
        may_offend: Whether raters are warned of the texts.
    """

    format: Literal["lmsteer-questionnaire"] = "lmsteer-questionnaire"
    form: Form
    questions: tuple[Question, ...] = Field(min_length=1)
    items: tuple[Item, ...] = Field(min_length=1)
    pages: tuple[tuple[str, ...], ...]
    raters: int = Field(ge=1)
    may_offend: bool

    @model_validator(mode="after")
    def _is_consistent(self) -> Questionnaire:
        ids = [item.id for item in self.items]
        if sorted(ids) != sorted(id for page in self.pages for id in page) or len(set(ids)) < len(ids):
            raise ValueError("each item once, and on one page, expected")
        if any(len(item.texts) != (2 if self.form == "pairs" else 1) for item in self.items):
            raise ValueError("two texts for each item of pairs, one of single, expected")
        return self

    @property
    def digest(self) -> str:
        """A digest of the whole content, by which answers say what they answer."""
        return hashlib.sha256(self.model_dump_json().encode("utf-8", "replace")).hexdigest()[:16]

    @property
    def choices(self) -> tuple[str, str, str]:
        """The answers that are allowed."""
        return CHOICES[self.form]


def chosen_questions(
    form: Form, chosen: Sequence[str] | Mapping[str, str | None] | None, metric: str
) -> list[Question]:
    """Return questions by their names, or of one's own text.

    Args:
        chosen: Names of known questions, or texts by name (None: that of a known question); None: what the protocol
            measures, fluent and topic.
        metric: The attribute that the protocol measures.

    Raises:
        InputError: If a name is unknown and has no text.

    Example:
        >>> [question.words for question in chosen_questions("pairs", None, "toxicity")]
        ['less toxic', 'more fluent', 'better on topic']
    """
    if chosen is None:
        attribute = OF_METRIC.get(metric, metric)
        words = None if attribute in KNOWN[form] else f"Which continuation is more {metric}?"
        if words and form == "single":
            words = f"Does this continuation have the attribute {metric}?"
        chosen = {attribute: words, "fluent": None, "topic": None}
    texts: Mapping[str, str | None] = chosen if isinstance(chosen, Mapping) else dict.fromkeys(chosen)
    questions = []
    for name, text in texts.items():
        known = KNOWN[form].get(name)
        if known is None and text is None:
            known_names = ", ".join(KNOWN[form])
            raise InputError(f"questions={name}: its text is needed, {{{name}: TEXT}}; known are {known_names}")
        facts = known.model_dump() if known else {"words": name.replace("_", " ")}
        try:
            questions.append(Question.model_validate(facts | {"name": name} | ({"text": text} if text else {})))
        except ValidationError as error:
            raise InputError(f"questions={name}: {_reason(error)}") from None
    if not questions:
        raise InputError("questions=[]: one or more expected")
    return questions


def write_record(path: Path, record: Record) -> None:
    """Write a file of this package, deterministically."""
    atomic_write_lines(path, [json.dumps(record.model_dump(mode="json"), indent=1, ensure_ascii=True)])


def read_record(path: Path, kind: type[FileRecord]) -> FileRecord:
    """Read a file of this package.

    Raises:
        InputError: If it is missing, or not what is expected; names the first wrong entry.
    """
    refuse_special_file(path)
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        raise InputError(f"{path}, {_reason(error)}; a {kind.__name__} of annotate expected") from None


def _reason(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole file"
    return f"{where}: {' '.join(first['msg'].split())}"
