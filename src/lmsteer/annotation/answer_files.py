"""Read files of answers, whichever tool wrote them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmsteer.annotation.answer_key import Study
from lmsteer.annotation.crowd_file import read_crowd_answers
from lmsteer.annotation.rater_answers import COLUMNS, FORMAT, Answer, check_answers, read_own_csv, read_own_json
from lmsteer.annotation.tool_imports import read_argilla, read_label_studio, read_potato
from lmsteer.data.readers.table import read_table
from lmsteer.errors import InputError
from lmsteer.records import refuse_special_file

POTATO_FILE = "user_state.json"
KINDS = "a file of the page (JSON or CSV), of Label Studio, Argilla or Potato (or its folder), or a crowd CSV"


def read_answers(paths: Sequence[Path], study: Study | None) -> tuple[list[Answer], Study]:
    """Read and check answers to one questionnaire.

    Args:
        paths: Files, or folders of Potato.
        study: The questionnaire; None: that of a crowd CSV that says itself who wrote the texts.

    Raises:
        InputError: If a file is of an unknown kind or damaged, or answers are not of the questionnaire.
    """
    answers: list[Answer] = []
    for path in paths:
        files = sorted(path.rglob(POTATO_FILE)) if path.is_dir() else [path]
        if not files:
            raise InputError(f"{path}: no {POTATO_FILE} below it; {KINDS} expected")
        for file in files:
            new, study = _read_file(file, study)
            answers += new
    if not answers or study is None:
        raise InputError(f"answers: none in {', '.join(map(str, paths))}")
    check_answers(answers, study)
    return answers, study


def _read_file(path: Path, study: Study | None) -> tuple[list[Answer], Study]:
    if path.suffix.lower() == ".csv":
        _, first = next(read_table(path, columns=()))
        if any(name.startswith("Answer.") for name in first):
            return read_crowd_answers(path, study)
        if "question" not in first:
            raise InputError(f"{path}: columns {', '.join(COLUMNS)}, or those of a crowd platform, expected")
    if study is None:
        raise InputError(f"{path}: study=FOLDER is needed, the folder of the questionnaire that it answers")
    if path.suffix.lower() == ".csv":
        return read_own_csv(path, study), study
    content = _read_json(path)
    if isinstance(content, dict) and content.get("format") == FORMAT:
        return read_own_json(content, study, path), study
    if isinstance(content, dict) and "instance_id_to_label_to_value" in content:
        return read_potato(content, path), study
    if isinstance(content, list) and content and isinstance(content[0], dict):
        if "annotations" in content[0]:
            return read_label_studio(content, study, path), study
        if "responses" in content[0]:
            return read_argilla(content, study, path), study
    raise InputError(f"{path}: unknown kind of file; {KINDS} expected")


def _read_json(path: Path) -> Any:
    refuse_special_file(path)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; {KINDS} expected") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({' '.join(str(error).split())[:80]}); {KINDS} expected") from error
