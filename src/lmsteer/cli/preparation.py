"""Before any work: refuse what cannot be had or held, say what is downloaded, and download it."""

from __future__ import annotations

import logging
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmsteer.cli.required import Need, distinct, needs
from lmsteer.errors import InputError
from lmsteer.reporting.text import file_size
from lmsteer.storage.download import RemoteFile
from lmsteer.storage.hub_repository import HubRepository
from lmsteer.storage.required_files import RequiredFiles
from lmsteer.storage.user_cache import cache_folder

if TYPE_CHECKING:
    from lmsteer.distributed.process_group import ProcessGroup

logger = logging.getLogger(__name__)


def prepare(
    config: Mapping[str, Any], names: Sequence[str], process_group: ProcessGroup | None = None
) -> list[dict[str, Any]]:
    """Download what the objects of a configuration need, once all of it is known to exist and to fit.

    Nobody is asked for what is cached.

    Args:
        names: Options that are objects and will be built, such as ``model``.
        process_group: Processes of the run; rank zero downloads.

    Returns:
        For each option that needs files their version and names, as ``sources.json`` records them; in rank zero.

    Raises:
        InputError: If something does not exist, is not accessible, or has to be fetched by the command ``fetch``; if
            the weights do not fit into memory next to each other, or the downloads do not fit on the disk.
    """
    from lmsteer.distributed.process_group import ProcessGroup  # and torch with it

    process_group = process_group or ProcessGroup()
    record: list[dict[str, Any]] = []
    if process_group.is_rank_zero:
        required = needs(config, names)
        missing = [need for need in distinct(required) if not need.files.is_cached()]
        sizes = [size_of(need.files) for need in missing]
        check_memory(required, copies=process_group.local_size)
        if missing:
            logger.info("%s", describe_downloads(missing, sizes))
        check_disk(missing, sizes)
        for need in missing:
            need.files.fetch()
        record = [{"option": need.option, **need.files.record()} for need in required]
    process_group.barrier()
    return record


def size_of(files: RequiredFiles) -> int | None:
    """Return the bytes to download.

    Raises:
        InputError: If they cannot be had, or only by the command ``fetch``.
    """
    size = files.size()
    if files.only_fetched:
        raise InputError(f"{files.label} is not in the cache {cache_folder()}; run `python -m src.fetch`")
    return size


def describe_downloads(missing: Sequence[Need], sizes: Sequence[int | None]) -> str:
    """Return a line with all downloads, their sizes and the free space."""
    parts = ", ".join(f"{need.files.label} {file_size(size)}" for need, size in zip(missing, sizes, strict=True))
    total = file_size(sum(size or 0 for size in sizes)) + " and more" * (None in sizes)
    folder = missing[0].files.storage
    return f"downloads: {total} to {folder} ({file_size(free_space(folder))} free): {parts}"


def check_disk(missing: Sequence[Need], sizes: Sequence[int | None]) -> None:
    """Refuse downloads that do not fit on the disk of their folder.

    Raises:
        InputError: Naming the folder and the sizes.
    """
    by_folder: defaultdict[Path, int] = defaultdict(int)
    for need, size in zip(missing, sizes, strict=True):
        by_folder[need.files.storage] += size or 0
    for folder, needed in by_folder.items():
        if needed > (free := free_space(folder)):
            raise InputError(
                f"{folder}: {file_size(needed)} to download, {file_size(free)} free; HF_HOME, LMSTEER_CACHE and "
                "TORCH_HOME name other folders"
            )


def free_space(folder: Path) -> int:
    """Return the free bytes of the disk of a folder, which may not exist yet."""
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


def check_memory(required: Sequence[Need], *, copies: int = 1) -> None:
    """Refuse models that do not fit into memory next to each other; say how much they take.

    Args:
        copies: Processes of this machine, each of which holds them in main memory.

    Raises:
        InputError: Naming the models and their sizes.
    """
    weights: defaultdict[str, int] = defaultdict(int)
    for need in required:
        weights[need.option] += weight_bytes(need)
    if not any(weights.values()):
        return
    from lmsteer.models.device import resolve_device
    from lmsteer.models.memory import free_memory, in_gib

    by_device: defaultdict[Any, dict[str, int]] = defaultdict(dict)
    for need in required:
        if weights[need.option]:
            by_device[resolve_device(need.options.get("device", "cpu"))][need.option] = weights[need.option]
    for device, sizes in by_device.items():
        total = sum(sizes.values()) * (copies if device.type == "cpu" else 1)
        parts = ", ".join(f"{option} {in_gib(size)}" for option, size in sizes.items())
        each = f" in each of {copies} processes" if copies > 1 and device.type == "cpu" else ""
        line = f"{in_gib(total)} of weights on {device} next to each other ({parts}{each})"
        if total > (free := free_memory(device)):
            raise InputError(
                f"memory: {line}, {in_gib(free)} are free; dtype=bfloat16, protocol.perplexity_model=null, fewer "
                "scorers or model.device_map=auto take less"
            )
        logger.info("memory: %s, %s free", line, in_gib(free))


def weight_bytes(need: Need) -> int:
    """Return the bytes that the weights of a model take in memory; 0: unknown, spread by a device map, or quantized."""
    if isinstance(need.files, RemoteFile) and "device" in need.options:  # weights of a scorer
        path = need.files.path
        return path.stat().st_size if path.is_file() else need.files.size() or 0
    if not isinstance(need.files, HubRepository):
        return 0
    spread_or_quantized = any(need.options.get(name) is not None for name in ("device_map", "quantization"))
    if spread_or_quantized or not need.files.has_weights:
        return 0
    stored = need.files.stored_itemsize()
    if "dtype" not in need.options:  # a scorer, which computes in float32
        return need.files.weight_bytes() * 4 // stored if stored else 0
    from lmsteer.models.device import resolve_device, resolve_dtype

    dtype = resolve_dtype(need.options["dtype"], resolve_device(need.options.get("device", "auto")))
    return need.files.weight_bytes() * dtype.itemsize // stored if stored else 0


def perplexity_model_name(config: Mapping[str, Any]) -> str:
    """Return the name of the perplexity model of a protocol, which is loaded late; empty: the unsteered model."""
    named = config["protocol"]["perplexity_model"] or {}
    return str(named.get("name") or named.get("id") or named.get("_target_", "").rpartition(".")[2])
