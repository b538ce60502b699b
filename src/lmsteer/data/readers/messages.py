"""Questions and answers of a row, as messages of the hub's format or in columns."""

from collections.abc import Mapping

from lmsteer.data.readers.table import get_text
from lmsteer.errors import InputError
from lmsteer.records import Turns, from_messages

ASSISTANT = "assistant"


def get_turns(row: Mapping[str, object], where: str) -> Turns:
    """Return the turns of a row with ``messages``, or with a ``question``.

    Raises:
        InputError: If they are malformed; names the place.

    Example:
        >>> get_turns({"question": "How are you?"}, "mine.jsonl, line 1")
        (('user', 'How are you?'),)
    """
    if "messages" not in row:
        return (("user", get_text(row, "question", where)),)
    try:
        return from_messages(row["messages"])
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None


def get_question(row: Mapping[str, object], where: str) -> Turns:
    """Return the turns up to the last one of the user, without an answer.

    Raises:
        InputError: As ``get_turns``.
    """
    turns = get_turns(row, where)
    return turns[:-1] if turns[-1][0] == ASSISTANT else turns


def get_answered(row: Mapping[str, object], where: str) -> Turns:
    """Return the turns of a row, of which the last one is the assistant's: that of ``messages``, or the ``answer``.

    Raises:
        InputError: If there is no answer, or as ``get_turns``.
    """
    turns = get_turns(row, where)
    if "messages" not in row:
        return (*turns, (ASSISTANT, get_text(row, "answer", where)))
    if turns[-1][0] != ASSISTANT:
        raise InputError(f"{where}: the last message is of the {turns[-1][0]}; an answer of the assistant expected")
    return turns
