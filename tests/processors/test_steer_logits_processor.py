"""``generate`` of transformers with the processor writes what the steered model writes."""

from pathlib import Path

import pytest
import torch
from transformers import LogitsProcessorList, SuppressTokensLogitsProcessor

from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.processors.logit_steer import FILE, LogitSteer
from lmsteer.processors.steer_logits_processor import SteerLogitsProcessor
from lmsteer.steering.steer import Steer

IDS = torch.tensor([[5, 17, 3, 260], [7, 301, 12, 1]])
OPTIONS = {"attention_mask": torch.ones_like(IDS), "max_new_tokens": 8, "do_sample": False, "eos_token_id": None}


def generated(model: LanguageModel, *processors: object, **options: object) -> torch.Tensor:
    ids: torch.Tensor = model.lm.generate(IDS, logits_processor=LogitsProcessorList(processors), **OPTIONS | options)
    return ids


def test_its_greedy_texts_are_those_of_the_steered_model(model: LanguageModel, steer: Steer) -> None:
    strength = torch.tensor([[3.0, -1.0], [-2.0, 0.0]])
    words = torch.arange(model.head.vocabulary, len(model.head.weight)).tolist()
    barred = [SuppressTokensLogitsProcessor(words)] if words else []
    processor = SteerLogitsProcessor.of(model, steer, strength)
    with steer.apply(model, strength):
        expected = generated(model, *barred)
    assert torch.equal(generated(model, processor, *barred), expected)
    assert not torch.equal(generated(model, *barred), expected)


def test_an_exported_folder_has_the_strength_it_was_exported_with(tmp_path: Path, steer: Steer) -> None:
    model = tiny()
    LogitSteer.of(model.head, steer, {"sentiment": 3.0}).save(tmp_path / FILE)
    expected = generated(model, SteerLogitsProcessor.of(model, steer, 3))
    assert torch.equal(generated(model, SteerLogitsProcessor.load(tmp_path)), expected)
    plain = generated(model)
    assert torch.equal(generated(model, SteerLogitsProcessor.load(tmp_path, 0)), plain)
    assert not torch.equal(plain, expected)


def test_words_that_were_masked_before_are_refused(steer: Steer) -> None:
    model = tiny()
    processor = SteerLogitsProcessor.of(model, steer, 3)
    with pytest.raises(InputError, match=r"give their processors after the steer in logits_processor$"):
        generated(model, processor, suppress_tokens=[5])
    after = generated(model, processor, SuppressTokensLogitsProcessor([5]))
    assert after.shape == (2, 12)
