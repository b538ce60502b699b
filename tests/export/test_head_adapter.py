"""An exported adapter is the steer: stock PEFT reads it on every architecture, and gguf-py the file for llama.cpp."""

import copy
import json
from pathlib import Path

import pytest
import torch
from gguf import GGUFReader
from peft import PeftModel
from peft.helpers import rescale_adapter_scale
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from lmsteer.errors import InputError
from lmsteer.export.head_adapter import HeadAdapter, refuse_constant, write_gguf_adapter, write_peft_adapter
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.steering.logit_truncation import truncate_logits
from lmsteer.steering.steer import Steer

IDS = torch.tensor([[5, 17, 3, 260, 99], [7, 7, 301, 12, 1]])
MASK = torch.ones_like(IDS)
KINDS = ("low rank", "full", "truncated", "with a constant", "constant alone")


def make(kind: str, model: LanguageModel) -> Steer:
    options = {"rank": "full" if kind in ("full", "truncated") else 0 if kind == "constant alone" else 4}
    steer = Steer(
        32, dimensions=["tone", "dummy"], epsilon=0.1, init_std=0.3, seed=1, bias="constant" in kind, **options
    )
    if steer.bias is not None:
        torch.nn.init.normal_(steer.bias)
    return truncate_logits(steer, model.head, 5)[0] if kind == "truncated" else steer


@torch.no_grad()
def logits(lm: PreTrainedModel | PeftModel) -> Tensor:
    return lm(input_ids=IDS, attention_mask=MASK).logits.float()


def write(folder: Path, model: LanguageModel, steer: Steer, name: str, strength: float = 1.0) -> Path:
    adapter = HeadAdapter.of(model, steer, steer.dimensions.index(name))
    write_peft_adapter(folder / name, model, adapter, strength=strength)
    return folder / name


def by_peft(model: LanguageModel, folder: Path, name: str) -> PeftModel:
    """What stock PEFT makes of a copy of the model, as its own loading would unshare nothing."""
    return PeftModel.from_pretrained(copy.deepcopy(model.lm), str(folder), adapter_name=name).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_stock_peft_computes_the_steered_logits(model: LanguageModel, kind: str, tmp_path: Path) -> None:
    steer = make(kind, model)
    loaded = by_peft(model, write(tmp_path, model, steer, "tone", 3.0), "tone")
    with steer.apply(model, {"tone": 3.0}) as lm:
        steered = logits(lm)
    torch.testing.assert_close(logits(loaded), steered, rtol=0, atol=1e-4)
    assert (steered - logits(model.lm)).abs().max() > 0.1


def test_two_dimensions_add_and_the_strength_is_set_at_run_time(model: LanguageModel, tmp_path: Path) -> None:
    steer = make("low rank", model)
    loaded = by_peft(model, write(tmp_path, model, steer, "tone"), "tone")
    loaded.load_adapter(str(write(tmp_path, model, steer, "dummy", 0.5)), "dummy")
    with rescale_adapter_scale(loaded, -2.0), steer.apply(model, {"tone": -2.0}) as lm:
        torch.testing.assert_close(logits(loaded), logits(lm), rtol=0, atol=1e-4)
    loaded.base_model.set_adapter(["tone", "dummy"])
    with steer.apply(model, {"tone": 1.0, "dummy": 0.5}) as lm:
        torch.testing.assert_close(logits(loaded), logits(lm), rtol=0, atol=1e-4)


def test_greedy_texts_of_stock_peft_are_those_of_the_steered_model(
    model: LanguageModel, steer: Steer, tmp_path: Path
) -> None:
    barred = list(range(model.head.vocabulary, len(model.head.weight))) or None
    options = {"attention_mask": MASK, "max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    loaded = by_peft(model, write(tmp_path, model, steer, "sentiment", 3.0), "sentiment")
    with steer.apply(model, 3.0) as lm:
        expected = lm.generate(IDS, suppress_tokens=barred, **options)
    assert torch.equal(loaded.generate(input_ids=IDS, suppress_tokens=barred, **options), expected)


def test_the_files_are_those_of_peft_with_the_models_precision(steer: Steer, tmp_path: Path) -> None:
    model = tiny(dtype="bfloat16")
    adapter = HeadAdapter.of(model, steer, 0)
    write_peft_adapter(tmp_path / "a", model, adapter, strength=-2.5, base_model="org/name")
    config = json.loads((tmp_path / "a/adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"], config["lora_alpha"]) == ("org/name", 4, -10.0)
    assert config["target_modules"] == ["lm_head"]
    tensors = load_file(tmp_path / "a/adapter_model.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {
        "base_model.model.lm_head.lora_A.weight": (4, 32),
        "base_model.model.lm_head.lora_B.weight": (384, 4),
    }
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}


def test_a_gguf_file_is_a_lora_of_the_output_by_its_own_library(steer: Steer, tmp_path: Path) -> None:
    model = tiny()
    write_gguf_adapter(tmp_path / "a.gguf", model, HeadAdapter.of(model, steer, 0), strength=-2.0, name="sentiment")
    reader = GGUFReader(tmp_path / "a.gguf")
    facts = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert facts == {
        "general.architecture": "llama",
        "general.type": "adapter",
        "general.name": "sentiment",
        "adapter.type": "lora",
        "adapter.lora.alpha": -8.0,
    }
    tensors = {tensor.name: torch.tensor(tensor.data) for tensor in reader.tensors}
    change = tensors["output.weight.lora_b"] @ tensors["output.weight.lora_a"]
    expected = steer.epsilon * model.head.weight @ steer.matrix(0).detach().T
    torch.testing.assert_close(change, expected, rtol=0, atol=1e-5)


def test_what_llama_cpp_cannot_take_is_refused(steer: Steer, tmp_path: Path) -> None:
    model = tiny()
    model.lm.config.model_type = "gptj"
    with pytest.raises(InputError, match=r"tiny-0 \(gptj\): not an architecture of llama.cpp; form=adapter"):
        write_gguf_adapter(tmp_path / "a", model, HeadAdapter.of(model, steer, 0), strength=1.0, name="a")
    assert not list(tmp_path.iterdir())
    constant = make("with a constant", model)
    with pytest.raises(InputError, match="dimension dummy has a constant part"):
        refuse_constant(constant, {"dummy": 1.0})
    refuse_constant(steer, {"dummy": 1.0})
