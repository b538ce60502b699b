"""Records that the stages exchange: labeled rows, prompts, and generations as JSONL."""

import json
import math
import stat
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lmsteer import old_files
from lmsteer.errors import InputError

Turns = tuple[tuple[str, str], ...]
"""Turns of a conversation, each a role (system, user or assistant) and its content; the last one is the user's."""
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Row:
    """One labeled text; ``label`` lies in [-1, 1].

    ``turns`` are those of the conversation that the text answers; a plain text has none.

    Example:
        >>> Row("What a wonderful day!", 1.0).label
        1.0
        >>> Row("Lovely.", 1.0, turns=(("user", "How is the weather?"),)).question
        'How is the weather?'
    """

    text: str
    label: float
    turns: Turns = ()

    @property
    def question(self) -> str:
        """The turn that the text answers; empty for a plain text."""
        return self.turns[-1][1] if self.turns else ""


@dataclass(frozen=True)
class Prompt:
    """A text to be continued, or a question to be answered; ``id`` is unique within its set and seeds the noise.

    A question has the ``turns`` of its conversation, of which ``text`` is the last one.

    Example:
        >>> Prompt("0", "The film is").text
        'The film is'
    """

    id: str
    text: str
    turns: Turns = ()

    @property
    def content(self) -> str | Turns:
        """The text to be continued, or the turns of a question."""
        return self.turns or self.text


def to_messages(turns: Turns) -> list[dict[str, str]]:
    """Return turns in the format of the hub, ``{"role", "content"}`` each."""
    return [{"role": role, "content": content} for role, content in turns]


def from_messages(messages: object) -> Turns:
    """Return messages in the format of the hub as turns, the answer of the assistant included if it is the last one.

    Raises:
        ValueError: If they are not messages, or not of user and assistant in turn after a first one of the system.

    Example:
        >>> from_messages([{"role": "user", "content": "How are you?"}])
        (('user', 'How are you?'),)
    """
    if not (isinstance(messages, list) and all(isinstance(message, dict) for message in messages)):
        raise ValueError('messages: [{"role", "content"}, …] expected')
    turns = tuple((message.get("role"), message.get("content")) for message in messages)
    for role, content in turns:
        if role not in ROLES or not isinstance(content, str) or not content.strip():
            raise ValueError(f"a message of {role!r}: a text of {', '.join(ROLES)} that is not empty expected")
    roles = [role for role, _ in turns]
    spoken = roles[roles[:1] == ["system"] :]
    if not spoken or spoken != [("user", "assistant")[number % 2] for number in range(len(spoken))]:
        raise ValueError(f"messages of {', '.join(roles) or 'nobody'}: user and assistant in turn expected")
    return turns


@dataclass(frozen=True)
class Likelihood:
    """Negative log-likelihood of a continuation given its prompt, in nats, and its number of tokens."""

    nll: float
    tokens: int


@dataclass(frozen=True)
class Generation:
    """The continuations of one prompt at one strength.

    ``texts`` are the continuations alone, with their leading space. ``strength`` maps dimension names to values; the
    plain model has an empty one. ``prompts`` is the name of the prompt set. ``likelihoods``, if any, are those of the
    texts under the model whose fingerprint is ``perplexity_model``; None for unknown ones. ``budget`` is the name of
    the budget to which the strength was calibrated, or empty. ``cut`` says of each text whether it was cut at
    ``max_new_tokens``, before the token that ends it; it is empty if none was, or texts have a fixed length.

    Example:
        >>> Generation(Prompt("0", "The film is"), (" great.",), {"tone": 3.0}).to_json()
        '{"id": "0", "prompts": "", "prompt": {"text": "The film is"}, "strength": {"tone": 3.0}, ...
    """

    prompt: Prompt
    texts: tuple[str, ...]
    strength: dict[str, float]
    prompts: str = ""
    likelihoods: tuple[Likelihood | None, ...] = ()
    perplexity_model: str = ""
    budget: str = ""
    cut: tuple[bool, ...] = ()

    def to_json(self) -> str:
        """Return one line of ``generations.jsonl``, readable by tools for DExperts' format."""
        line: dict[str, Any] = {
            "id": self.prompt.id,
            "prompts": self.prompts,
            "prompt": {"text": self.prompt.text}
            | ({"messages": to_messages(self.prompt.turns)} if self.prompt.turns else {}),
            "strength": self.strength,
            "generations": [{"text": text} for text in self.texts],
        }
        if self.budget:
            line["budget"] = self.budget
        if self.likelihoods:
            line["perplexity_model"] = self.perplexity_model
            line["generations"] = [
                {"text": text} | (asdict(likelihood) if likelihood else {})
                for text, likelihood in zip(self.texts, self.likelihoods, strict=True)
            ]
        for index, is_cut in enumerate(self.cut):
            if is_cut:
                line["generations"][index]["cut"] = True
        return json.dumps(line, ensure_ascii=False)


def refuse_special_file(path: Path) -> None:
    """Refuse a pipe, a device or a socket before it is opened: it can be read once at most, and reading may never end.

    Raises:
        InputError: If the path is one; a path that does not exist is left to its reader.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"{path} is a pipe, a device or a socket; a regular file expected")


def refuse_repeated_names(names: Sequence[str], where: str) -> None:
    """Refuse a column or key that is named twice, as one of its two values would be dropped.

    Raises:
        InputError: If one is; columns without a name do not count.
    """
    seen: set[str] = set()
    for name in names:
        if name.strip() and name in seen:
            raise InputError(f"{where}: {name!r} is named twice; each name once expected")
        seen.add(name)


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield (line number from 1, object) of each non-empty line of a file.

    Raises:
        InputError: If the file is missing, not a regular file, not UTF-8, or a line is not a JSON object or names a key
            twice; names file and line.
    """
    refuse_special_file(path)
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}; expected a UTF-8 JSONL file") from error
    yield from parse_jsonl(content, str(path))


def parse_jsonl(content: str, name: str) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield (line number from 1, object) of each non-empty line of a text; ``name`` is that of its file.

    Raises:
        InputError: If a line is not a JSON object, or names a key twice.
    """

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        refuse_repeated_names([key for key, _ in pairs], f"{name}, line {number}")
        return dict(pairs)

    # Not splitlines(): JSON strings may hold U+2028 and other characters at which it splits.
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=unique)
            if "\\u" in line:
                json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair can be written as JSON
        except InputError:
            raise
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise InputError(f"{name}, line {number}: not JSON ({reason}); one object per line expected") from error
        if not isinstance(value, dict):
            raise InputError(f"{name}, line {number}: a {type(value).__name__}; one JSON object per line expected")
        yield number, value


def _generation(value: dict[str, Any], number: int) -> Generation:
    value = old_files.generation(value)
    prompt, samples = value["prompt"], value["generations"]
    if not (isinstance(prompt, dict) and isinstance(samples, list) and samples):
        raise TypeError
    texts = tuple(sample["text"] for sample in samples)
    strength = value.get("strength") or {}
    if not (isinstance(strength, dict) and all(isinstance(text, str) for text in (prompt["text"], *texts))):
        raise TypeError
    if not all(name and math.isfinite(float(v)) for name, v in strength.items()):
        raise ValueError
    perplexity_model = value.get("perplexity_model") or ""
    cut = tuple(sample.get("cut") is True for sample in samples)
    return Generation(
        prompt=Prompt(id=str(value.get("id", number)), text=prompt["text"], turns=_turns(prompt)),
        texts=texts,
        strength={str(name): float(v) for name, v in strength.items()},
        prompts=str(value.get("prompts", "")),
        likelihoods=tuple(_likelihood(sample) for sample in samples) if perplexity_model else (),
        perplexity_model=str(perplexity_model),
        budget=str(value.get("budget") or ""),
        cut=cut if any(cut) else (),
    )


def _turns(prompt: dict[str, Any]) -> Turns:
    turns = from_messages(prompt["messages"]) if "messages" in prompt else ()
    if turns and turns[-1] != ("user", prompt["text"]):
        raise ValueError
    return turns


def _likelihood(sample: dict[str, Any]) -> Likelihood | None:
    if sample.get("nll") is None:
        return None
    likelihood = Likelihood(float(sample["nll"]), sample["tokens"])
    if not (math.isfinite(likelihood.nll) and isinstance(likelihood.tokens, int) and likelihood.tokens > 0):
        raise ValueError
    return likelihood


def read_generations(path: Path) -> list[Generation]:
    """Read our own generations, or a plain DExperts or LM-Steer file (no id, no strength).

    Raises:
        InputError: If the file is empty or a line lacks a prompt text or continuations; names file and line.
    """
    generations = []
    for number, value in read_jsonl(path):
        try:
            generations.append(_generation(value, number))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            expected = '{"prompt": {"text"}, "generations": [{"text"}, …]}'
            raise InputError(f"{path}, line {number}: not a generation; expected {expected}") from error
    if not generations:
        raise InputError(f"{path} holds no generations; expected one JSON object per line")
    return generations
