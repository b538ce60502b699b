"""Promises of corpora of questions and answers: how they are read and split, and which tokens are targets."""

import hashlib
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.chat import END, QUESTION, ROWS, TURNS, chat_model, write_answers
from tests.fitting import GradientFit

from lmsteer.data.corpus import Corpus, text_key
from lmsteer.data.datamodule import SteerDataModule
from lmsteer.data.feature_store import FeatureStoreConfig
from lmsteer.data.features import FeatureExtractor
from lmsteer.data.prompts.prompt_sets import corpus_prefixes, prompt_file
from lmsteer.data.prompts.selection import PromptSet
from lmsteer.data.sources.labeled_file import labeled_file
from lmsteer.data.text_datamodule import TextDataModule
from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.records import Prompt, Row, to_messages
from lmsteer.reference.padded_batches import PaddedDataModule
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.training.fit import FitEnvironment

CORPUS = Corpus("chat", train=ROWS[:12], dev=ROWS[12:])


@pytest.fixture(scope="module")
def chat() -> LanguageModel:
    return chat_model()


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


# Files


def test_messages_and_columns_give_the_same_rows(tmp_path: Path) -> None:
    messages = [*to_messages(TURNS), {"role": "assistant", "content": "It is dull."}]
    lines = [{"messages": messages, "label": -1}, {"question": "Who?", "answer": "Nobody.", "label": 1}]
    write(tmp_path / "train.jsonl", *lines)
    (tmp_path / "dev.tsv").write_text("question\tanswer\tlabel\nWhere?\tHere.\t0.5\n")
    (tmp_path / "test.csv").write_text('question,answer,label\n"Why, then?",So.,0\n')
    corpus = labeled_file(path=str(tmp_path))
    assert {*corpus.train, *corpus.scorer_split} == {
        Row("It is dull.", -1.0, TURNS),
        Row("Nobody.", 1.0, (("user", "Who?"),)),
    }
    assert corpus.dev == (Row("Here.", 0.5, (("user", "Where?"),)),)
    assert corpus.test == (Row("So.", 0.0, (("user", "Why, then?"),)),)


def test_a_file_with_the_column_of_texts_is_one_of_plain_texts(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        *({"text": f"text {n}", "question": "Q?", "answer": "A", "label": n % 2 * 2 - 1} for n in range(40)),
    )
    assert all(not row.turns for row in labeled_file(path=str(path)).train)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"messages": "hello"}, r"line 1: messages: \[\{\"role\", \"content\"\}, …\] expected"),
        ({"messages": to_messages(QUESTION)}, "the last message is of the user; an answer of the assistant expected"),
        ({"messages": []}, "messages of nobody: user and assistant in turn expected"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "a message of 'tool': a text of system, user, assistant"),
        ({"messages": [{"role": "user", "content": " "}]}, "a message of 'user': a text"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "messages of assistant: user and assistant in turn"),
        ({"answer": "a"}, "question is None; a text that is not empty is needed"),
        ({"question": "a", "answer": ""}, "answer is ''; a text that is not empty is needed"),
        ({"question": "a"}, "no column 'text' or 'messages' or 'answer'; there are question, label"),
    ],
)
def test_a_line_without_question_or_answer_is_refused_by_its_number(
    line: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        labeled_file(path=str(write(tmp_path / "a.jsonl", line | {"label": 1})))


def test_all_answers_to_a_question_are_in_one_split(tmp_path: Path) -> None:
    corpus = labeled_file(path=str(write_answers(tmp_path / "a.jsonl", 300)))
    splits = defaultdict(list)
    for name in ("train", "dev", "test", "scorer_split"):
        for row in getattr(corpus, name):
            splits[row.question].append(name)
    assert {len(names) for names in splits.values()} == {2}
    assert {len(set(names)) for names in splits.values()} == {1}
    assert {name for names in splits.values() for name in names} == {"train", "dev", "test", "scorer_split"}


def test_a_repeated_answer_counts_with_its_question(tmp_path: Path) -> None:
    lines = [{"question": f"Is {n} odd?", "answer": "Yes.", "label": 1} for n in (*range(30), 0)]
    corpus = labeled_file(path=str(write(tmp_path / "a.jsonl", *lines)))
    assert corpus.removed == {"duplicates": 1}


def test_rows_of_reserved_questions_and_answers_are_left_out() -> None:
    assert len(CORPUS.without(frozenset({text_key(TURNS[-1][1])})).train) == 6
    assert len(CORPUS.without(frozenset({text_key(ROWS[0].text)})).train) == 10
    assert CORPUS.without(frozenset({text_key("else")})).train == CORPUS.train


def test_the_digest_of_plain_rows_is_that_of_earlier_versions_and_questions_count() -> None:
    plain = Corpus("a", train=(Row("a film", 0.5), Row("a bore", -1.0)))
    assert plain.digest() == hashlib.sha256(b"0.5\ta film\n-1.0\ta bore\n").hexdigest()
    one, other = (Corpus("a", train=(Row("So.", 1.0, turns),)) for turns in (QUESTION, TURNS))
    assert len({one.digest(), other.digest(), Corpus("a", train=(Row("So.", 1.0),)).digest()}) == 3


def test_prompts_are_the_questions_of_test_rows() -> None:
    prompts = corpus_prefixes(corpus=Corpus("chat", train=ROWS, test=ROWS), n=None).prompts
    assert {(prompt.text, prompt.turns) for prompt in prompts} == {(TURNS[-1][1], TURNS), (QUESTION[0][1], QUESTION)}


def test_questions_are_read_from_a_file_next_to_plain_prompts(tmp_path: Path) -> None:
    answered = [*to_messages(TURNS), {"role": "assistant", "content": "It is dull."}]
    path = write(
        tmp_path / "mixed.jsonl",
        {"question": QUESTION[0][1], "id": "a"},
        {"messages": answered, "id": "b"},
        {"prompt": {"text": TURNS[-1][1] + " ", "messages": to_messages(TURNS[:2])}, "id": "c"},
        {"prompt": "The film is", "question": "is not read", "id": "d"},
    )
    assert prompt_file(path=str(path)).prompts == (
        Prompt("a", QUESTION[0][1], QUESTION),
        Prompt("b", TURNS[-1][1], TURNS),
        Prompt("c", TURNS[1][1], TURNS[:2]),
        Prompt("d", "The film is"),
    )


# Targets


def expected(model: LanguageModel, row: Row) -> tuple[list[int], list[int]]:
    """All tokens of a row and those of its answer: the template with it less the template without it."""
    before = list(
        model.tokenizer.apply_chat_template(to_messages(row.turns), add_generation_prompt=True, return_dict=False)
    )
    messages = to_messages((*row.turns, ("assistant", row.text)))
    whole = list(model.tokenizer.apply_chat_template(messages, return_dict=False))
    assert whole[: len(before)] == before
    answer = whole[len(before) :]
    return before, answer[: answer.index(model.tokenizer.convert_tokens_to_ids(END)) + 1]


@pytest.mark.parametrize("template", ["chatml", "trimmed"])
def test_targets_are_the_tokens_of_the_answer_and_states_those_before_them(template: str) -> None:
    model = chat_model(template=template)
    features = FeatureExtractor(model)([*map(model.text, ROWS), "The film is dull"])
    states = features.hidden_ND.split(features.lengths.tolist())
    targets = features.targets_N.split(features.lengths.tolist())
    for row, states_TD, targets_T in zip(ROWS, states, targets, strict=False):
        before, answer = expected(model, row)
        assert targets_T.tolist() == answer
        logits = model.lm(input_ids=torch.tensor([before + answer])).logits[0, len(before) - 1 : -1]
        torch.testing.assert_close(model.head(states_TD), logits, rtol=1e-4, atol=1e-4)
    assert targets[-1].tolist() == model.tokenize(["The film is dull"])[0][1:]


def test_the_loss_of_a_batch_is_that_of_the_tokens_of_answers(chat: LanguageModel) -> None:
    data = SteerDataModule(CORPUS, chat, dimensions=2, batch_size=12)
    batch, texts = data.batch(ROWS), TextDataModule(data).batch(ROWS)
    answers = [expected(chat, row)[1] for row in ROWS]
    assert batch.targets_N.tolist() == [token for answer in answers for token in answer] == texts.targets_N.tolist()
    assert batch.strength_NK[:, 0].tolist() == [row.label for row, a in zip(ROWS, answers, strict=True) for _ in a]
    for index, row in enumerate(ROWS):
        before, answer = expected(chat, row)
        assert texts.ids_BT[index].tolist()[: len(before + answer) - 1] == (before + answer)[:-1]
        assert (int(texts.starts_B[index]), int(texts.lengths_B[index])) == (len(before), len(answer))


def test_a_cut_keeps_the_question_and_what_has_no_room_is_refused(chat: LanguageModel) -> None:
    before, answer = expected(chat, ROWS[0])
    cut = FeatureExtractor(chat, max_length=len(before) + 3)([chat.text(ROWS[0])])
    assert cut.targets_N.tolist() == answer[:3]
    with pytest.raises(InputError, match=rf"data\.max_length={len(before)}: no token is left for the answer to"):
        SteerDataModule(Corpus("chat", train=ROWS[:2]), chat, dimensions=1, max_length=len(before))


def test_a_model_without_a_template_is_refused_before_any_work_unless_it_is_asked_in_plain_text() -> None:
    with pytest.raises(InputError, match="model tiny-0: it has no chat template"):
        SteerDataModule(CORPUS, tiny(), dimensions=1)
    batch = SteerDataModule(CORPUS, tiny(chat="off"), dimensions=1).batch(ROWS[:1])
    assert tiny().tokenizer.decode(batch.targets_N) == ROWS[0].text


def test_padding_that_counts_as_text_is_refused_for_answers(chat: LanguageModel) -> None:
    with pytest.raises(InputError, match="data=padded: plain texts expected"):
        PaddedDataModule(CORPUS, chat, dimensions=1)


def test_a_fit_from_the_store_equals_one_without(chat: LanguageModel, tmp_path: Path) -> None:
    fit, config = GradientFit(steps=4, dev_every=2, batch_size=8), SteerConfig(name="tone", rank=2)
    _, plain = fit(chat, CORPUS, config)
    store = FeatureStoreConfig(where=str(tmp_path))
    for _ in range(2):
        _, stored = fit(chat, CORPUS, config, environment=FitEnvironment(store=store))
        for split in ("train", "dev"):
            losses = (torch.tensor(provenance.training["curve"][split]) for provenance in (stored, plain))
            torch.testing.assert_close(*losses, rtol=1e-4, atol=0)
    assert list(tmp_path.rglob("*.safetensors"))


def test_features_that_were_stored_are_not_those_of_another_template(chat: LanguageModel, tmp_path: Path) -> None:
    store = FeatureStoreConfig(where=str(tmp_path))
    models = (chat, chat_model(system="Be brief."), chat_model(template="trimmed"))
    hidden = []
    for model in models:
        data = SteerDataModule(CORPUS, model, dimensions=1, store=store)
        data.store_texts()
        hidden.append(data.batch(ROWS).hidden_ND)
        expected_ND = SteerDataModule(CORPUS, model, dimensions=1).batch(ROWS).hidden_ND
        torch.testing.assert_close(hidden[-1], expected_ND, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(hidden[0], hidden[1])


def test_plain_texts_and_prompts_are_asked_in_one_request() -> None:
    rows = (
        Row("We laughed and cried from the first to the last {text}.", 1.0),
        Row("Dull  and slow", -1.0),
        Row("Bad", -1.0),
        ROWS[0],
    )
    asked = Corpus("c", train=rows, dev=rows[1:2], removed={"duplicates": 2}).asked("Go on: {text}")
    first, second, third = asked.train
    assert first == Row("the first to the last {text}.", 1.0, (("user", "Go on: We laughed and cried from"),))
    assert second == asked.dev[0] == Row("and slow", -1.0, (("user", "Go on: Dull"),))
    assert third == ROWS[0], "an answer has its question already"
    assert asked.removed == {"duplicates": 2, "short": 1}
    prompts = PromptSet("p", (Prompt("7", "The film is"), Prompt("8", "And?", (("user", "And?"),))), frozenset({"key"}))
    assert prompts.asked("Go on: {text}") == replace(
        prompts, prompts=(Prompt("7", "Go on: The film is", (("user", "Go on: The film is"),)), prompts.prompts[1])
    )
