"""Time fitting, generation and scoring: the plain version and lmsteer take turns."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
from tqdm.auto import tqdm

from experiments.speed.meter import Meter
from experiments.speed.plain import PlainFit, continuation_nats, max_sequences, sample_batch
from experiments.speed.work import Work, draw
from lmsteer.data.corpus import Corpus
from lmsteer.data.feature_store import FeatureStoreConfig
from lmsteer.data.features import FeatureExtractor
from lmsteer.generation.generator import Generator
from lmsteer.generation.sampling import Nucleus
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Generation, Prompt
from lmsteer.scoring.perplexity import continuation_nll
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.training.fit import FitEnvironment, fit
from lmsteer.training.gradient_solver import GradientSolver

ATTRIBUTE, STRENGTH, DECODING = "sentiment", 5.0, Nucleus()

# Names of the timed work: of the plain version, then of lmsteer.
PLAIN_STEP, PLAIN_SAMPLE, PLAIN_BATCH = "plain step", "plain sample", "transformers' batch"
PLAIN_PROMPT = "plain prompt with its texts"
FIT, FIT_AGAIN, TEXTS = "fit", "fit again", "texts"
UNSTEERED, FOLDED, BY_ROW = "unsteered", "folded", "strengths by row"
MODES = (UNSTEERED, FOLDED, BY_ROW)

WARM_UP_STEPS, WARM_UP_SENTENCES = 2, 64
SIZE_SHARES = (0.25, 0.5, 0.75, 1.0)
EXTRACTION_SHARE = 4  # a quarter of the sentences is enough for a straight line

Curve = list[list[float]]
"""Loss by step, ``[[step, nats], …]``."""
Scaling = dict[str, dict[str, list[float]]]
"""Tokens and seconds of several sizes of work, by its kind."""
Pair = tuple[str, str]
"""A prompt and a continuation."""


@dataclass(frozen=True)
class Bench:
    """Models, texts, sizes of work, and the meter.

    Attributes:
        model: The model in the dtype asked for.
        plain_model: The same model in float32.
        folder: Folder of feature stores while they are needed.
    """

    work: Work
    corpus: Corpus
    prompts: tuple[Prompt, ...]
    model: LanguageModel
    plain_model: LanguageModel
    seed: int
    folder: Path
    meter: Meter

    @property
    def steer_config(self) -> SteerConfig:
        """The steer that is fitted."""
        return SteerConfig(name=ATTRIBUTE, rank=self.work.rank)

    @property
    def prompts_per_call(self) -> int:
        """Prompts of one call of transformers' ``generate``, each with all its samples."""
        size = max_sequences(self.model.device, self.work.batch_size) // self.work.samples
        return min(max(1, size), len(self.prompts))


def measure_fit(bench: Bench) -> tuple[Steer, Curve, Curve]:
    """Time the plain steps and whole fits in turns.

    Returns:
        The steer, and the training curves: the plain one as far as it was run, and that of lmsteer.
    """
    plain = PlainFit(bench.plain_model, bench.corpus, bench.steer_config, seed=bench.seed)
    plain.step()
    small = replace(bench, corpus=replace(bench.corpus, train=bench.corpus.train[:WARM_UP_SENTENCES]))
    with tempfile.TemporaryDirectory(prefix="store-", dir=bench.folder) as folder:
        fit_with_store(small, WARM_UP_STEPS, bench.seed, folder)

    def plain_steps() -> None:
        with bench.meter.memory(PLAIN_STEP):
            for _ in tqdm(range(bench.work.plain_steps), desc="plain fit", unit="step"):
                bench.meter.time(PLAIN_STEP, plain.step)

    for repeat in range(bench.work.fits):
        plain_steps()
        with tempfile.TemporaryDirectory(prefix="store-", dir=bench.folder) as folder:
            with bench.meter.memory(FIT):
                steer, curve = bench.meter.time(FIT, fit_with_store, bench, bench.work.steps, bench.seed, folder)
            plain_steps()
            with bench.meter.memory(FIT_AGAIN):
                bench.meter.time(FIT_AGAIN, fit_with_store, bench, bench.work.steps, bench.seed + 1 + repeat, folder)
        plain_steps()
    return steer, [[step, loss] for step, loss in enumerate(plain.losses, 1)], curve


def fit_with_store(bench: Bench, steps: int, seed: int, folder: str) -> tuple[Steer, Curve]:
    """Fit with lmsteer, its hidden states stored in a folder; return the steer and its training curve."""
    solver = GradientSolver(trainer=partial(pl.Trainer, max_steps=steps, val_check_interval=steps))
    environment = FitEnvironment(store=FeatureStoreConfig(where=folder))
    steer, provenance = fit(bench.model, bench.corpus, bench.steer_config, solver, seed=seed, environment=environment)
    return steer, provenance.training["curve"]["train"]


def measure_generation(bench: Bench, steer: Steer) -> list[Generation]:
    """Time every way of writing in turns, lmsteer's forwards and backwards; return its steered generations."""
    work, meter = bench.work, bench.meter
    batch = bench.prompts[: max(1, work.batch_size // work.samples)]
    calls: dict[str, Callable[[], object]] = {
        PLAIN_SAMPLE: partial(write_plain, bench.plain_model, steer, batch[:1], 1),
        PLAIN_BATCH: partial(write_plain, bench.model, steer, batch[: bench.prompts_per_call], work.samples),
        **{mode: partial(write, bench, steer, batch, mode) for mode in MODES},
    }
    meter.memory_and_warm_up(calls)
    generations: dict[str, list[Generation]] = {}
    for repeat in range(work.repeats):
        for prompt in tqdm(draw(bench.prompts, work.plain_texts, seed=repeat), desc="plain generate"):
            meter.time(PLAIN_SAMPLE, write_plain, bench.plain_model, steer, [prompt], 1)
        prompts = draw(bench.prompts, bench.prompts_per_call, seed=repeat)
        meter.time(PLAIN_BATCH, write_plain, bench.model, steer, prompts, work.samples)
        for mode in MODES if repeat % 2 == 0 else reversed(MODES):
            generations[mode] = meter.time(mode, write, bench, steer, bench.prompts, mode)
    return generations[FOLDED]


def write_plain(model: LanguageModel, steer: Steer, prompts: Sequence[Prompt], samples: int) -> list[str]:
    """Write by one call of transformers' ``generate``; one sample of one prompt in float32 is the paper's way."""
    texts, tokens = [prompt.text for prompt in prompts], DECODING.max_new_tokens
    return sample_batch(model, steer, {ATTRIBUTE: STRENGTH}, texts, samples=samples, p=DECODING.p, tokens=tokens)


def write(bench: Bench, steer: Steer, prompts: Sequence[Prompt], mode: str) -> list[Generation]:
    """Write with lmsteer: unsteered, at one folded strength, or every other prompt at the opposite strength."""
    samples, batch_size = bench.work.samples, bench.work.batch_size
    generator = Generator(
        bench.model, prompts, decoding=DECODING, samples=samples, seed=bench.seed, batch_size=batch_size
    )
    if mode == BY_ROW:
        strengths = [{ATTRIBUTE: -STRENGTH if number % 2 else STRENGTH} for number in range(len(prompts))]
        batches = generator.run_rows(strengths, steer)
    elif mode == FOLDED:
        batches = generator.run([{ATTRIBUTE: STRENGTH}], steer)
    else:
        batches = generator.run([{}])
    return [generation for batch in batches for generation in batch]


def prompt_pairs(generations: Sequence[Generation], count: int) -> list[Pair]:
    """Pair the first prompts with each of their continuations."""
    return [(generation.prompt.text, text) for generation in generations for text in generation.texts][:count]


def measure_perplexity(bench: Bench, pairs: Sequence[Pair]) -> float:
    """Time both sides in turns; return the relative difference of their nats on the texts that both scored."""
    work, meter = bench.work, bench.meter
    meter.memory_and_warm_up(
        {PLAIN_PROMPT: partial(score_plain, bench, pairs[:1]), TEXTS: partial(score, bench, pairs)}
    )
    plain: list[float] = []
    indices: list[int] = []
    starts = range(0, len(pairs), work.samples)
    for repeat in range(work.repeats):
        for start in tqdm(draw(starts, work.plain_prompts, seed=repeat), desc="plain perplexity", unit="prompt"):
            of_prompt = range(start, start + work.samples)
            plain += meter.time(PLAIN_PROMPT, score_plain, bench, [pairs[index] for index in of_prompt])
            indices += of_prompt
        nll = meter.time(TEXTS, score, bench, pairs)
    return abs(sum(nll[index] for index in indices) - sum(plain)) / sum(plain)


def score_plain(bench: Bench, pairs: Sequence[Pair]) -> list[float]:
    """Return the nats of the continuations of one prompt by the plain version."""
    return continuation_nats(bench.plain_model, pairs[0][0], [continuation for _, continuation in pairs])


def score(bench: Bench, pairs: Sequence[Pair]) -> list[float]:
    """Return the nats of each continuation by lmsteer."""
    nll: list[float] = continuation_nll(bench.model, *zip(*pairs, strict=True))[0].tolist()
    return nll


def measure_scaling(bench: Bench, steer: Steer, pairs: Sequence[Pair]) -> Scaling:
    """Return the tokens and median seconds of each kind of work at a quarter, half, three quarters and all of it."""
    extract = FeatureExtractor(bench.model)
    texts = [row.text for row in bench.corpus.train]
    texts = draw(texts, max(1, len(texts) // EXTRACTION_SHARE), seed=bench.seed)
    lengths = [len(ids) for ids in bench.model.tokenizer([prompt + text for prompt, text in pairs])["input_ids"]]

    def extraction(size: int) -> int:
        return int(extract(texts[:size]).lengths.sum())

    def generation(size: int) -> int:
        write(bench, steer, bench.prompts[:size], FOLDED)
        return size * bench.work.samples * DECODING.max_new_tokens

    def perplexity(size: int) -> int:
        score(bench, pairs[:size])
        return sum(lengths[:size])

    kinds = ((extraction, len(texts)), (generation, len(bench.prompts)), (perplexity, len(pairs)))
    return {work.__name__: _measure_sizes(bench, work, largest) for work, largest in kinds}


def _measure_sizes(bench: Bench, work: Callable[[int], int], largest: int) -> dict[str, list[float]]:
    name, sizes = work.__name__, sorted({max(1, round(share * largest)) for share in SIZE_SHARES})
    tokens: dict[int, int] = {}
    for _ in range(bench.work.repeats):
        for size in tqdm(sizes, desc=f"sizes of {name}", unit="size"):
            tokens[size] = bench.meter.time(f"{name} {size}", work, size)
    return {
        "tokens": [tokens[size] for size in sizes],
        "seconds": [bench.meter.median(f"{name} {size}") for size in sizes],
    }
