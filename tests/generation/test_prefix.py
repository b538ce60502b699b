"""Promises of prefixes and weighted sums in the decode loop: a prefix is read once, and one head reads the sum."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.chat import QUESTION, chat_model
from tests.conftest import build_lm

from lmsteer.generation.decoding import decode
from lmsteer.generation.sampling import Greedy
from lmsteer.models.head import Head
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Mixture, Source
from lmsteer.models.random_models import tiny
from lmsteer.records import Turns

PREFIX = "The following text is kind and polite: "
TEXTS = ["The film is", "people who learn to live with what they have been told about the night", "and", ""]


def read(model: LanguageModel, mixture: Mixture, prompts: list[str | Turns], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The greedy tokens, and the sizes (rows, tokens) of the passes that read prompts."""
    body, sizes = model.body, list[tuple[int, ...]]()

    def watched(**inputs: Any) -> Any:
        sizes.append(tuple(inputs["input_ids"].shape))
        return body(**inputs)

    with monkeypatch.context() as patch:
        patch.setattr(model, "body", watched)
        ids_BT = decode(model, mixture, prompts, np.zeros(2 * len(prompts), np.uint64), Greedy(max_new_tokens=5)).ids_BT
    return ids_BT.tolist()[::2], [size for size in sizes if size[1] > 1]


@pytest.mark.parametrize("name", ["gpt2", "gpt-neo", "llama", "qwen3", "gemma-3"])
def test_a_prefix_is_read_once_and_texts_are_those_of_prompts_that_are_read_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LanguageModel(build_lm(name), tiny().tokenizer, name=name)
    mixture = Mixture((Source(model, model.head, prefix=PREFIX),))
    together, sizes = read(model, mixture, [*TEXTS], monkeypatch)
    lengths = [len(mixture.sources[0].encode(text, 5)) for text in TEXTS]
    shared = min(lengths) - 1  # of the empty text the last token of the prefix remains
    expected = [(1, shared), (len(TEXTS), max(lengths) - shared)]
    if name == "gemma-3":  # some of its layers have a window
        expected[1] = (len(TEXTS), max(lengths))
    assert sizes == expected
    for text, ids in zip(TEXTS, together, strict=True):
        alone, whole = read(model, mixture, [text], monkeypatch)
        assert alone == [ids]
        assert len(whole) == 1


def test_an_instruction_of_the_system_is_read_once_for_all_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    model = chat_model()
    mixture = Mixture((Source(model, model.head, prefix=PREFIX),))
    questions: list[str | Turns] = [QUESTION, (("user", "And the film?"),)]
    together, ((one, _), *_) = read(model, mixture, questions, monkeypatch)
    assert one == 1
    assert [read(model, mixture, [question], monkeypatch)[0][0] for question in questions] == together


def test_without_a_prefix_or_with_nothing_in_common_prompts_are_read_as_they_are(
    tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for mixture in (Mixture.plain(tiny_model), Mixture((Source(tiny_model, tiny_model.head, prefix="a "),))):
        _, sizes = read(tiny_model, mixture, ["the film", "the film is", "the night"], monkeypatch)
        assert len(sizes) == 1 + (not mixture.sources[0].is_plain)
    _, sizes = read(tiny_model, Mixture.plain(tiny_model), ["the film", "the film is"], monkeypatch)
    assert [rows for rows, _ in sizes] == [2]


def mixtures(model: LanguageModel, head: Any) -> list[Mixture]:
    sources = Source(model, head), Source(model, head, prefix="a "), Source(model, head, prefix="b ")
    return [Mixture.weighted(sources, (1, 2.5, -2.5)), Mixture.weighted(sources[:2], (3.0, -2.0))]


@pytest.mark.parametrize("bias", [None, torch.linspace(-1, 1, 50)])
def test_the_logits_of_a_sum_are_the_sum_of_the_logits(tiny_model: LanguageModel, bias: torch.Tensor | None) -> None:
    torch.manual_seed(0)
    head = Head(torch.randn(50, 32), bias=bias, scale=0.5)
    hidden = [torch.randn(4, 32) for _ in range(3)]
    for mixture in mixtures(tiny_model, head):
        states = hidden[: len(mixture.sources)]
        z = [head(h) for h in states]
        naive = z[0] + 2.5 * (z[1] - z[2]) if len(z) == 3 else z[0] + 2 * (z[0] - z[1])
        mixed = mixture.mixed_before_the_head(states)
        assert mixed is not None
        torch.testing.assert_close(mixed, naive, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(mixture.mix(z, torch.zeros(4, 0)), naive, rtol=1e-4, atol=1e-4)


def test_a_head_that_is_not_linear_or_not_shared_reads_each_source(tiny_model: LanguageModel) -> None:
    hidden = [torch.randn(4, 32)] * 3
    capped = Head(torch.randn(50, 32), softcap=5.0)
    shared = Source(tiny_model, tiny_model.head)
    other = Source(tiny_model, lambda states: tiny_model.head(states) + 1, prefix="a ")
    apart = [Mixture.weighted((shared, other), (2, -1)), Mixture((shared,)), *mixtures(tiny_model, capped)]
    apart.append(Mixture((shared, other), lambda logits, past_NH: logits[0]))
    assert [mixture.mixed_before_the_head(hidden[: len(mixture.sources)]) for mixture in apart] == [None] * 5


def test_a_weighted_sum_is_decoded_by_one_product_of_the_head(
    tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    logits = Head.logits

    def watched(self: Head, hidden: torch.Tensor, columns: slice = slice(None)) -> torch.Tensor:
        sizes.append(len(hidden))
        return logits(self, hidden, columns)

    monkeypatch.setattr(Head, "logits", watched)
    (mixture, _) = mixtures(tiny_model, tiny_model.head)
    decode(tiny_model, mixture, ["the film"], np.zeros(2, np.uint64), Greedy(max_new_tokens=3))
    assert sizes == [2] * 3
