"""Promises of the tokens of a text: the same whatever a tokenizer appends, and each with an embedding."""

from collections.abc import Callable

import pytest
import torch
from tokenizers import processors
from transformers import AddedToken

from lmsteer.data.features import FeatureExtractor
from lmsteer.errors import InputError
from lmsteer.export.checkpoint import next_tokens
from lmsteer.generation.generator import Generator, generate
from lmsteer.generation.sampling import Nucleus
from lmsteer.models import language_model
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.records import Prompt, Row
from lmsteer.reference.padded_batches import PaddedExtractor
from lmsteer.scoring.perplexity import continuation_nll
from lmsteer.transfer.aligned_states import align_states

END = "<|endoftext|>"
TEXTS = [
    "The film is a warm and funny story about people",
    "This is",
    "",
    "a",
    f"an end in the text {END} and at its end{END}",
    "we were on the night of the storm and nobody came " * 3,
]
PROCESSORS: dict[str, tuple[Callable[[], object], Callable[[], object] | None]] = {
    "one": (lambda: template("$A END"), None),
    "two": (lambda: template("$A END END"), None),
    "around": (lambda: template("END $A END"), lambda: template("END $A")),
    "bert": (lambda: processors.BertProcessing((END, 0), (END, 0)), lambda: template("END $A")),
    "roberta": (
        lambda: processors.RobertaProcessing((END, 0), (END, 0), trim_offsets=False),
        lambda: template("END $A"),
    ),
    "sequence": (lambda: processors.Sequence([processors.ByteLevel(trim_offsets=False), template("$A END")]), None),
}
"""Post-processors that append something, and one that puts the same before a text but appends nothing."""


def template(pieces: str) -> object:
    return processors.TemplateProcessing(single=pieces.replace("END", END), special_tokens=[(END, 0)])


def with_processor(processor: Callable[[], object] | None) -> LanguageModel:
    model = tiny()
    if processor:
        model.tokenizer.backend_tokenizer.post_processor = processor()
    return model


@pytest.fixture(params=list(PROCESSORS))
def pair(request: pytest.FixtureRequest) -> tuple[LanguageModel, LanguageModel]:
    """One model with two tokenizers, of which the first one appends tokens."""
    appending, plain = (with_processor(processor) for processor in PROCESSORS[request.param])
    text, plain_text = (model.tokenizer("film")["input_ids"] for model in (appending, plain))
    assert text[: len(plain_text)] == plain_text, "the case needs the same tokens up to those appended"
    assert len(text) > len(plain_text)
    return appending, plain


def test_texts_have_the_tokens_that_they_have_without_those_appended(pair: tuple[LanguageModel, LanguageModel]) -> None:
    appending, plain = pair
    rows = [plain.tokenizer(text, return_offsets_mapping=True) for text in TEXTS]
    expected = [row["input_ids"] for row in rows], [row["offset_mapping"] for row in rows]
    for model in pair:
        assert model.tokenize_with_offsets(TEXTS) == expected
        assert model.tokenize(TEXTS) == expected[0]
    assert expected[0][4][-1] == 0, "an end that is written in the text is text"
    assert appending.tokenize([]) == []


@pytest.mark.parametrize("max_length", [2, 5, 256])
def test_training_targets_are_those_of_the_text_alone(
    pair: tuple[LanguageModel, LanguageModel], max_length: int
) -> None:
    features, expected = (FeatureExtractor(model, max_length=max_length)(TEXTS) for model in pair)
    assert torch.equal(features.lengths, expected.lengths)
    assert torch.equal(features.targets_N, expected.targets_N)
    assert torch.equal(features.hidden_ND, expected.hidden_ND)


def test_a_prompt_is_continued_where_its_text_ends(pair: tuple[LanguageModel, LanguageModel]) -> None:
    prompts = [Prompt(str(number), text) for number, text in enumerate(TEXTS[:4])]
    options = {"decoding": Nucleus(max_new_tokens=6), "samples": 4, "likelihoods": True}
    ours, expected = (
        [generation for batch in Generator(model, prompts, **options).run([{}]) for generation in batch]
        for model in pair
    )
    assert [(g.prompt, g.texts, g.likelihoods) for g in ours] == [(g.prompt, g.texts, g.likelihoods) for g in expected]
    assert any(likelihood for generation in ours for likelihood in generation.likelihoods), "texts are read as written"


def test_nothing_else_reads_what_is_appended(pair: tuple[LanguageModel, LanguageModel]) -> None:
    nats, expected = (continuation_nll(model, ["The film", ""], [" is warm", "we were"]) for model in pair)
    assert torch.equal(nats[0], expected[0])
    assert torch.equal(nats[1], expected[1])
    tokens, expected_tokens = (next_tokens(model, model.head, "The film is") for model in pair)
    assert tokens == expected_tokens
    other = tiny(seed=1)
    aligned, expected_aligned = (align_states(model, other, [Row(text, 0.0) for text in TEXTS]) for model in pair)
    assert torch.equal(aligned.source_ND, expected_aligned.source_ND)
    assert torch.equal(aligned.target_NE, expected_aligned.target_NE)


def test_features_stored_with_appended_tokens_are_not_those_without(monkeypatch: pytest.MonkeyPatch) -> None:
    now = with_processor(lambda: template("$A END")).fingerprint()
    monkeypatch.setattr(language_model, "_appended", lambda tokenizer: 0)  # what is appended counts as text
    assert with_processor(lambda: template("$A END")).fingerprint() != now


@pytest.fixture
def padded() -> LanguageModel:
    """A model whose tokenizer has two tokens more than there are embeddings."""
    model = tiny()
    model.tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    model.tokenizer.add_tokens([AddedToken("[NEW]")])
    assert model.tokenizer("[PAD][NEW]")["input_ids"] == [384, 385]
    return LanguageModel(model.lm, model.tokenizer, name="padded")


@pytest.mark.parametrize("text", ["This is the [PAD] one", "It ends with [PAD]", "[PAD]"])
def test_a_token_without_an_embedding_is_refused_by_text_and_name(padded: LanguageModel, text: str) -> None:
    message = r"text '.*\[PAD\].*: it has the token '\[PAD\]' \(id 384\), but model padded has .* below 384"
    for use in (
        lambda: generate(padded, ["This is", text]),
        lambda: FeatureExtractor(padded)(["This is", text]),
        lambda: FeatureExtractor(padded, max_length=10)(["This is", text]),
        lambda: continuation_nll(padded, ["a", "so "], [" text", text]),
        lambda: next_tokens(padded, padded.head, text),
    ):
        with pytest.raises(InputError, match=message):
            use()
    with pytest.raises(InputError, match=r"'\[NEW\]' \(id 385\)"):
        generate(padded, ["[PAD] and [NEW]"])


def test_a_token_without_an_embedding_is_never_used_where_no_text_has_it(padded: LanguageModel) -> None:
    plain, texts = tiny(), ["This is", "The film is a warm and funny story", ""]
    ours, expected = (
        [g.texts for g in generate(model, texts, samples=3, decoding=Nucleus(p=1.0))] for model in (padded, plain)
    )
    assert ours == expected
    features, plain_features = (FeatureExtractor(model)(texts) for model in (padded, plain))
    assert torch.equal(features.hidden_ND, plain_features.hidden_ND)
    padded.tokenizer.bos_token = "[PAD]"
    assert [g.texts for g in generate(padded, texts, samples=3, decoding=Nucleus(p=1.0))] == expected
    padded.tokenizer.eos_token = "[PAD]"
    with pytest.raises(InputError, match="model padded has neither BOS nor EOS"):
        generate(padded, [""])
    with pytest.raises(InputError, match="no end-of-sequence token with an embedding"):
        PaddedExtractor(FeatureExtractor(padded))
