"""Conversations as the text that a chat model reads: its own template, or plain paragraphs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from lmsteer.errors import InputError
from lmsteer.records import Turns, to_messages

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Chat = Literal["auto", "off"]
"""Whether questions are asked in the chat template of the model or in plain text."""
PROBE: Turns = (("user", "A"), ("assistant", "B"))
"""A conversation after whose answer the template writes the token that ends it."""
INSTRUCTION = "Answer in blue ink."
"""A message of the system that no template writes by itself."""


@dataclass(frozen=True)
class ChatText:
    """A conversation: what the model reads ``before`` its answer, and the ``answer`` with the token that ends it."""

    before: str
    answer: str = ""

    def __str__(self) -> str:
        return self.before + self.answer


Text = str | ChatText
"""A plain text, or a conversation."""


class ChatFormat:
    r"""The format in which a model reads conversations.

    Attributes:
        is_templated: Whether it is the chat template of the model, which writes all special tokens itself.

    Args:
        model: Name of the model, for error messages.
        chat: "auto": the model's chat template, without thinking where that can be chosen. "off": paragraphs of plain
            text.
        system: Message of the system before conversations that have none. None: none is added.

    Example:
        >>> from lmsteer.models.random_models import tiny
        >>> ChatFormat(tiny().tokenizer, model="tiny", chat="off").text((("user", "How are you?"),), "Well.")
        ChatText(before='How are you?\n\n', answer='Well.')
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, model: str, chat: Chat = "auto", system: str | None = None
    ) -> None:
        self.tokenizer, self.model, self.system = tokenizer, model, system
        self.is_templated = chat == "auto"

    def text(self, turns: Turns, answer: str = "") -> ChatText:
        """Return a conversation up to its answer, with the answer and the token that ends it unless it is empty.

        Raises:
            InputError: If the model has no chat template, or its template refuses the conversation.
        """
        if self.system is not None and turns[0][0] != "system":
            turns = (("system", self.system), *turns)
        if not self.is_templated:
            return ChatText("".join(f"{content}\n\n" for _, content in turns), answer)
        before = self._render(turns, add_generation_prompt=True)
        if not answer:
            return ChatText(before)
        whole = self._render((*turns, ("assistant", answer)))
        # A template may write an answer of the past in another way than one that is being written.
        after = whole.removeprefix(before) if whole.startswith(before) else answer + self._end
        return ChatText(before, after.rstrip())

    def settings(self) -> dict[str, str]:
        """Return the options by which a conversation reads otherwise than in the model's template alone."""
        system = {} if self.system is None else {"system": self.system}
        return system if self.is_templated else system | {"chat": "off"}

    def instructed(self, turns: Turns, instruction: str) -> Turns:
        """Return turns with an instruction: in the message of the system, where the template has one.

        It stands after what that message says already. Otherwise it stands before the question, in the turn of the
        user.
        """
        if not instruction:
            return turns
        if not self.has_system:
            *before, (role, question) = turns
            return (*before, (role, instruction + question))
        system, spoken = (turns[0][1], turns[1:]) if turns[0][0] == "system" else (self.system, turns)
        return (("system", "\n\n".join(filter(None, (system, instruction.strip())))), *spoken)

    @cached_property
    def has_system(self) -> bool:
        """Whether conversations are written in a template that takes messages of the system, and writes them."""
        try:
            return self.is_templated and INSTRUCTION in self._render((("system", INSTRUCTION), PROBE[0]))
        except InputError:
            return False

    @cached_property
    def ends(self) -> frozenset[int]:
        """The ids of the token with which the template ends an answer; empty if there is none."""
        if not (self.is_templated and self.tokenizer.chat_template):
            return frozenset()
        added = self.tokenizer.added_tokens_decoder
        return frozenset(
            token for token in self.tokenizer.encode(self._end, add_special_tokens=False)[:1] if token in added
        )

    @cached_property
    def _end(self) -> str:
        """What the template writes after an answer, without white space; empty where it refuses the probe."""
        try:
            return self._render(PROBE).rpartition(PROBE[-1][1])[2].strip()
        except InputError:
            return ""

    def _render(self, turns: Turns, *, add_generation_prompt: bool = False) -> str:
        if not self.tokenizer.chat_template:
            raise InputError(
                f"model {self.model}: it has no chat template, in which questions are asked; a chat model expected, or "
                "model.chat=off, which asks in plain text"
            )
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    to_messages(turns),
                    tokenize=False,
                    add_generation_prompt=add_generation_prompt,
                    enable_thinking=False,  # a variable that other templates do not read
                )
            )
        except Exception as error:  # whatever a template raises, which is a program of the model's author
            reason = " ".join(str(error).split())[:200]
            roles = ", ".join(role for role, _ in turns)
            raise InputError(f"model {self.model}: its chat template refuses turns of {roles} ({reason})") from error
