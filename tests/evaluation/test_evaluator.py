"""Promises of evaluation about what was measured before."""

from dataclasses import replace

import pytest
import torch

from lmsteer.errors import InputError
from lmsteer.evaluation.evaluator import GenerationMetadata, evaluate
from lmsteer.evaluation.protocol import Protocol
from lmsteer.evaluation.results import Result
from lmsteer.generation.generator import Generator
from lmsteer.generation.sampling import Nucleus
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.records import Generation, Likelihood, Prompt

PROTOCOL = Protocol(name="toy", metric="positivity")
PROMPTS = [Prompt(str(number), text) for number, text in enumerate(["The film is", "I would", "and why"])]


def written(model: LanguageModel, *, likelihoods: bool) -> list[Generation]:
    generator = Generator(model, PROMPTS, decoding=Nucleus(max_new_tokens=4), samples=20, likelihoods=likelihoods)
    return [generation for batch in generator.run([{}]) for generation in batch]


def measured(generations: list[Generation], perplexity_model: LanguageModel) -> Result:
    return evaluate(generations, PROTOCOL, perplexity_model, GenerationMetadata(model="tiny"))[0]


def test_likelihoods_told_by_the_judge_give_the_perplexity_that_reading_again_gives(tiny_model: LanguageModel) -> None:
    generations = written(tiny_model, likelihoods=True)
    assert any(known for generation in generations for known in generation.likelihoods), "the case needs some"
    texts = (generations, written(tiny_model, likelihoods=False))
    first, second = (measured(x, tiny_model).rows[0].metrics for x in texts)
    assert first["perplexity"].value == pytest.approx(second["perplexity"].value, rel=1e-4)
    assert first["perplexity_corpus"].high == pytest.approx(second["perplexity_corpus"].high, rel=1e-4)


def test_what_the_judge_has_told_is_not_measured_again(
    tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = (Likelihood(2.0, 1), Likelihood(6.0, 3))
    generations = [
        Generation(prompt, (" a", " b c d"), {}, "set", likelihoods=known, perplexity_model=tiny_model.fingerprint())
        for prompt in PROMPTS
    ]
    monkeypatch.setattr(LanguageModel, "hidden", None)
    perplexity = measured(generations, tiny_model).rows[0].metrics["perplexity"].value
    assert perplexity == pytest.approx(torch.tensor([2.0, 2.0]).exp().mean().item())


def test_what_another_model_has_told_does_not_count(tiny_model: LanguageModel) -> None:
    generations = [
        Generation(prompt, (" good film",), {}, "set", likelihoods=(Likelihood(1e-3, 3),), perplexity_model="another")
        for prompt in PROMPTS
    ]
    assert measured(generations, tiny_model).rows[0].metrics["perplexity"].value > 2
    assert tiny(seed=1).fingerprint() != tiny_model.fingerprint()


def test_a_file_that_was_cut_between_lines_is_refused(tiny_model: LanguageModel) -> None:
    generator = Generator(tiny_model, PROMPTS, decoding=Nucleus(max_new_tokens=4), samples=2)
    whole = [generation for batch in generator.run([{}]) for generation in batch]
    steered = [replace(generation, strength={"tone": 1.0}) for generation in whole]
    assert len(measured([*whole, *steered], tiny_model).rows) == 2
    with pytest.raises(InputError, match=r"strength {'tone': 1.0}: 2 prompts, not the 3 that plain has"):
        measured([*whole, *steered[:-1]], tiny_model)
    shorter = replace(steered[-1], texts=steered[-1].texts[:1])
    with pytest.raises(InputError, match="1 to 2 samples"):
        measured([*whole, *steered[:-1], shorter], tiny_model)


def test_a_limit_that_leaves_no_sample_is_refused(tiny_model: LanguageModel) -> None:
    limited = replace(PROTOCOL, legacy_perplexity_limit=1.001)
    with pytest.raises(InputError, match=r"plain: no sample.* below protocol\.legacy_perplexity_limit=1\.001"):
        evaluate(written(tiny_model, likelihoods=False), limited, tiny_model, GenerationMetadata(model="tiny"))
