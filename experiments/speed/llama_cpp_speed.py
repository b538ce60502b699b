"""Let llama.cpp write samples in this process, with and without an adapter."""

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import xllamacpp

from lmsteer.export.gguf_base import copy_with_output, read_tied_gguf

SLOTS = 32
"""Samples that are written at once."""


@dataclass(frozen=True)
class LlamaCppServers:
    """Two servers of one model, only the second of which has an adapter.

    Attributes:
        kind: Type of the weights, such as Q4_1.
        plain: Write all samples without a steer; return the seconds.
        steered: Write them at the strength of the job.
    """

    kind: str
    plain: Callable[[], float]
    steered: Callable[[], float]


def llama_cpp_server(base: Path, adapter: Path, untied: Path, job: Mapping[str, Any]) -> LlamaCppServers:
    """Start both servers on a base with tied embeddings.

    Args:
        adapter: Adapter of strength 1 at scale 1.
        untied: Path for the copy of the base that has output embeddings, which both servers read.
        job: Prompts as token ids, samples of each, tokens of each sample, and the strength.
    """
    copy_with_output(read_tied_gguf(base), untied)
    kind = next(t.tensor_type.name for t in gguf.GGUFReader(untied).tensors if t.name.endswith("ffn_up.weight"))
    plain, steered = start(untied, None), start(untied, adapter)
    return LlamaCppServers(
        kind, lambda: decode(plain, job, []), lambda: decode(steered, job, [{"id": 0, "scale": job["strength"]}])
    )


def start(model: Path, adapter: Path | None) -> Any:
    """Start a server of this process."""
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_ctx, params.n_parallel, params.port, params.verbosity = 64 * SLOTS, SLOTS, 0, 0
    params.cpuparams.n_threads = os.cpu_count() or 1
    if adapter is not None:
        lora = xllamacpp.CommonAdapterLoraInfo()
        lora.path, lora.scale = str(adapter), 0.0
        params.lora_adapters = [lora]
    return xllamacpp.Server(params)


def decode(server: Any, job: Mapping[str, Any], lora: list[dict[str, Any]]) -> float:
    """Write all samples; return the seconds."""
    options = {"temperature": 1.0, "top_p": 0.9, "top_k": 0, "min_p": 0.0, "samplers": ["top_p", "temperature"]}
    options |= {"n_predict": job["tokens"], "ignore_eos": True, "cache_prompt": False}
    requests = [
        {"prompt": ids, "seed": seed, "lora": lora, **options}
        for ids in job["prompts"]
        for seed in range(job["samples"])
    ]
    start_time = time.perf_counter()
    with ThreadPoolExecutor(SLOTS) as threads:
        for answer in threads.map(server.handle_completions, requests):
            if answer["usage"]["completion_tokens"] != job["tokens"]:
                raise RuntimeError(f"llama.cpp wrote {answer['usage']} where {job['tokens']} tokens were asked for")
    return time.perf_counter() - start_time
