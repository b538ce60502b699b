"""Promises of quantized models: layers are those of transformers and bitsandbytes, the head is that of the model."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import ARCHITECTURES, build_lm
from tests.fitting import GradientFit
from tests.methods.conftest import METHODS
from tests.methods.conftest import fit as fit_method
from torch.testing._internal.two_tensor import TwoTensor
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

import lmsteer
from lmsteer.data.corpus import Corpus
from lmsteer.errors import InputError
from lmsteer.export.checkpoint import write_checkpoint
from lmsteer.methods.experts import WholeCopy
from lmsteer.models import quantization
from lmsteer.models.body_edit import edited, layer_names
from lmsteer.models.device_map import iterate_state
from lmsteer.models.device_options import Quantization
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.load import load_model
from lmsteer.models.quantization import is_quantized
from lmsteer.models.random_models import tiny
from lmsteer.one_pass.one_pass_solver import OnePassSolver
from lmsteer.records import Row
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.training.fit import fit

FIELDS: Mapping[str, dict[str, Any]] = {
    "4bit": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.float32},
    "8bit": {"load_in_8bit": True},
}
"""What the two choices are, in the words of transformers."""
IDS = torch.arange(1, 13).view(2, 6)
ROWS = tuple(
    Row(f"the story {n} is {tone}", label) for n in range(12) for tone, label in (("warm", 1.0), ("dull", -1.0))
)
CORPUS = Corpus("tones", ROWS[:18], ROWS[18:])
PROMPTS = ["the film is", "nobody came"]
load = partial(load_model, device="cpu", dtype="float32")


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every architecture in the hub's layout, in float32."""
    path = tmp_path_factory.mktemp(request.param)
    build_lm(request.param).save_pretrained(path)
    tiny().tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama")
    tiny().lm.save_pretrained(path)
    tiny().tokenizer.save_pretrained(path)
    return path


@pytest.fixture(params=list(FIELDS))
def quantized(request: pytest.FixtureRequest, llama: Path) -> LanguageModel:
    """A tiny Llama in 4 and 8 bits."""
    return load(str(llama), quantization=request.param)


def of_transformers(folder: Path, bits: str) -> PreTrainedModel:
    options: Any = {"quantization_config": BitsAndBytesConfig(**FIELDS[bits]), "device_map": {"": "cpu"}}
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)


@pytest.mark.parametrize("bits", list(FIELDS))
def test_hidden_states_are_those_of_transformers_and_the_head_is_not_quantized(
    bits: Quantization, folder: Path
) -> None:
    whole, model = load(str(folder)), load(str(folder), quantization=bits)
    expected = of_transformers(folder, str(bits))(input_ids=IDS, output_hidden_states=True)
    hidden = model.hidden(IDS)
    assert torch.allclose(hidden, expected.hidden_states[-1], atol=1e-4)
    assert not torch.allclose(hidden, whole.hidden(IDS), atol=1e-4)
    assert torch.equal(model.head.weight, whole.head.weight)
    assert model.head.fingerprint() == whole.head.fingerprint()
    assert (model.name, whole.name) == (f"{folder.name}-{bits}", folder.name)
    assert (is_quantized(model.lm), is_quantized(whole.lm)) == (True, False)


def test_steers_are_fitted_and_generate(quantized: LanguageModel) -> None:
    config = SteerConfig(name="tone", rank=2, epsilon=0.1)
    descent, _ = GradientFit(steps=4, batch_size=6, dev_every=2)(quantized, CORPUS, config)
    closed, _ = fit(quantized, CORPUS, config, OnePassSolver())
    decoding = lmsteer.Greedy(max_new_tokens=6)
    plain = lmsteer.generate(quantized, PROMPTS, decoding=decoding)
    for prompt, generation in zip(PROMPTS, plain, strict=True):
        ids = torch.tensor(quantized.tokenize([prompt]))
        output = quantized.lm.generate(ids, max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=0)
        assert generation.texts == (quantized.detokenize(output[0, ids.shape[1] :].tolist()),)
    for steer in (descent, closed):
        for size, is_plain in ((0.0, True), (500.0, False)):
            steered = lmsteer.generate(quantized, PROMPTS, steer=steer, strength={"tone": size}, decoding=decoding)
            assert ([one.texts for one in steered] == [one.texts for one in plain]) == is_plain


def test_gradients_pass_through_the_layers(quantized: LanguageModel, llama: Path) -> None:
    """They are those of the model with the numbers that its weights stand for; 8 bits round activations too."""
    bits = quantized.name.rpartition("-")[2]
    numbers: Any = of_transformers(llama, bits)
    numbers = numbers.dequantize(dtype=torch.float32)
    gradients = []
    for lm in (quantized.lm, numbers):
        vector_D = torch.zeros(quantized.width, requires_grad=True)
        with edited(lm, {layer_names(lm)[0]: lambda x, y, vector_D=vector_D: y + vector_D}):
            lm(input_ids=IDS, labels=IDS).loss.backward()
        assert vector_D.grad is not None
        gradients.append(vector_D.grad)
    assert torch.cosine_similarity(*gradients, dim=0) > (1 - 1e-6 if bits == "4bit" else 0.99)
    assert gradients[0].norm() == pytest.approx(gradients[1].norm().item(), rel=1e-4 if bits == "4bit" else 0.1)


@pytest.mark.parametrize("method", ["lora", "dexperts", "diffmean", "residual_vector", "logit_offset", "contrast"])
def test_other_methods_are_fitted_and_write(method: str, quantized: LanguageModel) -> None:
    fitted = fit_method(METHODS[method], quantized)
    decoding = lmsteer.Greedy(max_new_tokens=6)
    texts = [
        [one.texts for one in lmsteer.generate(quantized, PROMPTS, steer=fitted, strength=strength, decoding=decoding)]
        for strength in ({}, {"tone": 30.0})
    ]
    assert texts[0] != texts[1]


def test_the_fingerprint_is_that_of_the_quantized_weights_and_leaves_them_as_they_are(
    quantized: LanguageModel, llama: Path
) -> None:
    bits: Any = quantized.name.rpartition("-")[2]
    hidden, before = quantized.hidden(IDS), quantized.fingerprint()
    assert torch.equal(quantized.hidden(IDS), hidden), "reading the state changes no weights"
    assert load(str(llama), quantization=bits).fingerprint() == before
    assert len({before, load(str(llama)).fingerprint()}) == 2


@pytest.mark.parametrize("bits", list(FIELDS))
def test_a_folder_that_is_quantized_loads_as_it_is(bits: Any, llama: Path, tmp_path: Path) -> None:
    model = load(str(llama), quantization=bits)
    model.lm.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    stored = load(str(tmp_path), name="stored")
    assert stored.name == "stored"
    assert torch.equal(stored.hidden(IDS), model.hidden(IDS))
    message = rf"^model\.quantization=4bit: the files of {tmp_path} are quantized \(bitsandbytes\); leave it out$"
    with pytest.raises(InputError, match=message):
        load(str(tmp_path), quantization="4bit")


@pytest.mark.parametrize(("bits", "user"), [("4bit", r"model\.quantization=4bit"), (None, "model .*")])
def test_without_bitsandbytes_its_extra_is_named(
    bits: Any, user: str, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = llama
    if bits is None:
        model = load(str(llama), quantization="4bit")
        model.lm.save_pretrained(tmp_path)
        model.tokenizer.save_pretrained(tmp_path)
        folder = tmp_path
    monkeypatch.setattr(quantization, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=rf"^{user} needs bitsandbytes; pip install 'lmsteer\[quantized\]'$"):
        load(str(folder), quantization=bits)


def test_a_checkpoint_and_a_copy_of_the_weights_are_refused_in_one_line(
    quantized: LanguageModel, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"^model .*: its weights are quantized, and no checkpoint is written of them"):
        write_checkpoint(tmp_path / "out", quantized, quantized.head)
    assert not (tmp_path / "out").exists()
    with pytest.raises(
        InputError, match=r"^method\.form=full: the weights of .* are quantized; form=lora tunes adapters$"
    ):
        WholeCopy().check(quantized)


def test_a_quantized_head_is_refused(tmp_path: Path) -> None:
    build_lm("llama").save_pretrained(tmp_path)  # whose head is its own
    config: Any = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=[])
    lm = AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=config, device_map={"": "cpu"})
    with pytest.raises(InputError, match=r"its output embeddings are quantized, and a steer acts on their numbers"):
        LanguageModel(lm, tiny().tokenizer, name="x")


def test_weights_that_wrap_others_count_as_these() -> None:
    """As those of torchao do."""
    module = torch.nn.Linear(2, 2, bias=False)
    parts = torch.arange(4.0).view(2, 2), torch.ones(2, 2)
    module.weight = torch.nn.Parameter(TwoTensor(*parts), requires_grad=False)
    state = dict(iterate_state(module))
    assert {name: tensor.tolist() for name, tensor in state.items()} == {
        "weight.a": parts[0].tolist(),
        "weight.b": parts[1].tolist(),
    }
    assert is_quantized(module)
