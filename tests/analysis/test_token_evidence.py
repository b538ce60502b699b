"""Promises of evidence: it is what the steered model itself says, token by token."""

import itertools
from typing import Any

import pytest
import torch
from tests.chat import ROWS, chat_model
from tokenizers import processors
from torch import Tensor

from lmsteer.analysis.token_evidence import covering, text_log_probs
from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.records import to_messages
from lmsteer.steering.steer import Steer

TEXTS = [
    "The film is warm and funny.",
    " What  a  dull story ",
    "!",
    "naïve café 日本 🎬\tand\nmore",
    "<|endoftext|> is a token, too",
    "I would like to know where you were on the night of the storm and why nobody came to help us then.",
]
STRENGTHS: list[dict[str, float]] = [
    {"sentiment": 3.0},
    {"sentiment": -3.0, "dummy": 1.0},
    {},
]


def naive(model: LanguageModel, steer: Steer, text: str, strength: dict[str, float]) -> Tensor:
    """Log-probabilities (T,) by a forward pass of the steered model, the whole text alone."""
    ids = [model.tokenizer.bos_token_id, *model.tokenizer(text)["input_ids"]]
    with torch.no_grad(), steer.apply(model.lm, steer.strengths(strength)[None]) as lm:
        logits = lm(input_ids=torch.tensor([ids])).logits[0].float()
    return logits.log_softmax(-1)[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def test_log_probabilities_are_those_of_the_steered_model(model: LanguageModel, steer: Steer) -> None:
    results = text_log_probs(model, steer, TEXTS, STRENGTHS)
    for text, reading in zip(TEXTS, results, strict=True):
        expected = torch.stack([naive(model, steer, text, strength) for strength in STRENGTHS])
        torch.testing.assert_close(reading.log_p_ST, expected, rtol=1e-4, atol=1e-4)
        evidence = expected[0] - expected[1]
        assert evidence.abs().max() > 0.05
        torch.testing.assert_close(reading.evidence(0, 1).float(), evidence, rtol=1e-3, atol=1e-3)


def test_the_body_runs_once_whatever_the_number_of_strengths(
    tiny_model: LanguageModel, steer: Steer, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[Any] = []
    forward = tiny_model.lm.base_model.forward
    monkeypatch.setattr(
        tiny_model.lm.base_model, "forward", lambda **inputs: passes.append(inputs) or forward(**inputs)
    )
    counts = []
    for strengths in (STRENGTHS[:1], STRENGTHS * 4):
        passes.clear()
        text_log_probs(tiny_model, steer, TEXTS, strengths)
        counts.append(len(passes))
    assert counts[0] == counts[1] > 0


def test_an_answer_is_read_after_its_question(model_of_chat: LanguageModel) -> None:
    steer = Steer(model_of_chat.width, dimensions=["mood"], rank=2, epsilon=0.3, seed=4)
    answers = [row.text for row in ROWS[:3]]
    results = text_log_probs(
        model_of_chat, steer, answers, [{"mood": 2.0}, {}], prompts=[row.turns for row in ROWS[:3]]
    )
    for row, reading in zip(ROWS, results, strict=False):
        before = model_of_chat.tokenizer.apply_chat_template(
            to_messages(row.turns), add_generation_prompt=True, return_dict=False
        )
        ids = [*before, *model_of_chat.tokenizer.encode(row.text, add_special_tokens=False)]
        for index, strength in enumerate((2.0, 0.0)):
            with torch.no_grad(), steer.apply(model_of_chat, strength) as lm:
                log_p_TV = lm(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
            expected = log_p_TV[len(before) - 1 : -1].gather(1, torch.tensor(ids[len(before) :])[:, None])[:, 0]
            torch.testing.assert_close(reading.log_p_ST[index], expected, rtol=1e-4, atol=1e-4)
        assert "".join(row.text[start:end] for start, end in reading.offsets) == row.text


@pytest.fixture
def model_of_chat() -> LanguageModel:
    return chat_model()


@pytest.mark.parametrize("trim", [True, False])
def test_offsets_cover_the_text(steer: Steer, trim: bool) -> None:
    model = tiny()
    model.tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim)
    for text, reading in zip(TEXTS, text_log_probs(model, steer, TEXTS, [{}]), strict=True):
        offsets = reading.offsets
        assert len(offsets) == len(reading.ids)
        assert (offsets[0][0], offsets[-1][1]) == (0, len(text))
        assert {index for start, end in offsets for index in range(start, end)} == set(range(len(text)))
        assert all(a[1] >= b[0] and a[0] <= b[0] and a[1] <= b[1] for a, b in itertools.pairwise(offsets))
        for token, (start, end) in zip(reading.ids, offsets, strict=True):
            piece = model.tokenizer.decode([token])
            assert "\ufffd" in piece or piece.strip() in text[start:end]


def test_white_space_goes_with_the_token_behind_it_and_characters_are_shared() -> None:
    assert covering(((2, 5), (6, 8), (8, 9), (8, 9)), 11) == ((0, 5), (5, 8), (8, 9), (8, 11))
    assert covering((), 0) == ()


def test_wrong_strengths_and_texts_are_refused(tiny_model: LanguageModel, steer: Steer) -> None:
    with pytest.raises(InputError, match="strength mood=1"):
        text_log_probs(tiny_model, steer, TEXTS, [{"mood": 1.0}])
    with pytest.raises(InputError, match=r"reviews\.txt, line 2: text '\?\?.* has 129 tokens; .* at most 128"):
        text_log_probs(
            tiny_model, steer, ["?", "?" * 128], [{}], locations=["reviews.txt, line 1", "reviews.txt, line 2"]
        )
    with pytest.raises(InputError, match=r"strength sentiment \+1e\+38, dummy \+0: .* overflow"):
        text_log_probs(tiny_model, steer, TEXTS, [{"sentiment": 1e38}])


def test_no_texts_give_no_readings(tiny_model: LanguageModel, steer: Steer) -> None:
    assert text_log_probs(tiny_model, steer, [], STRENGTHS) == []
