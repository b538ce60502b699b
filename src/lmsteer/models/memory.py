"""How much memory there is, and how much a model takes of it."""

from __future__ import annotations

import math
from pathlib import Path

import psutil
import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig

from lmsteer.errors import InputError
from lmsteer.models.attention import fast_attention
from lmsteer.models.language_model import LanguageModel

GIB = 2**30
CGROUP, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def in_gib(size: float) -> str:
    """Bytes as GiB in two digits, such as ``3.1 GiB``."""
    gib = size / GIB
    return f"{gib:.2f} GiB" if gib < 1 else f"{gib:.1f} GiB" if gib < 10 else f"{gib:,.0f} GiB"


def free_memory(device: torch.device) -> int:
    """Bytes that a process may still take on a device; main memory counts with swap, groups' limits without."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    machine = int(psutil.virtual_memory().available)
    return int(min([machine + psutil.swap_memory().free, *map(_free_in_group, _groups())]))


def _groups() -> list[Path]:
    """Folders of the control groups (version 2 or 1) that limit this process' memory: its own and those around it."""
    try:
        lines = [line.split(":", 2) for line in OWN_GROUPS.read_text(encoding="utf-8").splitlines()]
    except OSError:  # no Linux
        return []
    bases = [(CGROUP, path) for _, controllers, path in lines if not controllers]
    bases += [(CGROUP / "memory", path) for _, controllers, path in lines if "memory" in controllers.split(",")]
    found: list[Path] = []
    for base, path in bases:
        own = base / path.lstrip("/")
        found += [own, *(folder for folder in own.parents if folder.is_relative_to(base))]
    return found


def _free_in_group(folder: Path) -> float:
    """What a control group leaves free; infinite where it has no limit, or its folder is not shown in a container."""
    for most, used, cache in (
        ("memory.max", "memory.current", "inactive_file "),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "),
    ):
        try:
            limit, taken = int((folder / most).read_text()), int((folder / used).read_text())
            lines = (folder / "memory.stat").read_text().splitlines()
        except (OSError, ValueError):  # "max" is no number
            continue
        # Pages of files are given back when memory is asked for.
        return limit - taken + next((int(line.split()[1]) for line in lines if line.startswith(cache)), 0)
    return math.inf


def weight_bytes(config: PreTrainedConfig, dtype: torch.dtype) -> int:
    """Bytes of the weights of a model before it is loaded, tied ones once; 0 for quantized ones, which it knows not."""
    if getattr(config, "quantization_config", None) is not None:
        return 0
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        lm = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return sum(parameter.nbytes for parameter in lm.parameters())


def check_weights(needed: int, dtype: torch.dtype, device: torch.device, *, name: str) -> None:
    """Raise ``InputError`` where the weights alone are more than the memory that is free; says what would do."""
    if needed and needed > (free := free_memory(device)):
        halved = dtype == torch.float32 and needed // 2 <= free
        raise InputError(
            f"model {name}: its weights take {in_gib(needed)} in {str(dtype).removeprefix('torch.')}, "
            f"{in_gib(free)} are free on {device}; {'dtype=bfloat16' if halved else 'model.device_map=auto'} would do"
        )


class CacheSize:
    """Bytes of the keys and values that decoding keeps of a sequence, layer by layer, as two tokens show them."""

    def __init__(self, model: LanguageModel) -> None:
        self._layers = _layers(model)

    def __call__(self, tokens: int) -> int:
        """Bytes for one sequence of so many tokens; a layer with a window keeps no more than one less than that."""
        return sum(size * (min(tokens, window - 1) if window else tokens) for size, window in self._layers)


@torch.inference_mode()
def _layers(model: LanguageModel) -> list[tuple[int, int | None]]:
    """Bytes a token and the window of each layer."""
    ids = torch.zeros(1, 2, dtype=torch.long)
    with fast_attention(model.lm):
        cache = model.body(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=True).past_key_values
    return [
        ((layer.keys.nbytes + layer.values.nbytes) // 2, getattr(layer, "sliding_window", None))
        for layer in cache.layers
    ]
