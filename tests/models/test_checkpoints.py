"""Promises of checkpoints that lack weights: a model is steered as it was trained, or not at all."""

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.conftest import ARCHITECTURES
from transformers import AutoModelForCausalLM, PreTrainedModel

from lmsteer.errors import InputError
from lmsteer.models.load import load_model
from lmsteer.models.random_models import tiny

EMBEDDING, NORM = "model.embed_tokens.weight", "model.norm.weight"


def checkpoint(
    folder: Path, *, tied: bool, without: tuple[str, ...] = (), renamed: dict[str, str] | None = None
) -> str:
    """A small Llama in the hub's layout, some of whose tensors are missing or have the name of another."""
    config = type(ARCHITECTURES["llama"])(**ARCHITECTURES["llama"].to_dict() | {"tie_word_embeddings": tied})
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tiny().tokenizer.save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    assert set(without) <= set(tensors)
    kept = {(renamed or {}).get(name, name): tensor for name, tensor in tensors.items() if name not in without}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


@pytest.mark.parametrize(
    ("tied", "without", "message"),
    [
        (False, ("lm_head.weight",), r"lack lm_head\.weight, so it is no trained LlamaForCausalLM"),
        (False, (EMBEDDING, NORM), r"lack model\.embed_tokens\.weight, model\.norm\.weight, so"),
        (True, (EMBEDDING,), r"lack .*model\.embed_tokens\.weight"),
        (
            True,
            tuple(
                f"model.layers.{layer}.{norm}.weight" for layer in (0, 1) for norm in ("input_layernorm", "mlp.up_proj")
            ),
            r"lack model\.layers\.0\.[^,]*, [^,]*, [^,]* and 1 more, so",
        ),
    ],
)
def test_a_checkpoint_that_lacks_weights_is_refused_by_their_names(
    tmp_path: Path, tied: bool, without: tuple[str, ...], message: str
) -> None:
    folder = checkpoint(tmp_path, tied=tied, without=without)
    with pytest.raises(InputError, match=message) as refusal:
        load_model(folder, device="cpu", dtype="float32")
    assert "\n" not in str(refusal.value)


def test_what_is_refused_is_said_once(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, tied=False, without=("lm_head.weight",))
    logger, records = logging.getLogger("transformers"), list[logging.LogRecord]()
    handler = logging.Handler()
    handler.emit = records.append
    logger.addHandler(handler)
    try:
        with pytest.raises(InputError):
            load_model(folder, device="cpu", dtype="float32")
        assert not records
        AutoModelForCausalLM.from_pretrained(folder)
        assert len(records) == 1, "transformers reports to others as before"
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize("renamed", [{}, {EMBEDDING: "lm_head.weight"}])
def test_a_tied_weight_is_needed_under_one_name_only(tmp_path: Path, renamed: dict[str, str]) -> None:
    folder = checkpoint(tmp_path, tied=True, renamed=renamed)
    stored = load_file(tmp_path / "model.safetensors")
    assert len({EMBEDDING, "lm_head.weight"} & stored.keys()) == 1
    model = load_model(folder, device="cpu", dtype="float32")
    assert torch.equal(model.head.weight, stored[renamed.get(EMBEDDING, EMBEDDING)])


def test_a_buffer_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoint(tmp_path, tied=True)
    original = PreTrainedModel.post_init

    def with_buffer(self: PreTrainedModel) -> None:
        self.register_buffer("computed", torch.zeros(1))
        original(self)

    monkeypatch.setattr(PreTrainedModel, "post_init", with_buffer)
    assert "computed" in load_model(folder, device="cpu", dtype="float32").lm.state_dict()
