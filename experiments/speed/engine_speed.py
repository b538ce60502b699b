"""Measure what steering costs in each engine: the same samples, written plain and steered in turns.

python -m experiments.speed.engine_speed steer_file=RUN/steer.safetensors gguf=MODEL.gguf vllm_python=.vllm/bin/python
"""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, cast

from omegaconf import DictConfig
from pydantic import Field
from tqdm.auto import tqdm

from experiments.speed.llama_cpp_speed import llama_cpp_server
from experiments.speed.results import describe_machine
from experiments.study import Results, open_run, run_study
from lmsteer.cli.app import entry_point
from lmsteer.cli.configuration import build
from lmsteer.cli.options import FromOne
from lmsteer.cli.terminal import show
from lmsteer.export.exporter import Export
from lmsteer.generation.generator import Generator
from lmsteer.generation.sampling import Nucleus
from lmsteer.processors.vllm_processor import FOLDER
from lmsteer.reporting.text import markdown_table
from lmsteer.runs.run import Run
from lmsteer.storage.atomic_files import atomic_write_lines

TYPES: dict[str, Any] = {
    "samples": FromOne,
    "tokens": FromOne,
    "batch_size": FromOne,
    "rounds": FromOne,
    "strength": Annotated[float, Field(gt=0, allow_inf_nan=False)],
    "gguf": str | None,
    "vllm_python": str | None,
}
PLAIN = "plain"
VLLM_SCRIPT = Path(__file__).with_name("vllm_speed.py")
ANSWER = "SECONDS "
"""Beginning of the lines of the process of vLLM that are answers; others are its log."""

Decode = Callable[[], float]
"""Write all samples; return the seconds."""
Engines = dict[str, dict[str, Decode]]
"""By engine and by how it is steered; ``PLAIN`` is the engine without a steer."""


def engine_speed(cfg: DictConfig) -> Results:
    """Write ``engine_speed.json`` and ``engine_speed.md`` in the run folder; print the table."""
    config, run = open_run(cfg, TYPES)
    results = run_study(run, "engine_speed", lambda: measure(config, run), report=speed_table)
    show(f"\n{speed_table(results)}")
    return results


def measure(config: Mapping[str, Any], run: Run) -> Results:
    """Start all engines, and let each write the samples plain and steered in turns."""
    model = build(config["model"], device="cpu", dtype=config["dtype"])
    export, prompts = Export(model, Path(config["steer_file"])), build(config["prompts"])().prompts
    strength = {export.steer.dimensions[0]: config["strength"]}
    generator = Generator(
        model,
        prompts,
        decoding=Nucleus(max_new_tokens=config["tokens"]),
        samples=config["samples"],
        seed=config["seed"],
        batch_size=config["batch_size"],
    )
    generator.check(strength, export.steer)
    ids = model.tokenize([prompt.text for prompt in prompts])
    job = {"prompts": ids, **{name: config[name] for name in ("samples", "tokens", "batch_size", "strength")}}
    run.begin()
    with ExitStack() as stack:
        dtype = str(model.head.weight.dtype).removeprefix("torch.")
        engines: Engines = {f"lmsteer, {dtype}": own_engine(generator, export, strength)}
        if config["gguf"] is not None:
            adapter = run.path("gguf")
            export.attached("gguf", adapter, {})
            file = adapter / f"{export.steer.dimensions[0]}.gguf"
            servers = llama_cpp_server(Path(config["gguf"]), file, run.path("untied.gguf"), job)
            engines[f"llama.cpp, {servers.kind}"] = {PLAIN: servers.plain, "adapter": servers.steered}
        if config["vllm_python"] is not None:
            engines[f"vLLM, {dtype}"] = stack.enter_context(vllm_engine(config["vllm_python"], export, run, job))
        seconds = decode_in_turns(engines, config["rounds"])
    return {
        "model": model.name,
        "samples": len(ids) * config["samples"],
        "tokens": config["tokens"],
        "strength": strength,
        "machine": describe_machine(model.device, model.head.weight.dtype),
        "seconds": seconds,
    }


def own_engine(generator: Generator, export: Export, strength: Mapping[str, float]) -> dict[str, Decode]:
    """Return the generator of this project, plain and with the steer folded into the head."""

    def decode(setting: Mapping[str, float]) -> float:
        start = time.perf_counter()
        for _ in generator.run([setting], export.steer):
            pass
        return time.perf_counter() - start

    return {PLAIN: lambda: decode({}), "folded head": lambda: decode(strength)}


@contextmanager
def vllm_engine(python: str, export: Export, run: Run, job: Mapping[str, Any]) -> Iterator[dict[str, Decode]]:
    """Start vLLM in a process of its own environment: without a steer, with the plugin, and with an adapter."""
    base, name = run.path("base"), export.steer.dimensions[0]
    export.model.lm.save_pretrained(base)
    export.model.tokenizer.save_pretrained(base)
    processor, adapter = run.path("processor"), run.path("adapter")
    export.attached("processor", processor, {})
    export.attached("adapter", adapter, {name: job["strength"]})
    dtype = str(export.model.head.weight.dtype).removeprefix("torch.")
    folders = {"model": str(base), "adapter": str(adapter / name), "processor": str(processor), "dtype": dtype}
    atomic_write_lines(run.path("job.json"), [json.dumps({**job, **folders})])
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", FOLDER)}
    environment |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
    command = [python, str(VLLM_SCRIPT), str(run.path("job.json"))]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None

        def decode(variant: str) -> float:
            print(variant, file=process.stdin, flush=True)
            answer = next((line for line in cast(Any, process.stdout) if line.startswith(ANSWER)), None)
            if answer is None:
                raise RuntimeError(f"{python}: vLLM ended before it answered; its messages are above")
            return float(answer.removeprefix(ANSWER))

        yield {variant: lambda variant=variant: decode(variant) for variant in (PLAIN, "processor", "adapter")}  # type: ignore[misc]
        process.stdin.close()


def decode_in_turns(engines: Engines, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Let each engine write all samples in each way; every other round goes backwards. The first round is to warm up.

    Returns:
        Seconds by engine and way.
    """
    seconds: dict[str, dict[str, list[float]]] = {
        engine: {way: [] for way in decoders} for engine, decoders in engines.items()
    }
    turns = [(engine, way) for engine, decoders in engines.items() for way in decoders]
    with tqdm(total=len(turns) * (1 + rounds), desc="engines", unit="turn") as bar:
        for repeat in range(-1, rounds):
            for engine, way in turns if repeat % 2 == 0 else reversed(turns):
                taken = engines[engine][way]()
                if repeat >= 0:
                    seconds[engine][way].append(taken)
                bar.update()
    return seconds


def speed_table(results: Results) -> str:
    """Write tokens per second, and the time of steered over that of plain decoding in the same round, as Markdown."""
    total, machine, rows = results["samples"] * results["tokens"], results["machine"], []
    for engine, ways in results["seconds"].items():
        for way, seconds in ways.items():
            ratios = [one / plain for one, plain in zip(seconds, ways[PLAIN], strict=True)]
            row = [engine, way, f"{total / statistics.median(seconds):,.0f}"]
            ends = f"{min(ratios):.3f} to {max(ratios):.3f}"
            rows.append([*row, *(("", "") if way == PLAIN else (f"**{statistics.median(ratios):.3f}**", ends))])
    return (
        f"{machine['date']}, {machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}; "
        f"{results['model']}, {results['samples']:,} samples of {results['tokens']} tokens, strength "
        f"{results['strength']}.\n\n"
        + markdown_table(["engine", "steered by", "tokens/s", "time over plain", "range"], rows, escaped=False)
    )


if __name__ == "__main__":
    entry_point("engine_speed", Path(__file__).parent, TYPES)(engine_speed)()
