"""Generation: a call for each sample, transformers' batches, and ours, unsteered and steered in two ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from tqdm.auto import tqdm

from experiments.speed.bench import ATTRIBUTE, DECODING, STRENGTH, Bench
from experiments.speed.plain import sample_batch, sequences
from lmsteer.generation.generator import Generator
from lmsteer.records import Generation, Prompt
from lmsteer.steering.steer import Steer

SAMPLE, TRANSFORMERS = "plain sample", "transformers' batch"
UNSTEERED, FOLDED, ROWS = "unsteered", "folded", "strengths by row"


def measure_generation(bench: Bench, steer: Steer) -> list[Generation]:
    """Time every way of writing in turns, ours forwards and backwards; return what ours wrote with the steer."""
    work, meter = bench.work, bench.meter
    in_one_call = prompts_in_one_call(bench)
    batch = bench.prompts[: max(1, work.batch_size // work.samples)]
    calls: dict[str, Callable[[], object]] = {
        SAMPLE: partial(write_one_by_one, bench, steer, batch[:1]),
        TRANSFORMERS: partial(write_with_transformers, bench, steer, batch[:in_one_call]),
        **{name: partial(write, bench, steer, batch) for name, write in OURS.items()},
    }
    meter.memory_and_warm_up(calls)
    written: dict[str, list[Generation]] = {}
    for repeat in range(work.repeats):
        for prompt in tqdm(work.some(bench.prompts, work.plain_texts, seed=repeat), desc="plain generate"):
            meter.time(SAMPLE, write_one_by_one, bench, steer, [prompt])
        chosen = work.some(bench.prompts, in_one_call, seed=repeat)
        meter.time(TRANSFORMERS, write_with_transformers, bench, steer, chosen)
        for name in OURS if repeat % 2 == 0 else reversed(OURS):
            written[name] = meter.time(name, OURS[name], bench, steer, bench.prompts)
    return written[FOLDED]


def prompts_in_one_call(bench: Bench) -> int:
    """Prompts of one call of transformers' ``generate``, each with all its samples."""
    size = sequences(bench.ours.device, bench.work.batch_size) // bench.work.samples
    return min(max(1, size), len(bench.prompts))


def write_one_by_one(bench: Bench, steer: Steer, prompts: Sequence[Prompt]) -> list[str]:
    """The paper's way: a call in float32 for each sample, here one for each prompt."""
    calls = (
        sample_batch(
            bench.plain,
            steer,
            {ATTRIBUTE: STRENGTH},
            [prompt.text],
            samples=1,
            p=DECODING.p,
            tokens=DECODING.max_new_tokens,
        )
        for prompt in prompts
    )
    return [text for texts in calls for text in texts]


def write_with_transformers(bench: Bench, steer: Steer, prompts: Sequence[Prompt]) -> list[str]:
    """All samples of all prompts in one call, in our dtype."""
    return sample_batch(
        bench.ours,
        steer,
        {ATTRIBUTE: STRENGTH},
        [prompt.text for prompt in prompts],
        samples=bench.work.samples,
        p=DECODING.p,
        tokens=DECODING.max_new_tokens,
    )


def _generator(bench: Bench, prompts: Sequence[Prompt]) -> Generator:
    return Generator(
        bench.ours,
        prompts,
        decoding=DECODING,
        samples=bench.work.samples,
        seed=bench.seed,
        batch_size=bench.work.batch_size,
    )


def write_unsteered(bench: Bench, steer: Steer, prompts: Sequence[Prompt]) -> list[Generation]:
    """Ours, without a steer."""
    return [generation for batch in _generator(bench, prompts).run([{}]) for generation in batch]


def write_folded(bench: Bench, steer: Steer, prompts: Sequence[Prompt]) -> list[Generation]:
    """Ours, at one strength, which is folded into the head."""
    batches = _generator(bench, prompts).run([{ATTRIBUTE: STRENGTH}], steer)
    return [generation for batch in batches for generation in batch]


def write_by_row(bench: Bench, steer: Steer, prompts: Sequence[Prompt]) -> list[Generation]:
    """Ours, every other prompt at the opposite strength."""
    strengths = [{ATTRIBUTE: -STRENGTH if number % 2 else STRENGTH} for number in range(len(prompts))]
    return [generation for batch in _generator(bench, prompts).run_rows(strengths, steer) for generation in batch]


OURS: dict[str, Callable[[Bench, Steer, Sequence[Prompt]], list[Generation]]] = {
    UNSTEERED: write_unsteered,
    FOLDED: write_folded,
    ROWS: write_by_row,
}
