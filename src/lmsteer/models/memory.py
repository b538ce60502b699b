"""Check that the weights of a model fit into free memory before they are loaded."""

import math
from pathlib import Path

import psutil
import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from lmsteer.errors import InputError

GIB = 2**30
CGROUP, PROCESS_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def in_gib(size: float) -> str:
    """Format bytes as GiB with two digits, such as ``3.1 GiB``."""
    gib = size / GIB
    return f"{gib:.2f} GiB" if gib < 1 else f"{gib:.1f} GiB" if gib < 10 else f"{gib:,.0f} GiB"


def free_memory(device: torch.device) -> int:
    """Return the bytes that a process may still allocate on a device.

    Main memory includes swap, and is bounded by the limits of control groups (version 2), such as those of SLURM.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    machine = int(psutil.virtual_memory().available) + psutil.swap_memory().free
    return int(min([machine, *map(_free_in_group, _control_groups())]))


def _control_groups() -> list[Path]:
    """Return the folders of the control groups that limit this process: its own and those that contain it."""
    try:
        lines = PROCESS_GROUPS.read_text(encoding="utf-8").split("\n")
    except OSError:  # no Linux
        return []
    groups = [CGROUP / line.removeprefix("0::").lstrip("/") for line in lines if line.startswith("0::")]
    return [folder for group in groups for folder in (group, *group.parents) if folder.is_relative_to(CGROUP)]


def _free_in_group(folder: Path) -> float:
    """Return the free bytes of a control group; infinite without a limit or outside of its container."""
    try:
        limit, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # "max" is no number
        return math.inf
    return limit - used + int(statistics.get("inactive_file", 0))  # cached file pages are released when needed


def weight_bytes(config: PreTrainedConfig, dtype: torch.dtype) -> int:
    """Return the bytes of a model's weights without loading it: tied ones once, 0 (unknown) if quantized."""
    if getattr(config, "quantization_config", None) is not None:
        return 0
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        lm = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    return sum(parameter.nbytes for parameter in lm.parameters())


def cache_bytes(config: PreTrainedConfig, dtype: torch.dtype) -> int:
    """Return the bytes of keys and values of one token, at least; 0 (unknown) if the configuration does not tell."""
    text = config.get_text_config()
    layers, heads, width = (
        getattr(text, name, 0) for name in ("num_hidden_layers", "num_attention_heads", "hidden_size")
    )
    if not (layers and heads and width):
        return 0
    key_heads = 1 if getattr(text, "multi_query", False) else getattr(text, "num_key_value_heads", None) or heads
    size = getattr(text, "head_dim", None) or width // heads
    return int(2 * layers * key_heads * size * dtype.itemsize)


def check_sequences(lm: PreTrainedModel, sequences: int, tokens: int, weight_VD: torch.Tensor, *, option: int) -> None:
    """Refuse sequences whose keys, values and logits cannot fit into the free memory of a model on one device.

    Args:
        tokens: Of the longest sequence.
        weight_VD: Output embeddings of the model.
        option: The option ``batch_size``.

    Raises:
        InputError: Naming a batch size that may do.
    """
    if len({*getattr(lm, "hf_device_map", {}).values()}) > 1:
        return
    size = tokens * cache_bytes(lm.config, weight_VD.dtype) + weight_VD.shape[0] * torch.float32.itemsize
    if sequences * size > (free := free_memory(weight_VD.device)):
        raise InputError(
            f"batch_size={option}: {sequences} sequences decoded together take {in_gib(sequences * size)} or more, "
            f"{in_gib(free)} are free on {weight_VD.device}; batch_size={max(1, free // size)} may do"
        )


def check_weights(needed: int, dtype: torch.dtype, device: torch.device, *, name: str) -> None:
    """Check that weights fit into the free memory.

    Raises:
        InputError: If they do not; the message names an option that helps.
    """
    if needed and needed > (free := free_memory(device)):
        halved = dtype == torch.float32 and needed // 2 <= free
        raise InputError(
            f"model {name}: its weights take {in_gib(needed)} in {str(dtype).removeprefix('torch.')}, "
            f"{in_gib(free)} are free on {device}; {'dtype=bfloat16' if halved else 'model.device_map=auto'} would do"
        )
