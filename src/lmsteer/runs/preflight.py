"""What a long job will take, told before it begins; what cannot fit is refused with what would.

All needs are lower bounds, tensors that are held at the same time, so that nothing is refused that works.
"""

from __future__ import annotations

import shutil
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lmsteer.data.corpus import Corpus
from lmsteer.data.datamodule import SteerDataModule
from lmsteer.data.feature_store import FeatureStore, FeatureStoreConfig
from lmsteer.data.features import FeatureExtractor
from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError
from lmsteer.evaluation.plan import Plan
from lmsteer.generation.generator import Generator
from lmsteer.models.device_map import is_spread
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.memory import CacheSize, free_memory, in_gib
from lmsteer.runs.probe import batch_seconds, fit_seconds
from lmsteer.training.fit import FitConfig, FitEnvironment, FitJob, SteerConfig

Load = Sequence[tuple[Generator, int]]
"""Prompts, and how often they are continued."""
LONG_FIT = 50
LONG_DECODING = 200
"""Steps from which on a job is worth a probe: of the optimizer, and of decoding over all batches."""
TRIES = 4
"""Strengths that a calibration usually tries."""
COPIES = 5
"""Of the steer while it is fitted: itself, its gradient, Adam's two moments, the best one."""
SAMPLE = 512
"""Texts whose tokens are counted to guess those of all."""


@dataclass(frozen=True)
class Need:
    """What a job takes, as far as it is known: seconds by stage, tokens a second, bytes."""

    seconds: dict[str, float]
    rate: float | None
    memory: int
    disk: int


def before_training(
    folder: Path,
    model: LanguageModel,
    corpus: Corpus,
    steer_config: SteerConfig,
    fit_config: FitConfig,
    plan: Plan | None,
    *,
    seed: int,
    store: FeatureStoreConfig,
    plain: Path | None,
    done: Sequence[str] = (),
    processes: int = 1,
) -> None:
    """Check the memory and disk of a run and, if it is long, print what it will take. Scoring is not counted.

    Args:
        folder: Where results go.
        plain: Where texts of the plain model are kept, if they are.
        done: Which of "fit" and "generate" are done already.
        processes: Among how many the work is shared.

    Raises:
        InputError: If it cannot fit; says what would. If a batch has fewer rows than there are processes.
    """
    load = [] if plan is None or "generate" in done else _load(plan, plain)
    memory = max(check_decoding(load, steered=True, option="protocol."), check_steer(model, steer_config))
    check_outputs(folder, load)
    seconds, disk = {}, 0
    rows = corpus if fit_config.rows is None or "fit" in done else corpus.subset(fit_config.rows, seed)
    if "fit" not in done and steer_config.solver == "one_pass" and len(rows.train) < processes:
        raise InputError(f"train rows: {len(rows.train)}, but {processes} processes; one for each is needed")
    if "fit" not in done and steer_config.solver == "paper":
        steer = steer_config.build(model.width, seed)
        environment = FitEnvironment(store=store, process_group=ProcessGroup(size=processes))
        data = FitJob(model, corpus, steer_config, fit_config, seed, environment).data_module()
        disk = store_bytes(data)
        if fit_config.steps >= LONG_FIT:
            extract = FeatureExtractor(model, max_length=fit_config.max_length)
            seconds["fit"] = fit_seconds(data, extract, steer, dev_every=fit_config.dev_every)
    _tell("train", model, load, seconds, memory, disk, processes)


def before_generation(folder: Path, generator: Generator, *, steered: bool, processes: int = 1) -> None:
    """The same for one prompt set at one strength.

    Raises:
        InputError: If it cannot fit; says what would.
    """
    load = [(generator, 1)]
    memory = check_decoding(load, steered=steered)
    check_outputs(folder, load)
    _tell("generate", generator.model, load, {}, memory, 0, processes)


def _tell(
    command: str,
    model: LanguageModel,
    load: Load,
    seconds: dict[str, float],
    memory: int,
    disk: int,
    processes: int,
) -> None:
    rate = None
    if sum(len(generator.batches) * times * generator.decoding.max_new_tokens for generator, times in load) >= (
        LONG_DECODING
    ):
        found = {id(generator): batch_seconds(generator) for generator, times in load if times}
        seconds["generate"] = sum(found[id(g)] * len(g.batches) * times for g, times in load if times)
        written = sum(len(g.prompts) * g.samples * g.decoding.max_new_tokens * times for g, times in load)
        rate = processes * written / seconds["generate"]
    if seconds:
        shared = {stage: value / processes for stage, value in seconds.items()}
        print(f"{command}: {words(Need(shared, rate, memory, disk), model)}", flush=True)


def words(need: Need, model: LanguageModel) -> str:
    """A need in one line, beside the memory there is."""
    parts = [f"{stage} {_duration(value)}" for stage, value in need.seconds.items()]
    speed = [] if need.rate is None else [f"{need.rate:,.0f} tokens/s"]
    line = f"about {_duration(sum(need.seconds.values()))} ({', '.join([*parts, *speed])})"
    if not is_spread(model.lm):
        weights = sum(parameter.nbytes for parameter in model.lm.parameters())
        there = weights + free_memory(model.device)
        line += f", {in_gib(weights + need.memory).removesuffix(' GiB')} of {in_gib(there)} memory"
    return line + (f", {in_gib(need.disk)} disk for hidden states" if need.disk else "")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _load(plan: Plan, plain: Path | None) -> list[tuple[Generator, int]]:
    """What a run generates: the plain model's texts unless they are kept, those at every strength, calibrations."""
    protocol, load = plan.protocol, []
    for key, generator in plan.generators.items():
        kept = plain is not None and (plain / f"{generator.identity()}.jsonl").is_file()
        given = sum(protocol.is_steered(key, value) for value in protocol.strengths)
        is_steered = [direction for direction in protocol.directions() if protocol.is_steered(key, direction)]
        load.append((generator, int(not kept) + given + len(is_steered) * len(protocol.budgets())))
        if key in plan.calibration_generators:
            measured = sum(budget.kind == "perplexity" for budget in protocol.budgets())
            load.append((plan.calibration_generators[key], TRIES * measured * len(is_steered)))
    return load


def decoding_bytes(
    generator: Generator, cache: CacheSize, *, steered: bool, batch_size: int | None = None, samples: int = 0
) -> int:
    """Bytes held at the last step of the largest batch, beside the weights: caches, logits and the folded head.

    Args:
        cache: Of the generator's model.
        batch_size: Sequences decoded at once; None: as the generator has it.
        samples: Samples of a prompt; 0: likewise.
    """
    model, samples = generator.model, samples or generator.samples
    prompts = len(generator.batches[0]) if batch_size is None else max(1, batch_size // samples)
    lengths, weight = sorted(generator.lengths()), model.head.weight
    size, new = weight.element_size(), generator.decoding.max_new_tokens
    logits = weight.shape[0] * (4 if size >= 4 else 4 + size)  # a product in half precision stands beside its copy
    kept = new * weight.shape[1] * size if generator.likelihoods else 0
    batches = [lengths[start : start + prompts] for start in range(0, len(lengths), prompts)]
    rows = max(len(batch) * samples * (cache(batch[-1] + new - 1) + logits + kept) for batch in batches)
    return rows + (weight.nbytes if steered else 0)


def check_decoding(load: Load, *, steered: bool, option: str = "") -> int:
    """Bytes that decoding takes beside the weights.

    Args:
        option: What stands before ``batch_size`` and ``samples`` on the command line.

    Raises:
        InputError: If a batch cannot fit; says which size does.
    """
    generators = [generator for generator, times in load if times]
    if not generators or is_spread(generators[0].model.lm):
        return 0
    device, first = generators[0].model.device, generators[0]
    free, cache = free_memory(device), CacheSize(first.model)

    def needed(batch_size: int | None = None, samples: int = 0) -> int:
        return max(
            decoding_bytes(generator, cache, steered=steered, batch_size=batch_size, samples=samples)
            for generator in generators
        )

    if (need := needed()) <= free:
        return need
    rows = max(len(generator.batches[0]) for generator in generators) * first.samples
    smaller = [rows // 2**power for power in range(1, 32) if rows // 2**power >= first.samples]
    if fits := next((size for size in smaller if needed(size) <= free), None):
        would = f"{option}batch_size={fits} would fit"
    elif fits := bisect_right(range(1, first.samples), free, key=lambda samples: needed(1, samples)):
        would = f"{option}samples={fits} {option}batch_size={fits} would fit"
    else:
        would = "one alone does not fit either; take a smaller model"
    raise InputError(
        f"decoding {rows} sequences at once takes {in_gib(need)}, {in_gib(free)} are free on {device}: {would}"
    )


def check_steer(model: LanguageModel, steer_config: SteerConfig) -> int:
    """Bytes that a steer takes while it is fitted.

    Raises:
        InputError: If it cannot fit; says which rank does.
    """
    if steer_config.form == "add":
        return 0
    matrices, width = 1 + (steer_config.dummy and steer_config.solver == "paper"), model.width
    per_rank = COPIES * 4 * 2 * matrices * width
    need = per_rank * width // 2 if steer_config.rank == "full" else per_rank * steer_config.rank
    free = free_memory(model.device)
    if steer_config.solver == "paper" and need > free:
        fits = free // per_rank
        would = f"steer.rank={fits} would fit" if fits else "no rank fits"
        raise InputError(
            f"steer.rank={steer_config.rank}: fitting takes {in_gib(need)}, {in_gib(free)} are free: {would}"
        )
    return need if steer_config.solver == "paper" else 0


def check_outputs(folder: Path, load: Load) -> None:
    """Raise ``InputError`` where the disk of a folder cannot hold the texts, at a byte a token."""
    need = sum(len(g.prompts) * g.samples * g.decoding.max_new_tokens * times for g, times in load)
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if need > (free := shutil.disk_usage(there).free):
        raise InputError(
            f"{folder}: {in_gib(need)} of texts to write, {in_gib(free)} are free; hydra.run.dir=FOLDER on another disk"
        )


def store_bytes(data: SteerDataModule) -> int:
    """Bytes of the hidden states that a fit will add to its store, guessed from a sample of the texts."""
    if not isinstance(data.extract, FeatureStore):
        return 0
    missing = data.extract.missing(data.stored())
    some = missing[:: max(1, len(missing) // SAMPLE)]
    if not some:
        return 0
    tokens = sum(max(len(ids) - 1, 0) for ids in data.extract.extract.encode(some)) / len(some)
    return data.extract.bytes_of(round(tokens * len(missing)))
