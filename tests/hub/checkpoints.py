"""The hub's models as this project names them, with real ids, classes and files, and tiny random weights."""

import io
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tests.hub.repository import Repository
from tests.hub.tokenizer_files import TOKENS, Files, as_json, byte_level
from transformers import (
    AutoModelForCausalLM,
    CTRLConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPTJConfig,
    GPTNeoConfig,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3Config,
)
from transformers.utils import logging as transformers_logging

IDS = {"bos_token_id": 0, "eos_token_id": 0}
PLACEHOLDER = b"weights of another framework, which nobody here should download\n" * 40
OTHER_FRAMEWORKS = dict.fromkeys(("tf_model.h5", "flax_model.msgpack", "rust_model.ot"), PLACEHOLDER)
TERMS = ("LICENSE.txt", "USE_POLICY.md")


def _gpt2(width: int, layers: int) -> GPT2Config:
    return GPT2Config(vocab_size=TOKENS, n_embd=width, n_layer=layers, n_head=4, n_positions=1024, **IDS)


def _llama_sizes(width: int = 32) -> dict[str, Any]:
    return {
        "vocab_size": TOKENS,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
        **IDS,
    }


def _random(config: PreTrainedConfig, build: Any, dtype: torch.dtype, seed: int) -> PreTrainedModel:
    """Build a model whose weights are large enough to tell its outputs apart."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = build(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.15)
    return torch.nn.Module.to(model, dtype)


def weights(
    config: PreTrainedConfig,
    *,
    build: Any = AutoModelForCausalLM.from_config,
    formats: tuple[str, ...] = ("safetensors",),
    dtype: torch.dtype = torch.float32,
    shard: str = "1GB",
    seed: int = 0,
) -> Files:
    """Return the files of a random model: configuration and weights as safetensors, as a pickle, or both.

    Args:
        shard: Largest size of a safetensors file.
    """
    transformers_logging.disable_progress_bar()
    model = _random(config, build, dtype, seed)
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder, max_shard_size=shard)
        files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    if "bin" in formats:
        pickled = io.BytesIO()
        torch.save(model.state_dict(), pickled)
        files["pytorch_model.bin"] = pickled.getvalue()
    if "safetensors" not in formats:
        files = {name: content for name, content in files.items() if "safetensors" not in name}
    return files


def _model(id: str, files: Mapping[str, bytes], **options: Any) -> Repository:
    card = f"---\nlicense: other\n---\n# {id}\n\nA stand-in with random weights.\n".encode()
    return Repository.of(id, {".gitattributes": b"* text=auto\n", "README.md": card, **files}, **options)


def _gpt2_repository(id: str, width: int, layers: int, **options: Any) -> Repository:
    files = weights(_gpt2(width, layers), formats=("safetensors", "bin"), seed=width)
    return _model(id, {**OTHER_FRAMEWORKS, **files, **byte_level("GPT2Tokenizer", model_max_length=1024)}, **options)


def gpt2_models() -> list[Repository]:
    """Return GPT-2 in its four sizes, with weights of all frameworks."""
    return [
        _gpt2_repository("openai-community/gpt2", 32, 2, former=("gpt2",)),
        _gpt2_repository("openai-community/gpt2-medium", 40, 2, former=("gpt2-medium",)),
        _gpt2_repository("openai-community/gpt2-large", 48, 3, former=("gpt2-large",)),
        _gpt2_repository("openai-community/gpt2-xl", 64, 3, former=("gpt2-xl",)),
    ]


def _eleuther_models() -> list[Repository]:
    neo_x = dict(
        vocab_size=TOKENS + 48, intermediate_size=64, num_attention_heads=4, max_position_embeddings=1024, **IDS
    )
    neo = GPTNeoConfig(
        vocab_size=TOKENS,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=64,
        max_position_embeddings=1024,
        **IDS,
    )
    pythia = byte_level("GPTNeoXTokenizer", bpe_files=False)
    both = ("safetensors", "bin")
    large = GPTNeoXConfig(hidden_size=48, num_hidden_layers=2, **neo_x)
    small = GPTNeoXConfig(hidden_size=32, num_hidden_layers=2, **neo_x)
    gpt_j = GPTJConfig(vocab_size=TOKENS + 48, n_embd=32, n_layer=2, n_head=4, n_positions=1024, rotary_dim=8, **IDS)
    other = dict.fromkeys(("tf_model.h5", "flax_model.msgpack"), PLACEHOLDER)
    return [
        _model("EleutherAI/pythia-410m", {**weights(small, formats=both, dtype=torch.float16), **pythia}),
        _model("EleutherAI/pythia-1b", {**weights(large, formats=both, dtype=torch.float16), **pythia}),
        _model(
            "EleutherAI/gpt-neo-1.3B", {**OTHER_FRAMEWORKS, **weights(neo, formats=both), **byte_level("GPT2Tokenizer")}
        ),
        _model("EleutherAI/gpt-j-6b", {**other, **weights(gpt_j, formats=("bin",)), **byte_level("GPT2Tokenizer")}),
    ]


def _later_models() -> list[Repository]:
    bf16 = torch.bfloat16
    qwen = Qwen3Config(**{**_llama_sizes(), "vocab_size": TOKENS + 88}, head_dim=8)
    gemma = Gemma3TextConfig(**_llama_sizes(), head_dim=8, sliding_window=64, pad_token_id=0)
    llama = {"original/consolidated.00.pth": PLACEHOLDER, "original/params.json": b"{}"}
    terms = dict.fromkeys(TERMS, b"Terms that somebody has to accept.\n")
    fast = byte_level("PreTrainedTokenizerFast", bpe_files=False)
    return [
        _model("Qwen/Qwen3-0.6B", {**weights(qwen, dtype=bf16), **byte_level("Qwen2Tokenizer")}),
        _model(
            "meta-llama/Llama-3.2-1B",
            {**terms, **llama, **weights(LlamaConfig(**_llama_sizes(48)), dtype=bf16), **fast},
            access="gated",
        ),
        _model("google/gemma-3-270m", {**weights(gemma, dtype=bf16), **fast}, access="gated"),
        _model("HuggingFaceTB/SmolLM2-135M", {**weights(LlamaConfig(**_llama_sizes())), **byte_level("GPT2Tokenizer")}),
    ]


def unusual_models() -> list[Repository]:
    """Return models under made-up ids, each with the oddity that its name says; most have the weights of GPT-2."""
    gpt2, tokenizer = _gpt2(32, 2), byte_level("GPT2Tokenizer")
    large = GPT2Config(vocab_size=TOKENS, n_embd=32, n_layer=1, n_head=4, n_positions=100_000, **IDS)
    ctrl = CTRLConfig(vocab_size=TOKENS, n_embd=32, n_layer=2, n_head=4, dff=64, n_positions=1024)
    word_files = {"vocab.json": as_json({"<unk>": 0, "the</w>": 1}), "merges.txt": b"#version: 0.2\nt h\nth e</w>\n"}
    only_python = {**word_files, "tokenizer_config.json": as_json({"tokenizer_class": "CTRLTokenizer"})}
    return [
        _model("tester/sharded", {**weights(gpt2, seed=32, shard="60KB"), **tokenizer}),
        _model("tester/pickled", {**weights(gpt2, seed=32, formats=("bin",)), **tokenizer}),
        _model("tester/no-tokenizer-json", {**weights(gpt2, seed=32), **byte_level("GPT2Tokenizer", json_file=False)}),
        _model("tester/python-tokenizer", {**weights(ctrl), **only_python}),
        _model("tester/no-weights", {"config.json": as_json(gpt2.to_diff_dict()), **tokenizer}),
        _model("tester/large", {**weights(large), **tokenizer}),
        _model("tester/private", {**weights(gpt2, seed=32), **tokenizer}, access="private"),
    ]


def language_models() -> list[Repository]:
    """Return the language models that ``conf/model`` and ``conf/protocol`` name."""
    return [*gpt2_models(), *_eleuther_models(), *_later_models()]
