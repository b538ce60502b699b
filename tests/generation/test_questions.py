"""Promises of answers to questions: how they are asked, where they end, and that ended texts leave the batch unseen."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tests.chat import END, QUESTION, START, TURNS, chat_model
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.evaluation.divergence import DivergenceMeter
from lmsteer.generation import decoding
from lmsteer.generation.decoding import ENDED, decode
from lmsteer.generation.generator import Generator
from lmsteer.generation.sampling import Greedy, Nucleus
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Mixture, Source
from lmsteer.models.random_models import tiny
from lmsteer.records import Prompt, Turns, to_messages
from lmsteer.scoring.perplexity import continuation_nll
from lmsteer.steering.steer import Steer

PROMPTS = [
    Prompt("plain", "The film is"),
    Prompt("question", QUESTION[0][1], QUESTION),
    Prompt("turns", TURNS[-1][1], TURNS),
    Prompt("short", "I", (("user", "I"),)),
]
CONTENTS = [prompt.content for prompt in PROMPTS]


@pytest.fixture(scope="module", params=["llama", "gpt-neox", "gemma-3"])
def chat(request: pytest.FixtureRequest) -> LanguageModel:
    """Chat models of three architectures."""
    return chat_model(request.param)


def asked(model: LanguageModel, turns: Turns) -> list[int]:
    """The tokens of a question as transformers asks it."""
    ids = model.tokenizer.apply_chat_template(to_messages(turns), add_generation_prompt=True, return_dict=False)
    return list(ids)


def eager(model: LanguageModel, token: str, weight: float) -> Mixture:
    """The model with a larger logit of one token."""
    bias_V = torch.zeros(len(model.head.weight))
    bias_V[model.tokenizer.convert_tokens_to_ids(token)] = weight
    return Mixture((Source(model, lambda hidden: model.head(hidden) + bias_V),))


@pytest.mark.parametrize("weight", [1.0, 3.0])
@pytest.mark.parametrize("end", [END, "<|endoftext|>"])
def test_a_greedy_answer_ends_where_transformers_ends_it(chat: LanguageModel, end: str, weight: float) -> None:
    ends = [chat.tokenizer.convert_tokens_to_ids(token) for token in (END, "<|endoftext|>")]
    start = chat.tokenizer.convert_tokens_to_ids(START)
    barred = [start, *range(chat.head.vocabulary, len(chat.head.weight))]
    bias = {(chat.tokenizer.convert_tokens_to_ids(end),): weight}
    options: dict[str, Any] = {"do_sample": False, "max_new_tokens": 25, "min_new_tokens": 1, "eos_token_id": ends}
    for turns in (QUESTION, TURNS, PROMPTS[3].turns):
        ids = torch.tensor([asked(chat, turns)])
        theirs = chat.lm.generate(ids, sequence_bias=bias, suppress_tokens=barred, pad_token_id=0, **options)
        expected = theirs[0, ids.shape[1] :].tolist()
        rule = Greedy(max_new_tokens=25, stop_at_end=True)
        ours = decode(chat, eager(chat, end, weight), [turns], np.zeros(1, np.uint64), rule).ids_BT[0].tolist()
        assert [token for token in ours if token != ENDED] == [token for token in expected if token not in ends]


def test_a_text_is_cut_unless_its_end_is_among_its_tokens(chat: LanguageModel) -> None:
    def texts(max_new_tokens: int) -> tuple[list[str], list[bool]]:
        rule = Nucleus(max_new_tokens=max_new_tokens, stop_at_end=True)
        generator = Generator(chat, PROMPTS, decoding=rule, samples=4, batch_size=8)
        mixture = eager(chat, END, 4.0)
        generations = [one for batch in generator.batches for one in generator.batch(mixture, [{}] * len(batch), batch)]
        cut = [flag for one in generations for flag in one.cut or (False,) * len(one.texts)]
        return [text for one in generations for text in one.texts], cut

    _, cut = texts(6)
    pairs = zip(texts(5)[0], texts(12)[0], strict=True)
    assert [short != long for short, long in pairs] == cut  # a text of 5 tokens has its end as the sixth
    assert set(cut) == {True, False}
    fixed = Generator(chat, PROMPTS[:1], decoding=Greedy(max_new_tokens=6))
    assert [one.cut for batch in fixed.run([{}]) for one in batch] == [()]


def test_a_list_of_ends_in_the_generation_config_ends_texts() -> None:
    model = tiny()
    ((token,),) = model.tokenize(["t"])

    def written() -> list[int]:
        rule = Greedy(max_new_tokens=9, stop_at_end=True)
        return decode(model, eager(model, "t", 30.0), ["The film"], np.zeros(1, np.uint64), rule).ids_BT[0].tolist()

    assert written() == [token] * 9
    model.lm.generation_config.eos_token_id = [0, token]
    first, *rest = written()
    assert first != token, "no text is empty"
    assert rest == [ENDED]


def mixtures(model: LanguageModel) -> dict[str, Mixture]:
    """A mixture of one source, of two, and one whose rule sees the past; all end texts often."""
    end_V = torch.zeros(len(model.head.weight))
    end_V[model.tokenizer.eos_token_id] = 5.0

    def readout(hidden: Tensor) -> Tensor:
        return model.head(hidden) + end_V

    prompted = Source(model, readout, prefix="dull and slow ")

    def no_repetition(logits: Sequence[Tensor], past_NH: Tensor) -> Tensor:
        penalty_NV = torch.zeros_like(logits[0]).scatter_(1, past_NH.clamp(min=0), -5.0)
        return logits[0] + penalty_NV

    return {
        "one": Mixture((Source(model, readout),)),
        "two": Mixture((Source(model, readout), prompted), lambda z, past: z[0] - 0.5 * (z[1] - z[0])),
        "past": Mixture((Source(model, readout),), no_repetition, history=3),
    }


@pytest.mark.parametrize("name", ["one", "two", "past"])
@pytest.mark.parametrize("filter", ["mixed", "base"])
def test_texts_are_those_of_a_batch_that_nothing_leaves(
    model: LanguageModel, name: str, filter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = Nucleus(p=0.95, max_new_tokens=16, stop_at_end=True, filter=filter)
    texts, keys = ["The film is", "I", "people who learn to live"], np.arange(60, dtype=np.uint64)
    sizes: list[int] = []
    advance = decoding._Stream.advance
    monkeypatch.setattr(decoding._Stream, "advance", lambda one, ids: sizes.append(len(ids)) or advance(one, ids))
    leaving = decode(model, mixtures(model)[name], texts, keys, rule, likelihoods=True)
    assert min(sizes) < 15, "the case needs a batch that shrinks more than once"
    monkeypatch.setattr(decoding, "REMAINING", -1.0)
    sizes.clear()
    staying = decode(model, mixtures(model)[name], texts, keys, rule, likelihoods=True)
    assert {*sizes} == {60}
    assert torch.equal(leaving.ids_BT, staying.ids_BT)
    assert leaving.nll_B is not None
    assert staying.nll_B is not None
    torch.testing.assert_close(leaving.nll_B, staying.nll_B, rtol=1e-4, atol=1e-4)


def test_each_text_keeps_its_strength_when_others_leave_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny()
    steer = Steer(32, dimensions=["tone"], rank=4, epsilon=0.3, init_std=0.5, seed=1)
    prompts = [Prompt(str(number), "The film is") for number in range(24)]
    generator = Generator(model, prompts, decoding=Nucleus(max_new_tokens=60, stop_at_end=True), samples=4)
    strengths = [{"tone": float(number - 12)} for number in range(24)]
    ends = torch.arange(0, 300, 12)
    monkeypatch.setattr(decoding, "_ends", lambda model: ends)  # otherwise few texts end

    def texts() -> list[tuple[str, ...]]:
        return [g.texts for batch in generator.run_rows(strengths, steer) for g in batch]

    leaving = texts()
    assert len({len(text) for row in leaving for text in row}) > 10
    monkeypatch.setattr(decoding, "REMAINING", -1.0)
    assert texts() == leaving


def test_answers_are_those_to_the_rendered_question_with_its_likelihood(chat: LanguageModel) -> None:
    rule = Nucleus(max_new_tokens=3, stop_at_end=True)
    generator = Generator(chat, PROMPTS, decoding=rule, samples=20, likelihoods=True)
    (generations,) = generator.run([{}])
    rendered = [asked(chat, prompt.turns) if prompt.turns else chat.tokenize([prompt.text])[0] for prompt in PROMPTS]
    assert generator.prompt_tokens == sum(map(len, rendered))
    known = 0
    for generation in generations:
        nats, counts = continuation_nll(chat, [generation.prompt.content] * 20, generation.texts)
        before = rendered[PROMPTS.index(generation.prompt)]
        for text, likelihood, value, count in zip(
            generation.texts, generation.likelihoods, nats.tolist(), counts.tolist(), strict=True
        ):
            whole = chat.tokenize([chat.prompt(generation.prompt.content, continuation=text)])[0]
            logits = chat.lm(input_ids=torch.tensor([whole])).logits[0, len(before) - 1 : -1]
            log_p = logits.log_softmax(-1)
            naive = -float(log_p.gather(1, torch.tensor(whole[len(before) :])[:, None]).sum())
            assert (value, count) == (pytest.approx(naive, rel=1e-3), len(whole) - len(before))
            if likelihood is not None:
                known += bool(generation.prompt.turns)
                assert (likelihood.nll, likelihood.tokens) == (pytest.approx(naive, rel=1e-3), count)
    assert known > 3


def test_the_divergence_is_measured_given_the_rendered_question(chat: LanguageModel) -> None:
    (generations,) = Generator(chat, PROMPTS[1:2], decoding=Greedy(max_new_tokens=5)).run([{}])
    meter = DivergenceMeter(chat, generations, Greedy())
    before = asked(chat, QUESTION)
    whole = chat.tokenize([chat.prompt(QUESTION, continuation=generations[0].texts[0])])
    states_TD = chat.hidden(torch.tensor(whole))[0, len(before) - 1 : -1]
    torch.testing.assert_close(meter.states_ND, states_TD, rtol=1e-4, atol=1e-4)


def test_the_identity_of_texts_knows_how_questions_are_asked() -> None:
    models = [chat_model(), chat_model(system="Be brief."), chat_model(template="trimmed")]
    questions = {Generator(model, PROMPTS[1:], decoding=Greedy()).identity() for model in models}
    plain = {Generator(model, PROMPTS[:1], decoding=Greedy()).identity() for model in models}
    assert (len(questions), len(plain)) == (3, 2), "a message of the system is a part of the fingerprint"


def test_a_model_that_cannot_be_asked_is_refused_before_it_generates() -> None:
    with pytest.raises(InputError, match="model tiny-0: it has no chat template"):
        Generator(tiny(), PROMPTS, decoding=Greedy())
