"""Promises of conversations as text: the template is the model's own, and answers are found in it token by token."""

import pytest
from tests.chat import END, QUESTION, TEMPLATES, TURNS, chat_model, chat_tokenizer

from lmsteer.errors import InputError
from lmsteer.models.chat import ChatFormat, ChatText
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.records import Turns, to_messages

ANSWER = "It is warm and funny."


def templated(model: LanguageModel, turns: Turns, **options: bool) -> list[int]:
    """The tokens that transformers makes of a conversation."""
    ids = model.tokenizer.apply_chat_template(to_messages(turns), return_dict=False, enable_thinking=False, **options)
    return list(ids)


@pytest.mark.parametrize("template", ["chatml", "trimmed"])
@pytest.mark.parametrize("turns", [QUESTION, TURNS], ids=["question", "turns"])
def test_a_conversation_is_tokenized_as_transformers_does(template: str, turns: Turns) -> None:
    model = chat_model(template=template)
    (before,) = model.tokenize([model.chat.text(turns)])
    assert before == templated(model, turns, add_generation_prompt=True)
    (whole,) = model.tokenize([model.chat.text(turns, ANSWER)])
    expected = templated(model, (*turns, ("assistant", ANSWER)))
    end = len(expected) - expected[::-1].index(model.tokenizer.convert_tokens_to_ids(END))
    assert whole == expected[:end], "up to the token that ends the answer"
    assert whole[: len(before)] == before


def test_an_answer_that_the_template_would_write_in_another_way_is_as_it_is_when_it_is_written() -> None:
    text = chat_model(template="thinking").chat.text(QUESTION, ANSWER)
    assert text.before.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert text.answer == ANSWER + END


@pytest.mark.parametrize("template", list(TEMPLATES))
def test_the_token_that_ends_an_answer_is_that_of_the_template(template: str) -> None:
    model = chat_model(template=template)
    assert model.chat.ends == {model.tokenizer.convert_tokens_to_ids(END)}
    assert model.chat.ends != {model.tokenizer.eos_token_id}


def test_plain_texts_are_as_before_among_conversations() -> None:
    model = chat_model(template="trimmed")
    plain = ["The film is", "", "a"]
    mixed = model.tokenize([plain[0], model.chat.text(QUESTION), *plain[1:]])
    assert [mixed[0], *mixed[2:]] == model.tokenize(plain)
    ids, offsets = model.tokenize_with_offsets([plain[0], model.chat.text(QUESTION), *plain[1:]])
    assert ids == mixed
    assert [len(row) for row in offsets] == [len(row) for row in ids]


def test_a_message_of_the_system_comes_before_conversations_without_one() -> None:
    model = chat_model(system="Be brief.")
    assert model.chat.text(QUESTION) == chat_model().chat.text((("system", "Be brief."), *QUESTION))
    assert model.chat.text(TURNS) == chat_model().chat.text(TURNS)


@pytest.mark.parametrize("template", ["chatml", "trimmed", "thinking"])
def test_a_prefix_is_a_message_of_the_system(template: str) -> None:
    model = chat_model(template=template)
    assert model.prompt(QUESTION, prefix="Slowly: ") == model.chat.text((("system", "Slowly:"), *QUESTION))
    (_, system), *spoken = TURNS
    expected = model.chat.text((("system", f"{system}\n\nSlowly:"), *spoken))
    assert model.prompt(TURNS, prefix="Slowly: ") == expected, "after what the system said already"
    brief = chat_model(template=template, system="Be brief.")
    assert brief.prompt(QUESTION, prefix="Slowly: ") == model.chat.text((("system", "Be brief.\n\nSlowly:"), *QUESTION))
    assert model.prompt("a film", prefix="Slowly: ", continuation=" ends") == "Slowly: a film ends"


def silent_system() -> LanguageModel:
    """A model whose template takes messages of the system, and leaves them out."""
    model = chat_model()
    model.tokenizer.chat_template = "{% for m in messages if m['role'] != 'system' %}{{ m['content'] }}{% endfor %}"
    return model


@pytest.mark.parametrize("model", [chat_model(template="no system"), tiny(chat="off"), silent_system()])
def test_without_a_message_of_the_system_a_prefix_is_read_in_the_turn_of_the_question(model: LanguageModel) -> None:
    said = (*QUESTION, ("assistant", "Nobody."))
    ((role, question),) = QUESTION
    assert model.prompt((*said, *QUESTION), prefix="Slowly: ") == model.chat.text(
        (*said, (role, f"Slowly: {question}"))
    )


def test_without_the_template_turns_are_paragraphs_after_the_first_token_of_texts() -> None:
    chat = ChatFormat(chat_tokenizer(), model="tiny", chat="off")
    assert chat.text(TURNS, ANSWER) == ChatText("".join(f"{said}\n\n" for _, said in TURNS), ANSWER)
    assert not chat.ends
    model = tiny(chat="off")
    assert model.tokenize([model.prompt(QUESTION)]) == model.tokenize([f"{QUESTION[0][1]}\n\n"])


def test_a_model_that_cannot_be_asked_is_refused_in_one_line() -> None:
    with pytest.raises(
        InputError, match=r"model tiny-0: it has no chat template, .*; a chat model expected, or model\.chat=off"
    ):
        tiny().prompt(QUESTION)
    with pytest.raises(
        InputError, match=r"model llama-chat: its chat template refuses turns of system, user, .* \(no system role\)"
    ):
        chat_model(template="no system").prompt(TURNS)
    assert chat_model(template="no system").prompt(QUESTION)


def test_likelihoods_and_states_of_another_message_of_the_system_are_others() -> None:
    assert chat_model().fingerprint() == chat_model().fingerprint()
    prints = {chat_model(system=system).fingerprint() for system in (None, "Be brief.", "Be long.")}
    assert len(prints) == 3
    assert tiny(chat="off").fingerprint() != tiny().fingerprint()
