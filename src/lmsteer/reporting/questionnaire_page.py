"""The questionnaire as a page of one file: no server, no request to anywhere, answers in the browser's storage."""

import base64
import hashlib
from pathlib import Path

from lmsteer.annotation.questionnaire import Questionnaire
from lmsteer.reporting.page import render_page

BUTTONS = {
    "a": ("A", "a"),
    "equal": ("Equal", "e"),
    "b": ("B", "b"),
    "yes": ("Yes", "y"),
    "unsure": ("Unsure", "u"),
    "no": ("No", "n"),
}
"""Label and key of each choice."""


def questionnaire_page(questionnaire: Questionnaire, page: int = 0) -> str:
    """Write one page of a questionnaire.

    The script is allowed by its digest and nothing else is, so that no text of an item can run. Texts are data.

    Args:
        page: Index of the page.
    """
    script = Path(__file__).with_name("templates").joinpath("questionnaire.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    items = {item.id: item for item in questionnaire.items}
    shown = questionnaire.pages[page]
    count, number = len(questionnaire.questions), page + 1
    of_pages = f" {number}/{len(questionnaire.pages)}" if len(questionnaire.pages) > 1 else ""
    return render_page(
        "questionnaire.html",
        title=f"Questionnaire{of_pages}",
        may_offend=questionnaire.may_offend,
        columns=2 if questionnaire.form == "pairs" else 1,
        items=len(shown),
        questions="one question" if count == 1 else f"{count} questions",
        script=script,
        script_digest=f"sha256-{digest}",
        data={
            "questionnaire": questionnaire.digest,
            "page": number,
            "questions": [{"name": question.name, "text": question.text} for question in questionnaire.questions],
            "choices": [
                {"name": choice, "label": BUTTONS[choice][0], "key": BUTTONS[choice][1]}
                for choice in questionnaire.choices
            ],
            "items": [items[name].model_dump() for name in shown],
        },
    )
