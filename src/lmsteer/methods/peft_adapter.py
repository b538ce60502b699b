"""Write adapters in the layout of PEFT, which loads and merges them without this library."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from lmsteer.models.language_model import LanguageModel
from lmsteer.storage.atomic_files import atomic_write, atomic_write_lines

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."


def write_peft_adapter(
    folder: Path, tensors: Mapping[str, Tensor], modules: list[str], model: LanguageModel, *, rank: int, alpha: float
) -> None:
    """Write a LoRA adapter as PEFT does.

    Args:
        tensors: Factors A and B, by the name of the module and ``.lora_A.weight`` or ``.lora_B.weight``.
        modules: Full names of the modules.
    """
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": model.lm.name_or_path or model.name,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": modules,
        "fan_in_fan_out": any(type(model.lm.get_submodule(name)).__name__ == "Conv1D" for name in modules),
        "inference_mode": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    data = save({PREFIX + name: tensor.contiguous() for name, tensor in tensors.items()}, metadata={"format": "pt"})
    with atomic_write(folder / WEIGHTS) as temporary:
        temporary.write_bytes(data)
    atomic_write_lines(folder / CONFIG, [json.dumps(config, indent=2, sort_keys=True)])
