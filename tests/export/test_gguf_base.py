"""A GGUF file is the model of a steer, quantized or not, or it is refused in one line."""

from pathlib import Path

import gguf
import pytest
import torch
from tests.export.tiny_gguf import write_base

from lmsteer.errors import InputError
from lmsteer.export.gguf_base import check_same_model, context_length, is_tied, read_gguf
from lmsteer.models.random_models import tiny


def write_gguf(path: Path, **tensors: tuple[torch.Tensor, gguf.GGMLQuantizationType]) -> Path:
    """A file of the tiny model's architecture with these tensors alone; dots are written as underscores."""
    writer = gguf.GGUFWriter(path, "llama")
    for name, (tensor, kind) in tensors.items():
        data = gguf.quants.quantize(tensor.numpy(), kind)
        writer.add_tensor(f"{name}.weight", data, raw_dtype=kind)
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    return path


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q5_1", "Q4_0"])
def test_the_same_embeddings_pass_in_every_precision_and_others_do_not(kind: str, tmp_path: Path) -> None:
    quantization = gguf.GGMLQuantizationType[kind]
    model, other = tiny(), tiny(seed=1)
    for name in ("token_embd", "output"):
        tensors = {"token_embd": (other.head.weight, quantization), name: (model.head.weight, quantization)}
        path = write_gguf(tmp_path / f"{name}.gguf", **tensors)
        assert is_tied(read_gguf(path)) == (name == "token_embd")
        check_same_model(read_gguf(path), path, model)
        with pytest.raises(InputError, match=r"its output embeddings are not those of the model tiny-1 \(cosine"):
            check_same_model(read_gguf(path), path, other)


def test_another_shape_or_architecture_is_refused(tmp_path: Path) -> None:
    path = write_base(tmp_path / "base.gguf", tiny())
    assert context_length(read_gguf(path)) == 128
    check_same_model(read_gguf(path), path, tiny())
    with pytest.raises(InputError, match="llama of width 32 with 384 words, but the model tiny-0 is llama of width 64"):
        check_same_model(read_gguf(path), path, tiny(width=64))
    model = tiny()
    model.lm.config.model_type = "qwen3"
    with pytest.raises(InputError, match="but the model tiny-0 is qwen3 of width 32"):
        check_same_model(read_gguf(path), path, model)


def test_an_adapter_and_one_part_of_a_model_are_no_base(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "adapter.gguf", other=(tiny().head.weight, gguf.GGMLQuantizationType.F32))
    with pytest.raises(InputError, match=r"a GGUF file without token_embd.weight"):
        read_gguf(path)
    writer = gguf.GGUFWriter(tmp_path / "part.gguf", "llama")
    writer.add_uint16("split.count", 3)
    writer.add_tensor("token_embd.weight", tiny().head.weight.numpy())
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    with pytest.raises(InputError, match="one of 3 parts; llama-gguf-split --merge"):
        read_gguf(tmp_path / "part.gguf")
