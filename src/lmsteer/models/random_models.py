"""Models with random weights from a seed, for tests and for measuring speed without the hub."""

import torch
from tokenizers import ByteLevelBPETokenizer
from torch import nn
from transformers import (
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from lmsteer.embedded.archives import smollm2_folder
from lmsteer.embedded.required_archives import SMOLLM2
from lmsteer.errors import InputError
from lmsteer.models.chat import Chat
from lmsteer.models.device import resolve_device, resolve_dtype
from lmsteer.models.device_options import Device, Dtype
from lmsteer.models.language_model import LanguageModel
from lmsteer.storage.required_files import requires


def tiny(
    *,
    seed: int = 0,
    width: int = 32,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    chat: Chat = "auto",
    system: str | None = None,
) -> LanguageModel:
    """Build a random two-layer Llama with a byte-level vocabulary of 384 tokens, for tests."""
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
    name = f"tiny-{seed}"
    lm = _random(LlamaForCausalLM, config, seed=seed, device=device, dtype=dtype)
    return LanguageModel(lm, tokenizer, name=name, device=resolve_device(device), chat=chat, system=system)


@requires(lambda **_: [SMOLLM2])
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
    """Build a GPT-2 with random weights, to measure the speed of a real one without the hub.

    The defaults are the sizes of GPT2-large. The tokenizer is that of the embedded model, with 49,152 tokens; further
    rows of the vocabulary are padding.

    Raises:
        InputError: If the heads do not divide the width, a size is too small, or the embedded stack has not been
            fetched.
    """
    if min(width, layers, heads) < 1 or width % heads:
        raise InputError(
            f"model: width {width}, {layers} layers, {heads} heads; a width that is a multiple of heads expected"
        )
    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder(), trust_remote_code=False)
    if vocabulary < len(tokenizer):
        raise InputError(
            f"model.vocabulary={vocabulary}: {len(tokenizer)} or more expected, the tokenizer's number of tokens"
        )
    end = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=vocabulary, n_embd=width, n_layer=layers, n_head=heads, bos_token_id=end, eos_token_id=end
    )
    name = f"gpt2-shaped-{width}x{layers}"
    lm = _random(GPT2LMHeadModel, config, seed=seed, device=device, dtype=dtype)
    return LanguageModel(lm, tokenizer, name=name, device=resolve_device(device))


def _random(
    architecture: type[PreTrainedModel],
    config: PreTrainedConfig,
    *,
    seed: int,
    device: Device,
    dtype: Dtype,
) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        lm = architecture(config)
    nn.Module.to(lm, dtype=resolve_dtype(dtype, resolve_device(device)))
    return lm


_TINY_TEXT = """The film is a warm and funny story about people who learn to live with what they have lost.
This is not the worst thing that could happen, but it is dull, slow and far too long for what it says.
I would like to know where you were on the night of the storm and why nobody came to help us then."""


def _tiny_tokenizer() -> PreTrainedTokenizerFast:
    bpe = ByteLevelBPETokenizer()
    end = "<|endoftext|>"
    bpe.train_from_iterator([_TINY_TEXT], vocab_size=384, min_frequency=1, special_tokens=[end], show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, bos_token=end, eos_token=end, pad_token=end)
