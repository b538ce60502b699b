"""Convert a GGUF file to a model in the hub's layout."""

import contextlib
import io
from pathlib import Path


def convert_gguf(gguf: Path, target: Path) -> None:
    """Write the model of a GGUF file in float32 safetensors, and its tokenizer, to a folder."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig  # slow

    with contextlib.redirect_stderr(io.StringIO()):  # hides progress bars
        dequantized = GgufConfig(dequantize=True)
        lm = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, quantization_config=dequantized, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(
            gguf.parent, gguf_file=gguf.name, padding_side="left", trust_remote_code=False
        )
        lm.float().save_pretrained(target)
        tokenizer.save_pretrained(target)
