"""A questionnaire as the files of annotation tools: Label Studio, Argilla, Potato, and a crowd platform's CSV.

They are plain files and hold nothing of the key. Answers name the item by its id; its questionnaire is next to it
wherever the tool keeps further fields.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any
from xml.sax.saxutils import quoteattr

from lmsteer.annotation.questionnaire import Item, Questionnaire
from lmsteer.annotation.rater_answers import csv_text

LABELS = {"a": "A", "equal": "Equal", "b": "B", "yes": "Yes", "unsure": "Unsure", "no": "No"}
"""Choices as tools show and return them; in lower case they are ours."""
CROWD_COLUMNS = ("prompt_id", "sentprefix", "sourcea", "senta", "toxa", "idxa", "sourceb", "sentb", "toxb", "idxb")
"""Columns of DExperts' files; who wrote a text is left out."""
EMPTY = "(empty)"


def exported_files(questionnaire: Questionnaire) -> dict[str, str]:
    """Return the files of all tools, by their path below the folder of exports."""
    records = [_argilla_record(item, questionnaire) for item in questionnaire.items]
    tasks = [{"data": {"item": i.id, "questionnaire": questionnaire.digest, **_fields(i)}} for i in questionnaire.items]
    return {
        "label_studio/labels.xml": label_studio_config(questionnaire),
        "label_studio/tasks.json": _json(tasks),
        "argilla/settings.json": _json(argilla_settings(questionnaire)),
        "argilla/records.json": _json(records),
        "potato/config.yaml": _json(potato_config(questionnaire)),  # JSON is YAML
        "potato/items.jsonl": "".join(
            json.dumps({"id": item.id, **_fields(item)}, ensure_ascii=True) + "\n" for item in questionnaire.items
        ),
        "crowd.csv": csv_text((*CROWD_COLUMNS, "questionnaire"), _crowd_rows(questionnaire)),
    }


def label_studio_config(questionnaire: Questionnaire) -> str:
    """Return the labeling configuration; ``Choices`` for each question, as ``Pairwise`` has no tie."""
    lines = ["<View>", '  <Text name="prompt" value="$prompt"/>']
    for name in _text_names(questionnaire):
        lines += [f"  <Header value={quoteattr(_title(name))}/>", f'  <Text name="{name}" value="${name}"/>']
    for question in questionnaire.questions:
        lines.append(f"  <Header value={quoteattr(question.text)}/>")
        lines.append(f'  <Choices name="{question.name}" toName="prompt" choice="single-radio" required="true">')
        lines += [f'    <Choice value="{LABELS[choice]}"/>' for choice in questionnaire.choices]
        lines.append("  </Choices>")
    return "\n".join([*lines, "</View>", ""])


def argilla_settings(questionnaire: Questionnaire) -> dict[str, Any]:
    """Return the settings of an Argilla 2 dataset, as ``Settings.from_json`` reads them."""
    fields = [
        {"name": name, "title": _title(name), "required": True, "settings": {"type": "text", "use_markdown": False}}
        for name in ("prompt", *_text_names(questionnaire))
    ]
    options = [{"value": choice, "text": LABELS[choice]} for choice in questionnaire.choices]
    questions = [
        {
            "name": question.name,
            "title": question.text,
            "required": True,
            "settings": {"type": "label_selection", "options": options, "visible_options": len(options)},
        }
        for question in questionnaire.questions
    ]
    return {
        "guidelines": None,
        "fields": fields,
        "questions": questions,
        "vectors": [],
        "metadata": [],
        "allow_extra_metadata": True,
        "distribution": {"strategy": "overlap", "min_submitted": questionnaire.raters},
        "mapping": None,
    }


def potato_config(questionnaire: Questionnaire) -> dict[str, Any]:
    """Return the configuration of a Potato server, whose data are ``items.jsonl``."""
    shown = [{"key": name, "type": "text", "label": _title(name)} for name in ("prompt", *_text_names(questionnaire))]
    schemes = [
        {
            "annotation_type": "radio",
            "name": question.name,
            "description": question.text,
            "labels": [LABELS[choice] for choice in questionnaire.choices],
            "label_requirement": {"required": True},
        }
        for question in questionnaire.questions
    ]
    return {
        "annotation_task_name": f"lmsteer {questionnaire.digest}",
        "task_dir": ".",
        "output_annotation_dir": "annotation_output",
        "data_files": ["items.jsonl"],
        "item_properties": {"id_key": "id", "text_key": "prompt"},
        "instance_display": {"fields": shown},
        "annotation_schemes": schemes,
        "max_annotations_per_item": questionnaire.raters,
    }


def _fields(item: Item) -> dict[str, str]:
    names = ("text_a", "text_b") if len(item.texts) == 2 else ("text",)
    return {"prompt": item.prompt, **{n: t if t.strip() else EMPTY for n, t in zip(names, item.texts, strict=True)}}


def _text_names(questionnaire: Questionnaire) -> list[str]:
    return [name for name in _fields(questionnaire.items[0]) if name != "prompt"]


def _title(name: str) -> str:
    return {"prompt": "Prompt", "text": "Continuation", "text_a": "Continuation A", "text_b": "Continuation B"}[name]


def _argilla_record(item: Item, questionnaire: Questionnaire) -> Mapping[str, Any]:
    empty = {"suggestions": {}, "responses": {}, "vectors": {}, "status": "pending"}
    return {"id": item.id, "fields": _fields(item), "metadata": {"questionnaire": questionnaire.digest}, **empty}


def _crowd_rows(questionnaire: Questionnaire) -> Iterable[tuple[str, ...]]:
    for item in questionnaire.items:
        a, b = (*item.texts, "")[:2]
        yield (item.id, item.prompt, "", a, "", "", "", b, "", "", questionnaire.digest)


def _json(content: object) -> str:
    return json.dumps(content, indent=1, ensure_ascii=True) + "\n"
