"""Promises that every method of the tables keeps, on every architecture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.methods.conftest import METHODS, fit
from torch import Tensor

from lmsteer.data.corpus import Corpus
from lmsteer.data.datamodule import SteerDataModule
from lmsteer.data.text_datamodule import TextDataModule
from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError
from lmsteer.evaluation.divergence import DivergenceMeter
from lmsteer.generation.decoding import decode
from lmsteer.generation.generator import Generator
from lmsteer.generation.sampling import Greedy, Nucleus
from lmsteer.methods.learned_method import FittedMethod
from lmsteer.methods.method_file import METHODS as CLASSES
from lmsteer.methods.method_file import load_controller, save_method
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Mixture
from lmsteer.one_pass.one_pass_solver import OnePassSolver
from lmsteer.records import Prompt, Row
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer_config import SteerConfig

TEXTS = ["The film is", "people who learn to live with what they", "and"]
PROMPTS = [Prompt(str(number), text) for number, text in enumerate(TEXTS)]
STRENGTHS = (2.0, -1.0)


def naive_logits(mixture: Mixture, model: LanguageModel, prompt: str, continuation: Sequence[int]) -> Tensor:
    """The mixed logits (V,) after a text, each source reading all of it again, without a cache."""
    logits, bare = [], [*mixture_free_ids(model, prompt), *continuation]
    for source in mixture.sources:
        ids = [*source.encode(prompt, 1), *continuation]
        with source.editing():
            hidden = source.model.lm.base_model(input_ids=torch.tensor([ids])).last_hidden_state[:, -1]
        logits.append(source.readout(hidden))
    past = ([-1] * mixture.history + bare)[len(bare) :]
    return mixture.mix(logits, torch.tensor([past], dtype=torch.long).reshape(1, mixture.history))[0]


def mixture_free_ids(model: LanguageModel, prompt: str) -> list[int]:
    return model.tokenize([prompt])[0] or [model.first_token()]


def naive_greedy(mixture: Mixture, model: LanguageModel, prompt: str, tokens: int) -> list[int]:
    written: list[int] = []
    barred = torch.tensor([0, *range(384, len(model.head.weight))])
    with torch.inference_mode():
        for _ in range(tokens):
            logits = naive_logits(mixture, model, prompt, written)
            written.append(int(logits.index_fill(0, barred, -torch.inf).argmax()))
    return written


@pytest.mark.parametrize("strength", STRENGTHS)
def test_texts_are_those_of_a_loop_that_reads_everything_again(
    fitted: FittedMethod, model: LanguageModel, strength: float
) -> None:
    mixture = fitted.at(model, {"tone": strength})
    ours = decode(model, mixture, TEXTS, np.zeros(3, np.uint64), Greedy(max_new_tokens=6)).ids_BT
    assert ours.tolist() == [naive_greedy(mixture, model, text, 6) for text in TEXTS]


def test_strength_0_writes_what_the_plain_model_writes(fitted: FittedMethod, model: LanguageModel) -> None:
    generator = Generator(model, PROMPTS, decoding=Nucleus(max_new_tokens=6), samples=3)
    plain, unsteered, steered = (
        [generation.texts for batch in generator.run([{"tone": value}], controller) for generation in batch]
        for value, controller in ((0.0, None), (0.0, fitted), (3.0, fitted))
    )
    assert plain == unsteered
    assert plain != steered


def test_the_model_is_plain_again_after_writing(fitted: FittedMethod, model: LanguageModel) -> None:
    ids = torch.tensor([[5, 17, 3]])
    before = model.lm(input_ids=ids).logits
    decode(model, fitted.at(model, {"tone": 2.0}), TEXTS, np.zeros(3, np.uint64), Greedy(max_new_tokens=2))
    assert torch.equal(model.lm(input_ids=ids).logits, before)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_the_divergence_is_that_of_a_plain_loop(fitted: FittedMethod, model: LanguageModel, strength: float) -> None:
    generator = Generator(model, PROMPTS, decoding=Nucleus(max_new_tokens=4), samples=2)
    plain = [generation for batch in generator.run([{}]) for generation in batch]
    mixture = fitted.at(model, {"tone": strength})
    ours = DivergenceMeter(model, plain, Nucleus()).nats(mixture)
    pairs = [(generation.prompt.text, text) for generation in plain for text in generation.texts]
    naive = [kl for prompt, text in pairs for kl in naive_kl(mixture, model, prompt, text)]
    torch.testing.assert_close(ours.sort().values, torch.tensor(naive).double().sort().values, rtol=1e-3, atol=1e-5)
    assert ours.mean() > 0


def naive_kl(mixture: Mixture, model: LanguageModel, prompt: str, text: str) -> list[float]:
    before, ids = mixture_free_ids(model, prompt), model.tokenize([prompt + text])[0]
    if ids[: len(before)] != before:
        pytest.skip("a text of this model is read as other tokens than it was written")
    nats = []
    with torch.inference_mode():
        for end in range(len(before), len(ids)):
            mixed = naive_logits(mixture, model, prompt, ids[len(before) : end])[:384].log_softmax(-1)
            plain = naive_logits(Mixture.plain(model), model, prompt, ids[len(before) : end])[:384].log_softmax(-1)
            nats.append(float((mixed.exp() * (mixed - plain)).sum()))
    return nats


def test_a_file_read_back_controls_as_before(fitted: FittedMethod, model: LanguageModel, tmp_path: Path) -> None:
    path = tmp_path / "method.safetensors"
    save_method(path, fitted, Provenance(model=model.name, fingerprint=model.head.fingerprint()))
    read, provenance = load_controller(path, model)
    assert provenance.model == model.name
    mixtures = [controller.at(model, {"tone": 1.5}) for controller in (fitted, read)]
    logits = [naive_logits(mixture, model, TEXTS[0], []) for mixture in mixtures]
    assert torch.equal(*logits)
    save_method(tmp_path / "again.safetensors", read, provenance)  # type: ignore[arg-type]
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_every_class_of_the_library_is_tested() -> None:
    tested = {f"{type(method).__module__}.{type(method).__name__}" for method in METHODS.values()}
    assert tested == set(CLASSES.values())
    assert {method.name for method in METHODS.values()} == set(CLASSES)


@pytest.mark.parametrize("name", ["blacklist", "lora", "dexperts", "diffmean", "residual_vector"])
def test_a_corpus_without_one_of_the_classes_is_refused(tiny_model: LanguageModel, name: str) -> None:
    with pytest.raises(InputError, match=f"method={METHODS[name].name}: 2 train rows with a label above 0 and 0 below"):
        fit(METHODS[name], tiny_model, Corpus("one", train=(Row("a warm film", 1.0), Row("a funny film", 0.5))))


@pytest.mark.parametrize("name", list(METHODS))
def test_another_solver_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"method={METHODS[name].name} with another solver than gradient"):
        METHODS[name].check(SteerConfig(name="tone"), OnePassSolver())


def test_an_unknown_strength_is_refused(tiny_model: LanguageModel) -> None:
    fitted = fit(METHODS["prompt"], tiny_model)
    with pytest.raises(InputError, match=r"strength joy=1\.0: the prompt is of tone"):
        fitted.at(tiny_model, {"joy": 1.0})
    with pytest.raises(InputError, match="strength tone=nan: a finite float32 number expected"):
        fitted.at(tiny_model, {"tone": float("nan")})


def test_the_rows_of_an_expert_are_those_of_its_class_in_the_steers_batches(tiny_model: LanguageModel) -> None:
    corpus = Corpus("tones", train=tuple(Row(f"text {n} of it", 1.0 if n % 3 else -1.0) for n in range(9)))
    data = SteerDataModule(corpus, tiny_model, dimensions=1, batch_size=4)
    texts = TextDataModule(data, lambda row: row.label < 0)
    for t in range(5):
        expected = [row.text for row in data.rows(t) if row.label < 0]
        batch = texts.batch(data.rows(t))
        ends = zip(batch.ids_BT, batch.lengths_B, batch.targets_N.split(batch.lengths_B.tolist()), strict=True)
        read = [[*ids[:length].tolist(), int(targets[-1])] for ids, length, targets in ends]
        assert [tiny_model.tokenizer.decode(ids) for ids in read] == expected
        assert len(batch.targets_N) == batch.lengths_B.sum()


def test_a_process_without_dev_rows_of_a_class_joins_the_validation(tiny_model: LanguageModel) -> None:
    rows = tuple(Row(f"text {n} of it", 1.0 if n % 2 else -1.0) for n in range(8))
    corpus, lengths = Corpus("tones", train=rows[2:], dev=rows[:2]), []
    for rank in range(2):
        group = ProcessGroup(rank=rank, size=2)
        data = SteerDataModule(corpus, tiny_model, dimensions=1, batch_size=4, process_group=group)
        (batch,) = TextDataModule(data, lambda row: row.label < 0).val_dataloader()
        lengths.append(batch.lengths_B.tolist())
        assert len(batch.targets_N) == batch.lengths_B.sum()
    (expected,) = tiny_model.tokenize([rows[0].text])
    assert lengths == [[len(expected) - 1], []]
