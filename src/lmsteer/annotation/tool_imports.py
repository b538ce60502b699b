"""Answers from the files of annotation tools: Label Studio, Argilla, Potato."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lmsteer.annotation.answer_key import Study
from lmsteer.annotation.rater_answers import Answer, refuse_other_questionnaire
from lmsteer.errors import InputError

DAMAGED = (KeyError, TypeError, ValueError, IndexError, AttributeError)
"""What reading an entry of an unexpected form raises."""


def read_label_studio(tasks: Sequence[Any], study: Study, path: Path) -> list[Answer]:
    """Read the JSON export of a Label Studio project; annotations that were skipped are left out.

    Raises:
        InputError: If a task is damaged, or of another questionnaire; names it.
    """
    return list(_each(tasks, study, f"{path}, task", _label_studio_answers))


def read_argilla(records: Sequence[Any], study: Study, path: Path) -> list[Answer]:
    """Read the records that Argilla 2 writes by ``records.to_json``.

    Raises:
        InputError: If a record is damaged, or of another questionnaire; names it.
    """
    return list(_each(records, study, f"{path}, record", _argilla_answers))


def read_potato(state: Mapping[str, Any], path: Path) -> list[Answer]:
    """Read the ``user_state.json`` of one annotator of Potato.

    Raises:
        InputError: If it is damaged.
    """
    answers, number = [], 0
    try:
        times = state.get("instance_id_to_behavioral_data") or {}
        for number, (item, labels) in enumerate(state["instance_id_to_label_to_value"].items(), 1):
            seconds = (times.get(item) or {}).get("total_time_ms")
            share = None if not seconds else float(seconds) / 1000 / max(1, len(labels))
            for label, value in labels:
                if value not in (None, False, "", "false"):
                    where = f"{path}, item {number}"
                    choice = str(label["name"]).lower()
                    answers.append(Answer(item, str(state["user_id"]), str(label["schema"]), choice, share, where))
    except DAMAGED:
        raise InputError(f"{path}, item {number}: damaged; a user_state.json of Potato expected") from None
    return answers


def _each(entries: Sequence[Any], study: Study, where: str, read: Any) -> Iterator[Answer]:
    for number, entry in enumerate(entries, 1):
        try:
            yield from read(entry, study, f"{where} {number}")
        except InputError:
            raise
        except DAMAGED:
            raise InputError(f"{where} {number}: damaged; as the tool exports it expected") from None


def _label_studio_answers(task: Any, study: Study, where: str) -> Iterator[Answer]:
    refuse_other_questionnaire(task["data"]["questionnaire"], study, where)
    for annotation in task["annotations"]:
        if annotation.get("was_cancelled"):
            continue
        rater, results, time = annotation["completed_by"], annotation["result"], annotation.get("lead_time")
        if isinstance(rater, dict):
            rater = rater.get("email") or rater["id"]
        share = None if time is None else float(time) / max(1, len(results))
        for result in results:
            (choice,) = result["value"]["choices"]
            yield Answer(str(task["data"]["item"]), str(rater), str(result["from_name"]), choice.lower(), share, where)


def _argilla_answers(record: Any, study: Study, where: str) -> Iterator[Answer]:
    refuse_other_questionnaire(record["metadata"]["questionnaire"], study, where)
    for question, responses in record["responses"].items():
        for response in responses:
            yield Answer(str(record["id"]), str(response["user_id"]), question, response["value"].lower(), None, where)
