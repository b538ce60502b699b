"""Tiny chat models: random weights, a tokenizer with tokens of turns, and templates as real ones have them."""

import json
from pathlib import Path

from tests.conftest import build_lm
from transformers import PreTrainedTokenizerFast

from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.records import Row, Turns

START, END = "<|im_start|>", "<|im_end|>"
PADDED = 400
"""Rows of the embeddings: more than the tokens, of which the last two are those of turns."""
_TURN = "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}"
_ANSWER = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
TEMPLATES = {
    "chatml": f"{{% for m in messages %}}{_TURN}{{% endfor %}}{_ANSWER}",
    # As Llama's: a token that begins texts, and contents without the white space around them.
    "trimmed": "{{ bos_token }}{% for m in messages %}"
    "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] | trim + '<|im_end|>' }}{% endfor %}" + _ANSWER,
    # As Qwen's: an answer without thinking begins with an empty thought, which is not written in those of the past.
    "thinking": f"{{% for m in messages %}}{_TURN}{{% endfor %}}{{% if add_generation_prompt %}}"
    "{{ '<|im_start|>assistant\\n' }}{% if not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{% endif %}",
    # As Gemma's: no turns of a system.
    "no system": "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}"
    f"{{% endif %}}{_TURN}{{% endfor %}}{_ANSWER}",
}
QUESTION: Turns = (("user", "Who came on the night of the storm?"),)
TURNS: Turns = (
    ("system", "You are slow and dull."),
    ("user", "Is the film far too long?"),
    ("assistant", "No, it is funny."),
    ("user", "And the story?"),
)
ROWS = tuple(
    Row(f"the {name} is {tone}, as I would say.", label, turns)
    for name in ("film", "story", "night", "storm")
    for turns in (QUESTION, TURNS)
    for tone, label in (("warm and funny", 1.0), ("dull and slow", -1.0))
)


def chat_tokenizer(template: str = "chatml") -> PreTrainedTokenizerFast:
    """The tiny tokenizer with two tokens of turns; its own end-of-text token is another one."""
    tokenizer = tiny().tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": [START, END]})
    tokenizer.chat_template = TEMPLATES[template]
    return tokenizer


def chat_model(architecture: str = "llama", template: str = "chatml", system: str | None = None) -> LanguageModel:
    """A random chat model of an architecture."""
    lm = build_lm(architecture, PADDED)
    return LanguageModel(lm, chat_tokenizer(template), name=f"{architecture}-chat", system=system)


def write_chat_model(folder: Path) -> Path:
    """Write a chat model as transformers does."""
    model = chat_model()
    model.lm.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


def write_answers(path: Path, questions: int) -> Path:
    """Write two answers of opposite labels to each of some questions, as messages and in columns by turns."""
    lines = []
    for number in range(questions):
        question = f"What is number {number * 7919} like?"
        warm, dull = (f"It is {tone}, number {number}." for tone in ("warm and funny", "dull and slow"))
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": warm}]
        lines.append({"messages": messages, "label": 0.8})
        lines.append({"question": question, "answer": dull, "label": -0.8})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path
