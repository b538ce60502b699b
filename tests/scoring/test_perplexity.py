"""Promises of conditional perplexity, on every architecture; the oracle scores one text at a time."""

import functools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tokenizers import processors

from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.scoring.perplexity import continuation_nll

PROMPTS = ["The film is", "This is not the worst", "I", "", "Where were you on the night of the storm"]
CONTINUATIONS = [
    " dull, slow and far too long.",
    " thing",
    " would like to know why ünïcode 日本 came",
    "The film",
    " ?",
]


def one_by_one(model: LanguageModel, prompt: str, continuation: str) -> tuple[float, int]:
    """Full logits of a text alone; a token counts if what is decoded up to it is longer than the prompt."""
    ids = model.tokenizer(prompt + continuation)["input_ids"]
    decoded = [model.tokenizer.decode(ids[: end + 1]) for end in range(len(ids))]
    start = next(index for index, text in enumerate(decoded) if len(text) > len(prompt))
    if start == 0:
        ids, start = [model.tokenizer.bos_token_id, *ids], 1
    with torch.no_grad():
        logits = model.lm(input_ids=torch.tensor([ids])).logits[0].float()
    nats = F.cross_entropy(logits[start - 1 : -1], torch.tensor(ids[start:]), reduction="sum")
    return nats.item(), len(ids) - start


def several_to_a_prompt() -> tuple[list[str], list[str]]:
    """Every prompt with several continuations, not side by side; some make one token of the joint, some none."""
    behind = [*CONTINUATIONS, "", "lm", "m", "is as long as it is dull, and a good deal longer than the others are"]
    pairs = [(prompt, text) for text in behind[::-1] for prompt in [*PROMPTS, "A fi", "fi"] if text]
    return [prompt for prompt, _ in pairs], [text for _, text in pairs]


@pytest.mark.parametrize("tokens", [1, 200, None])
def test_batched_nats_equal_full_logits_one_text_at_a_time(model: LanguageModel, tokens: int | None) -> None:
    prompts, continuations = several_to_a_prompt()
    expected = [one_by_one(model, *pair) for pair in zip(prompts, continuations, strict=True)]
    nats, numbers = continuation_nll(model, prompts, continuations, tokens=tokens)
    assert numbers.tolist() == [n for _, n in expected]
    torch.testing.assert_close(nats, torch.tensor([value for value, _ in expected]), rtol=1e-4, atol=1e-4)


def passes_of(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What goes through the model, pass by pass; filled while it is used."""
    passes: list[dict[str, Any]] = []
    forward = model.lm.base_model.forward

    @functools.wraps(forward)
    def watched(**inputs: Any) -> Any:
        passes.append(inputs)
        return forward(**inputs)

    monkeypatch.setattr(model.lm.base_model, "forward", watched)
    return passes


def test_a_prompt_is_read_once_for_its_continuations_and_no_last_token_at_all(
    tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt, texts = "The film is", [" warm", " dull and slow", " good"]
    before, *after = (len(tiny_model.tokenizer(text)["input_ids"]) for text in (prompt, *texts))
    passes = passes_of(tiny_model, monkeypatch)
    _, numbers = continuation_nll(tiny_model, [prompt] * 3, texts)
    assert numbers.tolist() == after
    assert [item["input_ids"].shape for item in passes] == [(1, before), (3, max(after) - 1)]
    passes.clear()
    continuation_nll(tiny_model, [prompt], texts[:1])
    assert [item["input_ids"].shape for item in passes] == [(1, before + after[0] - 1)]


def test_a_recurrent_judge_reads_whole_texts_without_a_cache(
    tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts, continuations = several_to_a_prompt()
    expected = continuation_nll(tiny_model, prompts, continuations)
    monkeypatch.setattr(type(tiny_model.lm), "_is_stateful", True)
    passes = passes_of(tiny_model, monkeypatch)
    torch.testing.assert_close(continuation_nll(tiny_model, prompts, continuations), expected)
    assert sum(len(item["input_ids"]) for item in passes) == len(prompts)
    assert not any(item["use_cache"] for item in passes)


def test_long_prompts_and_long_continuations_never_meet_beyond_the_context(model: LanguageModel) -> None:
    prompts = ["?" * 120, "?" * 120, "??", "??"]
    continuations = ["!?", "!!?", "!?" * 60, "!!" * 60]
    expected = [one_by_one(model, *pair)[0] for pair in zip(prompts, continuations, strict=True)]
    nats, _ = continuation_nll(model, prompts, continuations)
    torch.testing.assert_close(nats, torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_a_tokenizers_own_bos_conditions_but_never_counts(tiny_model: LanguageModel) -> None:
    with_bos = tiny()
    end = with_bos.tokenizer.bos_token
    with_bos.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{end} $A", special_tokens=[(end, with_bos.tokenizer.bos_token_id)]
    )
    assert with_bos.tokenizer("film")["input_ids"][0] == with_bos.tokenizer.bos_token_id
    for prompt in ("", "The film"):
        ours, plain = (continuation_nll(m, [prompt], [" is warm"]) for m in (with_bos, tiny_model))
        assert torch.equal(ours[1], plain[1])
        assert torch.allclose(ours[0], plain[0], atol=1e-4) is (prompt == "")


def test_nothing_to_score_gives_empty_tensors(tiny_model: LanguageModel) -> None:
    nats, tokens = continuation_nll(tiny_model, [], [])
    assert nats.shape == tokens.shape == (0,)


def test_a_text_beyond_the_context_is_refused_by_name_and_one_that_fills_it_is_not(tiny_model: LanguageModel) -> None:
    (unit,) = tiny_model.tokenizer(["?"])["input_ids"]
    assert len(unit) == 1
    _, tokens = continuation_nll(tiny_model, ["?"], ["?" * 127])
    assert tokens.tolist() == [127]
    for prompt, continuation in (("?", "?" * 128), ("", "?" * 128)):
        with pytest.raises(InputError, match=r"text '\?\?.* has 129 tokens; .* at most 128"):
            continuation_nll(tiny_model, ["I", prompt], [" would", continuation])
