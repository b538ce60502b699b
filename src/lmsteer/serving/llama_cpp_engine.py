"""llama.cpp with adapters of its output head, in this process; its own HTTP server listens on loopback."""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import xllamacpp

from lmsteer.errors import InputError

logger = logging.getLogger(__name__)
API_KEY = "LLAMA_API_KEY"
"""Environment variable of a key that requests have to bring; llama.cpp's own."""
QUIET, VERBOSE = 0, 3
"""Verbosity of llama.cpp: nothing, and what it does."""


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Size of the engine.

    Attributes:
        slots: Requests that are answered at once.
        context: Tokens of a request and its answer.
        threads: Threads that compute. None: as llama.cpp chooses.
    """

    slots: int
    context: int
    threads: int | None = None


@dataclass(frozen=True)
class Engine:
    """A running llama.cpp.

    Attributes:
        address: Address of its HTTP server, such as ``http://127.0.0.1:40000``.
        model: Name of the model in answers.
        base: GGUF file from which it was loaded.
    """

    address: str
    model: str
    base: Path
    options: EngineOptions


@contextmanager
def running_llama_cpp(
    base: Path, adapters: Mapping[Path, float], options: EngineOptions, *, name: str, page: Mapping[str, object]
) -> Iterator[Engine]:
    """Run llama.cpp until the end of the block; the files are needed only to start it.

    Args:
        base: GGUF model with output embeddings of its own.
        adapters: Adapters with the scales that hold where a request gives none.
        name: Name of the model in answers.
        page: Fields that the page of llama.cpp adds to its requests, until its user changes them.

    Yields:
        The engine, which answers requests.

    Raises:
        InputError: If it does not start.
    """
    params = xllamacpp.CommonParams()
    params.model.path, params.model_alias = str(base), {name}
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_parallel, params.n_ctx = options.slots, options.slots * options.context
    params.kv_unified, params.cache_ram_mib = False, 0
    params.ui_config_json = json.dumps({"customJson": json.dumps(page)})
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(path), scale) for path, scale in adapters.items()]
    params.verbosity = VERBOSE if logger.isEnabledFor(logging.DEBUG) else QUIET
    if options.threads is not None:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
    if key := os.environ.get(API_KEY):
        params.api_keys = [key]
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        raise InputError(
            f"llama.cpp does not start with {base.name}: fewer slots or context take less memory; verbosity=debug "
            "shows its messages"
        ) from error
    try:
        yield Engine(server.listening_address, name, base, options)
    finally:
        del server  # which ends its threads
