"""Each method against an independent version: another library, or a plain loop."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from peft import PeftModel
from tests.methods.conftest import CORPUS, METHODS, PREFIXES, fit, solver
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from lmsteer.data.datamodule import SteerDataModule
from lmsteer.generation.decoding import decode
from lmsteer.generation.sampling import Greedy
from lmsteer.methods.blacklist import sequence_bias, spellings, telling_words
from lmsteer.methods.experts import A, B
from lmsteer.methods.learned_method import FittedMethod
from lmsteer.methods.lm_steer import ConstantVector
from lmsteer.methods.lora import DExperts, Lora
from lmsteer.models.body_edit import layer_names
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Row
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.training.offset_module import OFFSET, OffsetModule
from lmsteer.training.weights import Weights

TEXT, TOKENS = "The film is", 10


def ours(fitted: FittedMethod, model: LanguageModel, strength: float) -> list[int]:
    mixture = fitted.at(model, {"tone": strength})
    written = decode(model, mixture, [TEXT], np.zeros(1, np.uint64), Greedy(max_new_tokens=TOKENS)).ids_BT
    ids: list[int] = written[0].tolist()
    return ids


def theirs(lm: PreTrainedModel, model: LanguageModel, **options: object) -> list[int]:
    (prompt,) = model.tokenize([TEXT])
    barred = [0, *range(384, len(model.head.weight))]
    length = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False}
    output = lm.generate(torch.tensor([prompt]), suppress_tokens=barred, **length, **options)
    ids: list[int] = output[0, len(prompt) :].tolist()
    return ids


@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_contrast_is_the_guidance_of_transformers_at_scale_1_plus_strength(
    model: LanguageModel, strength: float
) -> None:
    opposite = torch.tensor(model.tokenize([PREFIXES["negative"] + TEXT]))
    expected = theirs(model.lm, model, guidance_scale=1 + strength, negative_prompt_ids=opposite)
    assert ours(fit(METHODS["contrast"], model), model, strength) == expected


def test_prompt_at_strength_1_is_the_prompted_model(model: LanguageModel) -> None:
    prompted = model.lm.generate(
        torch.tensor(model.tokenize([PREFIXES["positive"] + TEXT])),
        max_new_tokens=TOKENS,
        min_new_tokens=TOKENS,
        do_sample=False,
        suppress_tokens=[0, *range(384, len(model.head.weight))],
    )
    assert ours(fit(METHODS["prompt"], model), model, 1.0) == prompted[0, -TOKENS:].tolist()


@pytest.mark.parametrize("strength", [1.5, -4.0])
def test_blacklist_is_the_sequence_bias_of_transformers(model: LanguageModel, strength: float) -> None:
    fitted = fit(METHODS["blacklist"], model)
    words = fitted.learned.values[f"words of {'negative' if strength > 0 else 'positive'} rows"]
    bias = {ids: -abs(strength) for ids in spellings(model, words)}
    assert {len(ids) for ids in bias} > {1}, "the case needs words of one token and of several"
    assert ours(fitted, model, strength) == theirs(model.lm, model, sequence_bias=bias)


def test_biases_of_words_that_end_in_one_token_add_up() -> None:
    plain, past = torch.zeros(4, 6), torch.tensor([[3, 2], [0, 2], [-1, 2], [2, 3]])
    mix = sequence_bias([(1,), (2, 1), (3, 2, 1), (4,)], -1.0, 6, plain.device)
    expected = [[0, ones, 0, 0, -1, 0] for ones in (-3, -2, -2, -1)]
    assert mix([plain], past).tolist() == expected
    assert not plain.any()
    single = sequence_bias([(1,), (4,)], -1.0, 6, plain.device)
    assert single([plain], past[:, :0]).tolist() == [[0, -1, 0, 0, -1, 0]] * 4


def test_the_words_of_a_blacklist_are_those_of_one_class() -> None:
    bad = [Row(f"a dull {noun} of no use", -1.0) for noun in ("film", "story", "night")]
    good = [Row(f"a fine {noun} of great use", 1.0) for noun in ("film", "story", "night")]
    assert telling_words(bad, good, number=5, min_count=2) == ["dull", "no"]
    assert telling_words(good, bad, number=1, min_count=2) == ["fine"]


def merged(lm: PreTrainedModel, fitted: FittedMethod, side: str, scale: float) -> PreTrainedModel:
    """A copy of the model with an adapter added to its weights, by the formula."""
    copied = copy.deepcopy(lm)
    method = fitted.method
    assert isinstance(method, Lora | DExperts)
    tensors = {k.removeprefix(f"{side}."): x for k, x in fitted.learned.tensors.items() if k.startswith(side)}
    if getattr(method, "form", None) == "full":
        assert not copied.load_state_dict(tensors, strict=False).unexpected_keys
        return copied
    with torch.no_grad():
        for name in {key.removesuffix(A).removesuffix(B) for key in tensors}:
            module, delta = copied.get_submodule(name), tensors[name + B] @ tensors[name + A]
            assert isinstance(module, nn.Linear | Conv1D)
            module.weight += (delta.T if isinstance(module, Conv1D) else delta) * scale * method.alpha / method.rank
    return copied


@pytest.mark.parametrize(("strength", "side"), [(1.0, "positive"), (0.5, "positive"), (-1.5, "negative")])
def test_lora_is_the_model_with_the_adapter_in_its_weights(model: LanguageModel, strength: float, side: str) -> None:
    fitted = fit(METHODS["lora"], model)
    assert ours(fitted, model, strength) == theirs(merged(model.lm, fitted, side, abs(strength)), model)


def test_peft_loads_and_merges_the_adapter(model: LanguageModel, tmp_path: Path) -> None:
    data = SteerDataModule(CORPUS, model, dimensions=1, batch_size=6)
    fitted, _ = METHODS["lora"].fit(data, SteerConfig(name="tone"), solver(4), folder=tmp_path / "checkpoints")
    assert isinstance(fitted, FittedMethod)
    for side, strength in (("positive", 1.0), ("negative", -1.0)):
        stock = PeftModel.from_pretrained(copy.deepcopy(model.lm), tmp_path / "adapters" / side).merge_and_unload()
        assert ours(fitted, model, strength) == theirs(stock, model)


@pytest.mark.parametrize("strength", [1.0, -2.0])
@pytest.mark.parametrize("name", ["dexperts", "anti_only", "whole_copies"])
def test_dexperts_are_three_models_without_a_cache(model: LanguageModel, name: str, strength: float) -> None:
    fitted = fit(METHODS[name], model)
    sides = ("positive", "negative") if strength > 0 else ("negative", "positive")
    wanted, unwanted = (merged(model.lm, fitted, side, 1.0) for side in sides)
    wanted = model.lm if name == "anti_only" else wanted
    (ids,) = model.tokenize([TEXT])
    written: list[int] = []
    for _ in range(TOKENS):
        read = torch.tensor([[*ids, *written]])
        z, z_wanted, z_unwanted = (
            lm(input_ids=read, use_cache=False).logits[0, -1] for lm in (model.lm, wanted, unwanted)
        )
        mixed = z + abs(strength) * (z_wanted - z_unwanted)
        mixed[[0, *range(384, len(mixed))]] = -torch.inf
        written.append(int(mixed.argmax()))
    assert ours(fitted, model, strength) == written


def test_a_constant_vector_is_added_before_the_head_with_the_epsilon_of_the_method(model: LanguageModel) -> None:
    data = SteerDataModule(CORPUS, model, dimensions=1, batch_size=6)
    steer, _ = ConstantVector(epsilon=0.25).fit(data, SteerConfig(name="tone", dummy=False), solver(4))
    assert isinstance(steer, Steer)
    assert steer.bias is not None
    (prompt,) = model.tokenize([TEXT])
    hidden = model.body(input_ids=torch.tensor([prompt])).last_hidden_state[0]
    (source,) = steer.at(model, {"tone": -3.0}).sources
    expected = model.head(hidden - 3 * 0.25 * steer.bias.detach())
    torch.testing.assert_close(source.readout(hidden), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["diffmean", "residual_vector"])
def test_a_vector_at_a_layer_is_a_hook_written_by_hand(model: LanguageModel, name: str) -> None:
    fitted = fit(METHODS[name], model)
    vector = fitted.learned.tensors["vector"]
    layer = model.lm.get_submodule(layer_names(model.lm)[fitted.learned.values["layer"]])

    def add(module: nn.Module, inputs: object, output: object) -> object:
        return (output[0] - 3 * vector, *output[1:]) if isinstance(output, tuple) else output - 3 * vector  # type: ignore[operator]

    handle = layer.register_forward_hook(add)
    expected = theirs(model.lm, model)
    handle.remove()
    assert ours(fitted, model, -3.0) == expected
    assert expected != theirs(model.lm, model), "the case needs a vector that is felt"


def test_diffmean_is_the_difference_of_means_over_all_tokens(tiny_model: LanguageModel) -> None:
    fitted = fit(METHODS["diffmean"], tiny_model)
    layer = fitted.learned.values["layer"]
    data = SteerDataModule(CORPUS, tiny_model, dimensions=1, batch_size=6)
    rows = list(dict.fromkeys(row for t in range(4) for row in data.rows(t)))
    states: dict[bool, list[Tensor]] = {True: [], False: []}
    for row in rows:
        ids = torch.tensor(tiny_model.tokenize([row.text]))[:, :-1]
        hidden = tiny_model.lm(input_ids=ids, output_hidden_states=True).hidden_states
        assert layer + 1 < len(hidden) - 1, "the last hidden states are after the norm"
        states[row.label > 0].append(hidden[layer + 1][0])
    difference = torch.cat(states[True]).mean(0) - torch.cat(states[False]).mean(0)
    unit = difference / difference.norm()
    largest = max((torch.cat(part) @ unit).abs().max() for part in states.values())
    torch.testing.assert_close(fitted.learned.tensors["vector"], unit * largest, rtol=1e-4, atol=1e-5)


def test_the_loss_of_an_offset_is_that_of_shifted_logits(model: LanguageModel) -> None:
    data = SteerDataModule(CORPUS, model, dimensions=2, batch_size=6)
    batch, weights = data.batch(CORPUS.train), Weights({OFFSET: torch.randn(2, model.head.vocabulary)})
    module = OffsetModule(weights, model.head, epsilon=0.3)
    logits = model.head(batch.hidden_ND)[:, : model.head.vocabulary]
    shifted = logits + 0.3 * batch.strength_NK @ weights.tensors()[OFFSET]
    torch.testing.assert_close(module.nll(batch), F.cross_entropy(shifted, batch.targets_N, reduction="none"))


@pytest.mark.parametrize("name", ["logit_offset", "lora", "dexperts", "residual_vector"])
def test_training_lowers_the_loss(tiny_model: LanguageModel, name: str) -> None:
    values = fit(METHODS[name], tiny_model, steps=20, batch_size=len(CORPUS.train)).learned.training
    for curve in values.get("curves", {"both": values.get("curve")}).values():
        assert curve["train"][-1][1] < curve["train"][0][1] - 0.01
