"""Promises of models that lack inputs which most have: positions and a key-value cache."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import (
    AutoModelForCausalLM,
    BartConfig,
    BloomConfig,
    MBartConfig,
    MptConfig,
    OpenAIGPTConfig,
    PreTrainedConfig,
)

from lmsteer.data.features import FeatureExtractor
from lmsteer.errors import InputError
from lmsteer.generation.decoding import Decoding, decode
from lmsteer.generation.generator import Generator
from lmsteer.generation.sampling import Greedy, Nucleus
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Mixture
from lmsteer.models.random_models import tiny
from lmsteer.records import Prompt
from lmsteer.scoring.perplexity import continuation_nll
from lmsteer.steering.steer import Steer

TEXTS = [
    "The film is a warm and funny story about people who learn to live",
    "This is",
    "I would like to know where you were on the night of the storm",
    "This was",
    "and",
    "",
]
PROMPTS = [Prompt(f"id-{number}", text) for number, text in enumerate(TEXTS)]

DECODER = {
    "vocab_size": 384,
    "d_model": 32,
    "decoder_layers": 2,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 128,
    "is_decoder": True,
    "is_encoder_decoder": False,
    "pad_token_id": 0,
    "eos_token_id": 0,
    "bos_token_id": 0,
    "forced_eos_token_id": None,
}
WITHOUT_POSITIONS: dict[str, PreTrainedConfig] = {
    "bart": BartConfig(**DECODER),
    "mbart": MBartConfig(**DECODER),
    "bloom": BloomConfig(vocab_size=384, hidden_size=32, n_layer=2, n_head=4),
    "mpt": MptConfig(vocab_size=384, d_model=32, n_layers=2, n_heads=4, max_seq_len=128, expansion_ratio=2),
}
WITHOUT_CACHE = OpenAIGPTConfig(vocab_size=384, n_embd=32, n_layer=2, n_head=4, n_positions=128)


def build(name: str, config: PreTrainedConfig) -> LanguageModel:
    torch.manual_seed(0)
    lm = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in lm.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return LanguageModel(lm, tiny().tokenizer, name=name)


@pytest.fixture(scope="module", params=list(WITHOUT_POSITIONS))
def unplaced(request: pytest.FixtureRequest) -> LanguageModel:
    """A model that numbers its tokens itself, padding included."""
    return build(request.param, WITHOUT_POSITIONS[request.param])


@pytest.fixture(scope="module")
def uncached() -> LanguageModel:
    """A model that reads everything again at each step."""
    return build("gpt-1", WITHOUT_CACHE)


def texts(
    model: LanguageModel, decoding: Decoding, prompts: list[Prompt] = PROMPTS, **options: int
) -> dict[str, object]:
    batches = Generator(model, prompts, decoding=decoding, **options).run([{}])
    return {g.prompt.id: g.texts for batch in batches for g in batch}


@pytest.mark.parametrize("samples", [1, 3])
def test_a_text_does_not_depend_on_the_prompts_beside_its_own(unplaced: LanguageModel, samples: int) -> None:
    decoding = Nucleus(max_new_tokens=8)
    together = texts(unplaced, decoding, samples=samples, batch_size=256)
    assert texts(unplaced, decoding, samples=samples, batch_size=1) == together
    alone = [texts(unplaced, decoding, [prompt], samples=samples) for prompt in PROMPTS]
    assert {id: written for one in alone for id, written in one.items()} == together
    assert texts(unplaced, decoding, PROMPTS[::-1], samples=samples, batch_size=6) == together


def test_texts_are_those_that_full_logits_of_a_prompt_alone_give(unplaced: LanguageModel) -> None:
    written = texts(unplaced, Greedy(max_new_tokens=6))
    for prompt in PROMPTS:
        ids = unplaced.tokenizer(prompt.text)["input_ids"] or [0]
        before = len(ids)
        for _ in range(6):
            logits = unplaced.lm(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
            ids = [*ids, int(logits.index_fill(0, torch.tensor([0]), -torch.inf).argmax())]
        decoded = (unplaced.tokenizer.decode(part, skip_special_tokens=True) for part in (ids, ids[:before]))
        whole, start = decoded
        assert written[prompt.id] == (whole[len(start) :],)


def test_prompts_of_equal_length_still_share_a_batch(unplaced: LanguageModel, tiny_model: LanguageModel) -> None:
    lengths = [len(tiny_model.tokenizer(text)["input_ids"]) or 1 for text in TEXTS]
    batches = Generator(unplaced, PROMPTS, decoding=Greedy()).batches
    assert sorted(lengths) == [lengths[index] for batch in batches for index in batch]
    assert len(batches) == len(set(lengths)) < len(TEXTS)
    assert len(Generator(tiny_model, PROMPTS, decoding=Greedy()).batches) == 1


def test_a_strength_for_each_prompt_equals_one_strength_at_a_time(unplaced: LanguageModel, steer: Steer) -> None:
    strengths = [{"sentiment": float(number - 2)} for number in range(len(TEXTS))]
    generator = Generator(unplaced, PROMPTS, decoding=Greedy(max_new_tokens=6))
    rows = {g.prompt.id: g.texts for batch in generator.run_rows(strengths, steer) for g in batch}
    for prompt, strength in zip(PROMPTS, strengths, strict=True):
        (one,) = next(Generator(unplaced, [prompt], decoding=Greedy(max_new_tokens=6)).run([strength], steer))
        assert rows[prompt.id] == one.texts


def test_the_identity_of_texts_knows_the_size_of_batches(unplaced: LanguageModel) -> None:
    sizes = [
        len({len(batch) for batch in Generator(unplaced, PROMPTS, decoding=Greedy(), batch_size=n).batches})
        for n in (1, 256)
    ]
    assert sizes == [1, 2], "the case needs batches that differ"
    one, many = (Generator(unplaced, PROMPTS, decoding=Greedy(), batch_size=n).identity() for n in (1, 256))
    assert one != many


def test_padding_is_refused_where_it_would_count(unplaced: LanguageModel) -> None:
    with pytest.raises(InputError, match="has no position_ids; prompts with equal numbers of tokens expected"):
        decode(unplaced, Mixture.plain(unplaced), TEXTS[:2], np.zeros(2, np.uint64), Greedy())


def test_a_model_without_a_cache_is_refused_before_it_generates(uncached: LanguageModel) -> None:
    with pytest.raises(InputError, match="model gpt-1: it has no key-value cache"):
        Generator(uncached, PROMPTS, decoding=Greedy())


@pytest.mark.parametrize("name", [*WITHOUT_POSITIONS, "gpt-1"])
def test_reading_needs_neither_positions_nor_a_cache(name: str) -> None:
    model = build(name, (WITHOUT_POSITIONS | {"gpt-1": WITHOUT_CACHE})[name])
    prompts, continuations = ["The film is", "I", "The film is"], [" warm and funny", " would like to know", " dull"]
    nats, _ = continuation_nll(model, prompts, continuations)
    states = FeatureExtractor(model)(TEXTS).hidden_ND.split(
        [max(0, len(model.tokenizer(t)["input_ids"]) - 1) for t in TEXTS]
    )
    with torch.no_grad():
        for prompt, continuation, value in zip(prompts, continuations, nats, strict=True):
            before, ids = (model.tokenizer(text)["input_ids"] for text in (prompt, prompt + continuation))
            logits = model.lm(input_ids=torch.tensor([ids])).logits[0, len(before) - 1 : -1]
            expected = F.cross_entropy(logits, torch.tensor(ids[len(before) :]), reduction="sum")
            torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-4)
        for text, states_TD in zip(TEXTS, states, strict=True):
            if len(states_TD):
                alone = model.lm(input_ids=torch.tensor([model.tokenizer(text)["input_ids"]])).logits[0, :-1]
                torch.testing.assert_close(model.head(states_TD), alone, rtol=1e-4, atol=1e-4)
