"""Two models are compared where they have read the same beginning of a text."""

from typing import Any

import pytest
import torch
from tests.chat import ROWS, chat_model
from tokenizers import ByteLevelBPETokenizer
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from lmsteer.data.features import FeatureExtractor
from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.records import Row
from lmsteer.transfer.aligned_states import align_states

TEXTS = [
    "The film is a warm and funny story about people.",
    "Nobody came to help us — then, naïve as we were, we left.",
    "No",
    "",
    "I would like to know where you were.",
]
OTHER = "We were warm and nobody left the story; to know people is funny, as the film is about us then. Where, naïve?"


@pytest.fixture(scope="module")
def other() -> LanguageModel:
    """A model of another width whose tokens are other pieces of text, and which begins every text with a token."""
    bpe = ByteLevelBPETokenizer(add_prefix_space=True)
    bpe.train_from_iterator([OTHER], vocab_size=330, min_frequency=1, special_tokens=["<s>"], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, bos_token="<s>")
    config: Any = tiny().lm.config.to_dict() | {"hidden_size": 48, "vocab_size": 330}
    torch.manual_seed(3)
    return LanguageModel(LlamaForCausalLM(type(tiny().lm.config)(**config)), tokenizer, name="other")


def boundaries(model: LanguageModel, text: str) -> dict[int, list[int]]:
    """The tokens up to each place of a text where a token ends, found by decoding ever more of them."""
    ids = model.tokenizer(text)["input_ids"]
    beginnings = {}
    for n in range(1, len(ids)):
        read = model.tokenizer.decode(ids[:n], skip_special_tokens=True)
        if "\N{REPLACEMENT CHARACTER}" not in read:
            beginnings[len(read.lstrip() if text[:1] != " " else read)] = ids[:n]
    return {end: ids for end, ids in beginnings.items() if end}


def test_states_are_those_of_the_same_beginnings_in_both_models(other: LanguageModel) -> None:
    source = tiny()
    aligned = align_states(source, other, [Row(text, 0.0) for text in TEXTS])
    ours, theirs, texts = [], [], []
    for number, text in enumerate(TEXTS):
        ends = [boundaries(model, text) for model in (source, other)]
        for end in sorted(ends[0].keys() & ends[1].keys()):
            ours.append(source.hidden(torch.tensor([ends[0][end]]))[0, -1])
            theirs.append(other.hidden(torch.tensor([ends[1][end]]))[0, -1])
            texts.append(number)
    assert aligned.text_N.tolist() == texts
    assert len(texts) > 20
    assert 3 not in texts
    torch.testing.assert_close(aligned.source_ND, torch.stack(ours), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(aligned.target_NE, torch.stack(theirs), rtol=1e-4, atol=1e-4)


def test_texts_in_which_nothing_is_behind_a_place_are_refused(other: LanguageModel) -> None:
    with pytest.raises(InputError, match="2 texts: tiny-0 and other have no token boundary in common"):
        align_states(tiny(), other, [Row("N", 0.0), Row("", 0.0)])


def test_answers_are_read_after_their_questions_by_each_model_in_its_own_format() -> None:
    """With one tokenizer the positions are all that predict a token of an answer: those that a steer is fitted on."""
    source, target = chat_model(), chat_model(template="trimmed", system="Be brief.")
    aligned = align_states(source, target, ROWS)
    expected, theirs = (FeatureExtractor(model)([model.text(row) for row in ROWS]) for model in (source, target))
    assert aligned.text_N.bincount().tolist() == expected.lengths.tolist() == theirs.lengths.tolist()
    torch.testing.assert_close(aligned.source_ND, expected.hidden_ND, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(aligned.target_NE, theirs.hidden_ND, rtol=1e-4, atol=1e-4)
    assert not torch.equal(aligned.source_ND, aligned.target_NE)


def test_an_answer_for_a_model_without_a_chat_template_is_refused(other: LanguageModel) -> None:
    with pytest.raises(InputError, match=r"other.*chat template"):
        align_states(chat_model(), other, ROWS)
