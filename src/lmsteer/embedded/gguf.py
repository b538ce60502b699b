"""From a GGUF file to a model in the hub's layout."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path


def convert_gguf(gguf: Path, target: Path) -> None:
    """Fill a folder with a GGUF file's model, in float32 safetensors, and its tokenizer."""
    # Slow to import, and only this needs it.
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    with contextlib.redirect_stderr(io.StringIO()):  # progress bars; one of them has no switch
        dequantized = GgufConfig(dequantize=True)
        lm = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, quantization_config=dequantized)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, padding_side="left")
        lm.float().save_pretrained(target)
        tokenizer.save_pretrained(target)
