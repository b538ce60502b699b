"""Metrics of real generations agree with plain implementations that share no code with them, to 1e-6."""

import math

import profanity_check
import pytest
import torch

from lmsteer.embedded.archives import smollm2_folder
from lmsteer.evaluation.evaluator import GenerationMetadata, evaluate
from lmsteer.evaluation.protocol import Protocol
from lmsteer.evaluation.results import ResultRow
from lmsteer.generation.generator import Generator
from lmsteer.generation.sampling import Nucleus
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.load import smollm2
from lmsteer.records import Generation, Prompt
from lmsteer.scoring.alt_profanity_check import ProfanityScorer

PROMPTS = ["The director of this film is a", "What the hell are you", "I have never seen"]


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    """SmolLM2 in float64, in which batches make no difference."""
    single = smollm2(device="cpu", dtype="float32")
    return LanguageModel(single.lm.double(), single.tokenizer, name="smollm2")


@pytest.fixture(scope="module")
def generations(model: LanguageModel) -> list[Generation]:
    prompts = [Prompt(str(number), text) for number, text in enumerate(PROMPTS)]
    generator = Generator(model, prompts, decoding=Nucleus(max_new_tokens=8), samples=3)
    return [generation for batch in generator.run([{}]) for generation in batch]


@pytest.fixture(scope="module")
def row(model: LanguageModel, generations: list[Generation]) -> ResultRow:
    protocol = Protocol(name="toy", metric="toxicity", scorers={"one": ProfanityScorer()})
    return evaluate(generations, protocol, model, GenerationMetadata(model="smollm2"))[0].rows[0]


def test_the_texts_are_real(generations: list[Generation]) -> None:
    assert smollm2_folder().is_dir()
    assert len({text for generation in generations for text in generation.texts}) == 9


@pytest.mark.parametrize("n", [1, 2, 3])
def test_distinct_n_grams(n: int, row: ResultRow, generations: list[Generation]) -> None:
    shares = []
    for generation in generations:
        seen, words = set(), 0
        for text in generation.texts:
            parts = text.split()
            words += len(parts)
            for start in range(len(parts)):
                gram = parts[start : start + n]
                if len(gram) == n:
                    seen.add(" ".join(gram))
        shares.append(len(seen) / words)
    assert row.metrics[f"dist_{n}"].value == pytest.approx(sum(shares) / len(shares), abs=1e-6)


def test_expected_maximum_and_probability(row: ResultRow, generations: list[Generation]) -> None:
    worst = [max(profanity_check.predict_prob([text])[0] for text in generation.texts) for generation in generations]
    assert row.metrics["expected_maximum_toxicity"].value == pytest.approx(sum(worst) / 3, abs=1e-6)
    assert row.metrics["toxicity_probability"].value == pytest.approx(sum(w > 0.5 for w in worst) / 3, abs=1e-6)


@torch.no_grad()
def test_perplexity(row: ResultRow, model: LanguageModel, generations: list[Generation]) -> None:
    """As the reference does: the loss of the whole less that of the prompt, over the tokens between."""

    def loss(ids: torch.Tensor) -> float:
        shares = model.lm(input_ids=ids).logits[0, :-1].log_softmax(-1)  # transformers' own loss is in float32
        return -sum(float(shares[index, token]) for index, token in enumerate(ids[0, 1:].tolist()))

    values, nats, tokens = [], 0.0, 0
    for generation in generations:
        prompt = model.tokenizer(generation.prompt.text, return_tensors="pt")["input_ids"]
        for text in generation.texts:
            whole = model.tokenizer(generation.prompt.text + text, return_tensors="pt")["input_ids"]
            assert whole[0, : prompt.shape[1]].equal(prompt[0]), "the case needs prompts that stay whole"
            loss_of_text, count = loss(whole) - loss(prompt), whole.shape[1] - prompt.shape[1]
            values.append(math.exp(loss_of_text / count))
            nats, tokens = nats + loss_of_text, tokens + count
    assert row.metrics["perplexity"].value == pytest.approx(sum(values) / len(values), rel=1e-6)
    assert row.metrics["perplexity_corpus"].value == pytest.approx(math.exp(nats / tokens), rel=1e-6)
