"""Read the questions and answers that the steers are fitted to and measured on."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmsteer.behaviours import NAMES
from lmsteer.data.corpus import Corpus
from lmsteer.data.sources.labeled_file import labeled_file
from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel

SPLITS = ("dev", "test")


@dataclass(frozen=True)
class AnswerFolder:
    """A folder with ``questions.json``, ``keep.json`` and ``answers/BEHAVIOUR.jsonl``.

    Attributes:
        questions: Questions by split; strengths are chosen on dev, figures are measured on test.
        keep: By behaviour the source of its answers, their keep rate and whether it is left out for that.
    """

    folder: Path
    questions: dict[str, list[str]]
    keep: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, folder: Path, *, dev: int, test: int) -> "AnswerFolder":
        """Read a folder, and the first questions of each split.

        Raises:
            InputError: If a file is missing or malformed, or there are fewer questions.
        """
        questions, keep = (_read_object(folder / f"{name}.json") for name in ("questions", "keep"))
        for split, number in zip(SPLITS, (dev, test), strict=True):
            texts = questions.get(split)
            if not (isinstance(texts, list) and all(isinstance(text, str) for text in texts)) or len(texts) < number:
                count = len(texts) if isinstance(texts, list) else 0
                raise InputError(f"{folder / 'questions.json'}: {count} {split} questions; {number} texts expected")
        if not all(isinstance(entry, dict) and isinstance(entry.get("left_out"), bool) for entry in keep.values()):
            raise InputError(f"{folder / 'keep.json'}: an object with left_out for each behaviour expected")
        return cls(folder, {"dev": questions["dev"][:dev], "test": questions["test"][:test]}, keep)

    @property
    def included(self) -> tuple[str, ...]:
        """Names of the behaviours that this model learns from: not those left out for their keep rate."""
        return tuple(
            name
            for name in NAMES
            if name in self.keep and not self.keep[name]["left_out"] and self._file(name).is_file()
        )

    def check_model(self, model: LanguageModel) -> None:
        """Refuse a model that did not write the answers; folders of earlier versions do not name the one that did.

        Raises:
            InputError: Naming the behaviour.
        """
        for name in self.included:
            if self.keep[name].get("model", model.fingerprint()) != model.fingerprint():
                raise InputError(
                    f"answers={self.folder}: those of {name} are by another model than {model.name}, or another "
                    "message of the system; write answers with this one (experiments.behaviours.answers)"
                )

    def corpus(self, name: str) -> Corpus:
        """Read the answers of a behaviour, label +1, and the plain ones, -1; without rows of the questions asked here.

        Raises:
            InputError: As ``labeled_file``.
        """
        return labeled_file(path=str(self._file(name)))

    def _file(self, name: str) -> Path:
        return self.folder / "answers" / f"{name}.jsonl"


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"answers: cannot read {path} ({type(error).__name__}); a folder of answers expected"
        ) from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: a {type(value).__name__}; an object expected")
    return value
