"""Where language models come from: the hub, a local folder, the embedded cache, or a seed."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from tokenizers import ByteLevelBPETokenizer
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from lmsteer.data.embedded import smollm2_folder
from lmsteer.data.gemma import gemma_folder
from lmsteer.errors import InputError
from lmsteer.memory import check_weights, weight_bytes
from lmsteer.steering.model import (
    AUTOMATIC,
    Device,
    DeviceMap,
    Dtype,
    LanguageModel,
    resolve_device,
    resolve_dtype,
    resolve_map,
)
from lmsteer.steering.placement import torn


def load_model(
    id: str,
    *,
    revision: str | None = None,
    name: str | None = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    device_map: DeviceMap = None,
    max_memory: dict[int | str, int | str] | None = None,
) -> LanguageModel:
    """Load any causal LM of transformers.

    Args:
        id: Hub id (``ORG/NAME``) or local folder in the hub's layout.
        revision: Branch, tag or commit on the hub.
        name: What to call it; by default the id, or the folder's own name.
        device_map: How a model that no single device holds is spread over GPUs, main memory and disk, as transformers
            has it: "auto", or the place of each module. What stays on disk is read from the model's own files.
        max_memory: Of a map that is made by itself, such as "auto": what it may use of each place, such as "20GiB".

    Raises:
        InputError: If the model is unknown, the hub is out of reach, or it is not a causal LM; if the map does not fit
            model or machine, or a device is named beside it.
    """
    if id.startswith(("/", ".", "~")) and not Path(id).expanduser().is_dir():
        raise InputError(f"model {id}: no such folder; a hub id (ORG/NAME) or a folder in the hub's layout is expected")
    where = resolve_device(device) if device_map is None else resolve_map(device_map, device)
    precision = resolve_dtype(dtype, where)
    placing = {} if device_map is None else {"device_map": device_map, "max_memory": max_memory}
    transformers_logging.disable_progress_bar()
    place = str(Path(id).expanduser()) if id.startswith("~") else id
    if max_memory is not None and device_map not in AUTOMATIC:
        raise InputError(f"model.max_memory={max_memory}: only for a map that is made by itself; model.device_map=auto")
    try:
        config = AutoConfig.from_pretrained(place, revision=revision)
        needed = weight_bytes(config, precision) if device_map is None else 0
        check_weights(needed, precision, where, name=name or id)
        tokenizer = AutoTokenizer.from_pretrained(place, revision=revision)
        lm = AutoModelForCausalLM.from_pretrained(place, revision=revision, dtype=precision, **placing)
    except InputError:
        raise
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"model {id}: cannot be loaded ({reason}); allowed are a hub id that can be reached or is in the hub's "
            "cache, a local folder (model=hf model.id=FOLDER), or model=smollm2, which needs no hub"
        ) from error
    if pair := torn(lm):
        raise InputError(f"model.device_map: {' and '.join(pair)} are one tensor; one place for both expected")
    called = name or (Path(place).name if Path(place).is_dir() else id)
    return LanguageModel(lm, tokenizer, name=called, device=where if device_map is None else None)


def smollm2(*, device: Device = "auto", dtype: Dtype = "auto") -> LanguageModel:
    """SmolLM2-135M-Instruct of the embedded stack: no hub, no account.

    Raises:
        InputError: If the embedded stack has not been fetched.
    """
    return load_model(str(smollm2_folder()), name="smollm2", device=device, dtype=dtype)


def gemma_3_270m(*, device: Device = "auto", dtype: Dtype = "auto") -> LanguageModel:
    """Gemma 3 270M without the hub: opt-in, since it has terms of its own.

    Raises:
        InputError: If it has not been fetched.
    """
    return load_model(str(gemma_folder()), name="gemma-3-270m-embedded", device=device, dtype=dtype)


def tiny(*, seed: int = 0, width: int = 32, device: Device = "cpu", dtype: Dtype = "float32") -> LanguageModel:
    """A random two-layer Llama with a byte-level vocabulary of 384, built from ``seed`` alone; for tests."""
    tokenizer = _tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    return _random(LlamaForCausalLM, config, tokenizer, name=f"tiny-{seed}", seed=seed, device=device, dtype=dtype)


def gpt2_shaped(
    *,
    width: int = 1280,
    layers: int = 36,
    heads: int = 20,
    vocabulary: int = 50257,
    seed: int = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> LanguageModel:
    """A GPT-2 with random weights, built from ``seed``: as fast as a real one, where there is no hub to fetch it from.

    The defaults are the sizes of GPT2-large. The tokenizer is the embedded model's, with 49,152 tokens; rows of the
    vocabulary beyond them stand for none.

    Raises:
        InputError: If the heads do not part the width, a size is too small, or the embedded stack has not been fetched.
    """
    if min(width, layers, heads) < 1 or width % heads:
        raise InputError(
            f"model: width {width}, {layers} layers, {heads} heads; a width that is a multiple of heads expected"
        )
    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder())
    if vocabulary < len(tokenizer):
        raise InputError(
            f"model.vocabulary={vocabulary}: {len(tokenizer)} or more expected, the tokenizer's number of tokens"
        )
    end = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=vocabulary, n_embd=width, n_layer=layers, n_head=heads, bos_token_id=end, eos_token_id=end
    )
    name = f"gpt2-shaped-{width}x{layers}"
    return _random(GPT2LMHeadModel, config, tokenizer, name=name, seed=seed, device=device, dtype=dtype)


def _random(
    architecture: type[PreTrainedModel],
    config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    name: str,
    seed: int,
    device: Device,
    dtype: Dtype,
) -> LanguageModel:
    where = resolve_device(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        lm = architecture(config)
    nn.Module.to(lm, dtype=resolve_dtype(dtype, where))
    return LanguageModel(lm, tokenizer, name=name, device=where)


_TINY_TEXT = """The film is a warm and funny story about people who learn to live with what they have lost.
This is not the worst thing that could happen, but it is dull, slow and far too long for what it says.
I would like to know where you were on the night of the storm and why nobody came to help us then."""


def _tiny_tokenizer() -> PreTrainedTokenizerFast:
    bpe = ByteLevelBPETokenizer()
    end = "<|endoftext|>"
    bpe.train_from_iterator([_TINY_TEXT], vocab_size=384, min_frequency=1, special_tokens=[end], show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, bos_token=end, eos_token=end, pad_token=end)
