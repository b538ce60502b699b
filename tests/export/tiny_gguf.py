"""Tiny models as GGUF files, written for llama.cpp with gguf-py alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
from torch import Tensor

from lmsteer.models.language_model import LanguageModel

Rewrite = Callable[[str, Tensor], Tensor]
OUTPUT, BUFFERS = "lm_head.weight", (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")


def write_base(path: Path, model: LanguageModel, *, own_words: bool = False) -> Path:
    """Write a model in float32; tied output embeddings are left out, as converters do.

    With ``own_words`` the file has the tokenizer of the model.
    """
    config = model.lm.config
    architecture, rewrite = ARCHITECTURES[config.model_type]
    writer = gguf.GGUFWriter(path, architecture)
    layers = config.num_hidden_layers
    for key, value in facts(config).items():
        getattr(writer, f"add_{key}")(value)
    if own_words:
        _add_own_words(writer, model.tokenizer, len(model.head.weight))
    else:
        _add_words(writer, len(model.head.weight))
    names = gguf.get_tensor_name_map(_architecture(architecture), layers)
    tied = model.lm.get_input_embeddings().weight is model.lm.get_output_embeddings().weight
    for name, tensor in model.lm.state_dict().items():
        if name.endswith(BUFFERS) or (tied and name == OUTPUT):
            continue
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert target, name
        writer.add_tensor(target, rewrite(config)(name, tensor.float()).contiguous().numpy())
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    return path


def facts(config: Any) -> dict[str, Any]:
    """Entries of the header by the writer's names for them."""
    heads, width = config.num_attention_heads, config.hidden_size
    key_heads = getattr(config, "num_key_value_heads", heads)
    head_width = getattr(config, "head_dim", None) or width // heads
    entries = {
        "context_length": config.max_position_embeddings,
        "embedding_length": width,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": getattr(config, "intermediate_size", None) or 4 * width,
        "head_count": heads,
        "head_count_kv": key_heads,
        "vocab_size": config.vocab_size,
    }
    if hasattr(config, "rms_norm_eps"):
        entries |= {"layer_norm_rms_eps": config.rms_norm_eps, "key_length": head_width, "value_length": head_width}
    else:
        entries["layer_norm_eps"] = getattr(config, "layer_norm_epsilon", None) or config.layer_norm_eps
    if config.model_type == "gpt_neox":
        entries |= {"parallel_residual": config.use_parallel_residual}
        head_width = int(head_width * config.rope_parameters["partial_rotary_factor"])
    if config.model_type != "gpt2":
        entries |= {"rope_dimension_count": head_width}
    if config.model_type in ("llama", "qwen3", "gpt_neox"):
        entries |= {"rope_freq_base": config.rope_parameters["rope_theta"]}
    if config.model_type == "gemma3_text":
        base = config.rope_parameters["sliding_attention"]["rope_theta"]
        entries |= {"rope_freq_base": base, "sliding_window": config.sliding_window}
        entries |= {"final_logit_softcapping": config.final_logit_softcapping}
    return entries


def _plain(config: Any) -> Rewrite:
    return lambda name, tensor: tensor


def _gpt2(config: Any) -> Rewrite:
    """Transpose what GPT-2 stores as (in, out)."""
    transposed = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    return lambda name, tensor: tensor.T if name.endswith(transposed) else tensor


def _llama(config: Any) -> Rewrite:
    """Interleave the halves of each head that rotate together, as llama.cpp's kernel for Llama expects them."""

    def rewrite(name: str, tensor: Tensor) -> Tensor:
        if not name.endswith(("q_proj.weight", "k_proj.weight")):
            return tensor
        heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
        halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, tensor.shape[1])
        return halves.swapaxes(1, 2).reshape(tensor.shape)

    return rewrite


def _gpt_neox(config: Any) -> Rewrite:
    """Sort rows by query, key and value, which GPT-NeoX sorts by head."""

    def rewrite(name: str, tensor: Tensor) -> Tensor:
        if "query_key_value" not in name:
            return tensor
        return tensor.unflatten(0, (config.num_attention_heads, 3, -1)).swapaxes(0, 1).reshape(tensor.shape)

    return rewrite


def _gemma(config: Any) -> Rewrite:
    return lambda name, tensor: tensor + 1 if name.endswith("norm.weight") else tensor


ARCHITECTURES: dict[str, tuple[str, Callable[[Any], Rewrite]]] = {
    "gpt2": ("gpt2", _gpt2),
    "gpt_neox": ("gptneox", _gpt_neox),
    "llama": ("llama", _llama),
    "qwen3": ("qwen3", _plain),
    "gemma3_text": ("gemma3", _gemma),
}


def _architecture(name: str) -> gguf.MODEL_ARCH:
    return next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == name)


def _add_words(writer: gguf.GGUFWriter, rows: int) -> None:
    """Write words that say their id, as prompts are given by ids, and pieces of characters would be held back."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"w{index}" for index in range(rows)])
    writer.add_token_types([gguf.TokenType.NORMAL] * rows)
    writer.add_token_merges(["w 1"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)


def _add_own_words(writer: gguf.GGUFWriter, tokenizer: Any, rows: int) -> None:
    """Write a byte-level BPE tokenizer, so that prompts are read from text; pieces of characters say their id."""
    vocabulary, special = tokenizer.get_vocab(), set(tokenizer.all_special_tokens)
    words = [
        f"w{index}" if "\ufffd" in tokenizer.decode([index]) else word
        for word, index in sorted(vocabulary.items(), key=lambda item: item[1])
    ]
    kinds = [gguf.TokenType.CONTROL if word in special else gguf.TokenType.NORMAL for word in words]
    pairs = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    padding = rows - len(words)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words + [f"[padding {index}]" for index in range(padding)])
    writer.add_token_types(kinds + [gguf.TokenType.UNUSED] * padding)
    writer.add_token_merges([" ".join(pair) for pair in pairs])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(False)
