"""Ask llama.cpp for the log-probabilities of the first token, at a scale of each request."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import xllamacpp

from lmsteer.export.gguf_base import copy_with_output, read_tied_gguf

LISTED = 100
"""Likeliest tokens that an engine is asked for."""
Logprobs = dict[int, float]
"""Log-probability by token id, for the likeliest tokens at least."""
Engine = list[list[Logprobs]]
"""By strength and prompt."""


def llama_cpp_engines(
    base: Path, adapter: Path, folder: Path, prompts: Sequence[list[int]], strengths: Sequence[float]
) -> dict[str, Engine]:
    """Ask for all strengths and prompts, on a base with tied embeddings as it is and on its numbers in float32.

    Args:
        adapter: Adapter of strength 1 at scale 1.
        folder: Folder for copies of the base that have output embeddings.
    """
    quantized, exact = folder / "untied.gguf", folder / "float32.gguf"
    copy_with_output(read_tied_gguf(base), quantized)
    write_float32(quantized, exact)
    kind = next(t.tensor_type.name for t in gguf.GGUFReader(quantized).tensors if t.name.endswith("ffn_up.weight"))
    return {
        f"llama.cpp, adapter, {name}": ask(model, adapter, prompts, strengths)
        for name, model in (("float32", exact), (kind, quantized))
    }


def write_float32(source: Path, target: Path) -> None:
    """Copy a GGUF model with all its numbers in float32."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name not in ("general.architecture", "general.file_type"):
            subtype = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=subtype)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type))
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()


def ask(model: Path, adapter: Path, prompts: Sequence[list[int]], strengths: Sequence[float]) -> Engine:
    """Ask a server of this process."""
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_ctx, params.n_parallel, params.port, params.verbosity = 512, 1, 0, 0
    lora = xllamacpp.CommonAdapterLoraInfo()
    lora.path, lora.scale = str(adapter), 0.0
    params.lora_adapters = [lora]
    server = xllamacpp.Server(params)

    def first_token(ids: list[int], strength: float) -> Logprobs:
        request: dict[str, Any] = {"prompt": ids, "n_predict": 1, "n_probs": LISTED, "temperature": 0}
        answer = server.handle_completions(request | {"lora": [{"id": 0, "scale": strength}], "cache_prompt": False})
        tokens = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        return {token["id"]: token["logprob"] for token in tokens}

    return [[first_token(ids, strength) for ids in prompts] for strength in strengths]
