"""Choose the device and the dtype of a language model."""

import torch

from lmsteer.errors import InputError
from lmsteer.models.device_options import AUTOMATIC, Device, Dtype


def resolve_device(device: Device) -> torch.device:
    """Return the named device, or the best available one for ``auto``.

    Raises:
        InputError: If the named device is not on this machine.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(name for name, is_available in available.items() if is_available))
    if not available.get(device, False):
        devices = ", ".join(name for name, is_available in available.items() if is_available)
        raise InputError(f"device={device}: this machine has {devices}; use one of these or device=auto")
    return torch.device(device)


def resolve_map(device_map: str | dict[str, int | str], device: Device) -> torch.device:
    """Return the device that computes under a device map, the first if there are several.

    Raises:
        InputError: If a location in the map is not on this machine, or a device is given too.
    """
    if device != "auto":
        raise InputError(f"model.device_map={device_map}: it says where everything runs, so leave device={device} out")
    if device_map in AUTOMATIC:
        return resolve_device("auto")
    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    available = ["cpu", "disk", *gpus, *["cuda"][: len(gpus)], *["mps"][: torch.backends.mps.is_available()]]
    locations = list(device_map.values()) if isinstance(device_map, dict) else [device_map]
    names = [f"cuda:{location}" if isinstance(location, int) else location for location in locations]
    if unknown := [str(location) for location, name in zip(locations, names, strict=True) if name not in available]:
        expected = [*(() if isinstance(device_map, dict) else AUTOMATIC), *available]
        raise InputError(f"model.device_map: {unknown[0]} is not available; one of {', '.join(expected)} expected")
    return torch.device(next((name for name in names if name not in ("cpu", "disk")), "cpu"))


def resolve_dtype(dtype: Dtype, device: torch.device) -> torch.dtype:
    """Return the named dtype; ``auto`` is bfloat16 if the hardware multiplies it, else float32."""
    if dtype == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
        capabilities = torch.cpu.get_capabilities()
        fast = device.type == "cpu" and (capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
        return torch.bfloat16 if fast else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
