"""Promises of generation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AddedToken

from lmsteer.errors import InputError
from lmsteer.generation.decoding import decode
from lmsteer.generation.generator import Generator, generate
from lmsteer.generation.sampling import Greedy, Nucleus
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.memory import cache_bytes
from lmsteer.models.mixture import Mixture
from lmsteer.models.random_models import tiny
from lmsteer.records import Prompt, read_generations
from lmsteer.scoring.perplexity import continuation_nll
from lmsteer.steering.steer import Steer
from lmsteer.storage.atomic_files import batch_folder

TEXTS = ["The film is", "This is not the worst thing that", "I would", "people who learn to live with what they", "and"]
PROMPTS = [Prompt(f"id-{number}", text) for number, text in enumerate(TEXTS)]
STRENGTHS: list[dict[str, float]] = [{}, {"sentiment": -3.0}, {"sentiment": 3.0, "dummy": 1.0}]
SETTINGS = [(strength, "") for strength in STRENGTHS]


def generator(model: LanguageModel, **options: object) -> Generator:
    chosen = {"decoding": Nucleus(max_new_tokens=6), "samples": 3, "batch_size": 6, "prompts_name": "test"} | options
    return Generator(model, PROMPTS, **chosen)  # type: ignore[arg-type]


def test_greedy_decoding_equals_generate_of_transformers(model: LanguageModel) -> None:
    encoded = model.tokenize(TEXTS[:3])
    assert len({len(ids) for ids in encoded}) > 1, "the case needs prompts of several lengths"
    barred = [0, *range(384, model.head.weight.shape[0])]
    expected = [
        model.lm.generate(
            torch.tensor([ids]), max_new_tokens=12, min_new_tokens=12, do_sample=False, suppress_tokens=barred
        )[0, len(ids) :]
        for ids in encoded
    ]
    ours = decode(model, Mixture.plain(model), TEXTS[:3], np.zeros(3, np.uint64), Greedy(max_new_tokens=12)).ids_BT
    assert torch.equal(ours, torch.stack(expected))


def test_samples_of_one_prompt_share_its_cache_and_equal_separate_prompts(model: LanguageModel) -> None:
    keys = np.arange(4, dtype=np.uint64)
    decoding, plain, (one, other) = Nucleus(max_new_tokens=8), Mixture.plain(model), TEXTS[:2]
    shared = decode(model, plain, [one, other], keys, decoding).ids_BT
    repeated = decode(model, plain, [one, one, other, other], keys, decoding).ids_BT
    assert torch.equal(shared, repeated)


def test_exactly_so_many_tokens_none_of_them_special_or_padding(model: LanguageModel) -> None:
    written = decode(model, Mixture.plain(model), ["and"], np.arange(200, dtype=np.uint64), Nucleus(p=1.0)).ids_BT
    assert written.shape == (200, 20)
    assert written.min() > 0
    assert written.max() < 384


def test_reserved_tokens_are_never_written(tiny_model: LanguageModel) -> None:
    tokenizer = tiny().tokenizer
    reserved = list(range(1, 380))
    tokens = [AddedToken(text, special=True) for text in tokenizer.convert_ids_to_tokens(reserved)]
    tokenizer.add_tokens(tokens, special_tokens=True)
    assert not set(reserved) & set(tokenizer.all_special_ids), "the case needs tokens that this list lacks"
    model = LanguageModel(tiny_model.lm, tokenizer, name="reserved")
    written = decode(model, Mixture.plain(model), [""], np.arange(50, dtype=np.uint64), Nucleus(p=1.0)).ids_BT
    assert written.min() >= 380


def test_plain_generations_are_those_of_zero_strength(tiny_model: LanguageModel, steer: Steer) -> None:
    texts = [
        [g.texts for batch in generator(tiny_model).run([strength], steer) for g in batch]
        for strength in ({}, {"sentiment": 0.0})
    ]
    assert texts[0] == texts[1]


def test_a_strength_for_each_prompt_equals_one_strength_at_a_time(model: LanguageModel, steer: Steer) -> None:
    strengths = [{"sentiment": value, "dummy": 1.0} for value in (-3.0, 0.0, 2.0, 3.0, 3.0)]
    mixed = {g.prompt.id: g for batch in generator(model).run_rows(strengths, steer) for g in batch}
    for prompt, strength in zip(PROMPTS, strengths, strict=True):
        alone = [g for batch in generator(model).run([strength], steer) for g in batch if g.prompt == prompt]
        assert mixed[prompt.id] == alone[0]


def test_as_many_strengths_as_prompts_are_needed(tiny_model: LanguageModel, steer: Steer) -> None:
    with pytest.raises(InputError, match="1 strengths for 5 prompts; one for each expected"):
        next(generator(tiny_model).run_rows([{}], steer))
    with pytest.raises(InputError, match="a strength for each prompt needs a steer"):
        generate(tiny_model, TEXTS, strength=[{}] * 5)


def test_decoding_leaves_the_models_attention_as_it_was(tiny_model: LanguageModel) -> None:
    before = tiny_model.lm.config._attn_implementation
    decode(tiny_model, Mixture.plain(tiny_model), ["and"], np.zeros(1, np.uint64), Greedy(max_new_tokens=2))
    assert tiny_model.lm.config._attn_implementation == before == "sdpa"


def test_likelihoods_are_those_of_the_unsteered_model_reading_the_text(
    tmp_path: Path, model: LanguageModel, steer: Steer
) -> None:
    generator(model, likelihoods=True, samples=30).write(tmp_path / "g.jsonl", SETTINGS, steer)
    written = read_generations(tmp_path / "g.jsonl")
    assert {g.perplexity_model for g in written} == {model.fingerprint()}
    known = [(g.prompt.text, *pair) for g in written for pair in zip(g.texts, g.likelihoods, strict=True) if pair[1]]
    assert len(known) > 5, "the case needs texts that are read as they were written"
    nats, tokens = continuation_nll(model, [prompt for prompt, _, _ in known], [text for _, text, _ in known])
    torch.testing.assert_close(torch.tensor([likelihood.nll for *_, likelihood in known]), nats, rtol=1e-4, atol=1e-3)
    assert [likelihood.tokens for *_, likelihood in known] == tokens.tolist()


def test_noise_follows_the_prompt_and_seed_not_the_order(tiny_model: LanguageModel) -> None:
    one = {g.prompt.id: g.texts for batch in generator(tiny_model).run([{}]) for g in batch}
    backwards = Generator(tiny_model, PROMPTS[::-1], decoding=Nucleus(max_new_tokens=6), samples=3, batch_size=3)
    other = {g.prompt.id: g.texts for batch in backwards.run([{}]) for g in batch}
    assert one == other
    third = {g.prompt.id: g.texts for batch in generator(tiny_model, seed=1).run([{}]) for g in batch}
    assert one != third
    assert len({text for texts in one.values() for text in texts}) > 10


def test_the_file_is_in_the_given_order_and_in_dexperts_format(
    tmp_path: Path, tiny_model: LanguageModel, steer: Steer
) -> None:
    generator(tiny_model).write(tmp_path / "g.jsonl", SETTINGS, steer)
    lines = [json.loads(line) for line in (tmp_path / "g.jsonl").read_text().splitlines()]
    assert [(line["id"], line["strength"]) for line in lines] == [(p.id, s) for s in STRENGTHS for p in PROMPTS]
    assert all(set(line) == {"id", "prompts", "prompt", "strength", "generations"} for line in lines)
    assert all(len(line["generations"]) == 3 and set(line["generations"][0]) == {"text"} for line in lines)
    assert [g.to_json() for g in read_generations(tmp_path / "g.jsonl")] == [
        json.dumps(line, ensure_ascii=False) for line in lines
    ]


@pytest.mark.parametrize("stop", [0, 1, 4, 8])
def test_an_interrupted_run_resumes_and_ends_with_the_same_file(
    tmp_path: Path, tiny_model: LanguageModel, steer: Steer, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator(tiny_model).write(tmp_path / "whole.jsonl", SETTINGS, steer)
    calls, original = 0, Generator.batch

    def counted(self: Generator, *args: object) -> object:
        nonlocal calls
        if calls == stop:
            raise KeyboardInterrupt
        calls += 1
        return original(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Generator, "batch", counted)
    with pytest.raises(KeyboardInterrupt):
        generator(tiny_model).write(tmp_path / "broken.jsonl", SETTINGS, steer)
    assert not (tmp_path / "broken.jsonl").exists()
    files = sorted(batch_folder(tmp_path / "broken.jsonl").glob("*"))
    assert len(files) == stop
    for file in files[:1]:
        file.write_bytes(file.read_bytes()[:-7])  # damaged since: generated again
    calls, stop = 0, 999
    generator(tiny_model).write(tmp_path / "broken.jsonl", SETTINGS, steer)
    assert calls == 9 - len(files[1:])
    assert (tmp_path / "broken.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.jsonl", "whole.jsonl"]


def test_the_continuation_stands_behind_the_prompt_with_its_space(tiny_model: LanguageModel) -> None:
    ids = tiny_model.tokenizer("The film is warm and")["input_ids"]
    assert (
        generator(tiny_model)._text(ids[:3], ids[3:])
        == tiny_model.tokenizer.decode(ids)[len(tiny_model.tokenizer.decode(ids[:3])) :]
    )


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([], {}, "one or more prompts"),
        ([Prompt("a", "x"), Prompt("a", "y")], {}, "distinct ids"),
        ([Prompt("a", "film " * 200)], {}, "exceeds the context of tiny-0, 128"),
        (PROMPTS, {"samples": 0}, "samples=0"),
        (PROMPTS, {"batch_size": 0}, "batch_size=0"),
    ],
)
def test_impossible_requests_are_refused(
    tiny_model: LanguageModel, prompts: list[Prompt], options: dict[str, int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Generator(tiny_model, prompts, decoding=Nucleus(), **options)  # type: ignore[arg-type]


def test_batches_beyond_memory_are_refused_before_anything_is_generated(
    tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [Prompt(str(n), "a film") for n in range(100)]
    size = cache_bytes(tiny_model.lm.config, torch.float32) * (len(tiny_model.tokenize(["a film"])[0]) + 20)
    size += 4 * len(tiny_model.head.weight)
    monkeypatch.setattr("lmsteer.models.memory.free_memory", lambda _: 60 * size)
    Generator(tiny_model, prompts, decoding=Greedy(max_new_tokens=20), samples=1, batch_size=60)
    message = r"batch_size=1000000000: 100 sequences decoded together take .* are free on cpu; batch_size=60 may do"
    with pytest.raises(InputError, match=message):
        Generator(tiny_model, prompts, decoding=Greedy(max_new_tokens=20), samples=1, batch_size=10**9)


def test_a_strength_beyond_all_numbers_is_refused(tiny_model: LanguageModel, steer: Steer) -> None:
    with pytest.raises(InputError, match=r"strength sentiment=1e\+300: a finite float32 number expected"):
        list(generator(tiny_model).run([{"sentiment": 1e300}], steer))
    with torch.no_grad():
        steer.p1.mul_(1e12)
    with pytest.raises(InputError, match="logits are not finite at token 1; take a strength nearer to 0"):
        list(generator(tiny_model).run([{"sentiment": 1e38}], steer))


def test_a_recurrent_model_is_refused(tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(tiny_model.lm), "_is_stateful", True)
    with pytest.raises(InputError, match="recurrent model"):
        generator(tiny_model)


def test_a_strength_without_a_steer_is_refused_before_anything_is_written(
    tmp_path: Path, tiny_model: LanguageModel, steer: Steer
) -> None:
    with pytest.raises(InputError, match="there is no steer"):
        generator(tiny_model).write(tmp_path / "g.jsonl", [({"sentiment": 5.0}, "")])
    with pytest.raises(InputError, match="dimensions are sentiment, dummy"):
        generator(tiny_model).write(tmp_path / "g.jsonl", [({"joy": 5.0}, "")], steer)
    assert list(tmp_path.iterdir()) == []
