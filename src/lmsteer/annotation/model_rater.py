"""A language model as one more rater: what it is asked, its raw replies, and the answers read from them."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from lmsteer.annotation.questionnaire import Item, Question, Questionnaire
from lmsteer.annotation.rater_answers import FORMAT

PAIR = """Prompt: {prompt}

Continuation A: {a}

Continuation B: {b}

{question} Answer with one word: A, B or Equal."""
SINGLE = """Prompt: {prompt}

Continuation: {a}

{question} Answer with one word: Yes, No or Unsure."""
Reply = Callable[[Sequence[str]], Sequence[str]]
"""A model: maps questions to its replies."""


def question_text(item: Item, question: Question) -> str:
    """Write what a model is asked about an item."""
    a, b = (*item.texts, "")[:2]
    return (PAIR if len(item.texts) == 2 else SINGLE).format(prompt=item.prompt, a=a, b=b, question=question.text)


def read_choice(reply: str, choices: Sequence[str]) -> str | None:
    """Read a choice from a reply: its first word, if a sign or nothing follows, or the only choice that it names.

    Returns:
        None if there is no such choice.

    Example:
        >>> read_choice(" B.", ("a", "equal", "b")), read_choice("I choose A", ("a", "equal", "b"))
        ('b', 'a')
        >>> read_choice("Neither of them", ("a", "equal", "b")) is None
        True
    """
    first = re.match(r"\W*(\w+)\s*(?:[^\w\s]|$)", reply)
    if first and first[1].lower() in choices:
        return first[1].lower()
    words = [word for word in re.findall(r"\w+", reply) if word != "a"]  # which is an article
    named = {word.lower() for word in words if word.lower() in choices}
    return named.pop() if len(named) == 1 else None


def rate(questionnaire: Questionnaire, reply: Reply, *, name: str, fingerprint: str) -> dict[str, Any]:
    """Ask a model every question about every item; return the content of its file of answers.

    A reply without a choice is kept but is no answer.
    """
    asked = [(item, question) for item in questionnaire.items for question in questionnaire.questions]
    texts = [question_text(item, question) for item, question in asked]
    replies = []
    for (item, question), text, raw in zip(asked, texts, reply(texts), strict=True):
        choice = read_choice(raw, questionnaire.choices)
        replies.append({"item": item.id, "question": question.name, "prompt": text, "reply": raw, "choice": choice})
    return {
        "format": FORMAT,
        "questionnaire": questionnaire.digest,
        "rater": name,
        "model": {"name": name, "fingerprint": fingerprint},
        "answers": [
            {"item": one["item"], "question": one["question"], "choice": one["choice"], "seconds": None}
            for one in replies
            if one["choice"] is not None
        ],
        "replies": replies,
    }
