"""Generate continuations of prompts at strengths of a steer, in fixed batches."""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError
from lmsteer.generation.batch_files import BatchFiles
from lmsteer.generation.decoding import ENDED, Decoding, decode
from lmsteer.generation.generation_files import expected_generations
from lmsteer.generation.noise import sample_key
from lmsteer.generation.sampling import Nucleus
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.memory import check_sequences
from lmsteer.models.mixture import Controller, Mixture, Source, check_strength, mixture_at
from lmsteer.records import Generation, Likelihood, Prompt
from lmsteer.steering.fold import steered_rows
from lmsteer.steering.steer import Steer

Strength = Mapping[str, float]


class Generator:
    """Continue a list of prompts, ``samples`` times each, at any strength of a steer.

    Args:
        batch_size: Maximum number of sequences decoded at once; the samples of a prompt always stay together.
        seed: Seed of the noise, which depends on it, prompt id, sample and step, and is equal at every strength.
        likelihoods: Whether generations have their likelihood under the unsteered model, if the text is tokenized as
            it was generated.

    Raises:
        InputError: If there are no prompts, a prompt is too long, ids repeat, a number is below 1, a batch does not fit
            into memory, or the model is recurrent or has no key-value cache.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: Sequence[Prompt],
        *,
        decoding: Decoding,
        samples: int = 1,
        seed: int = 0,
        batch_size: int = 128,
        prompts_name: str = "",
        likelihoods: bool = False,
    ) -> None:
        for name, value in (("samples", samples), ("batch_size", batch_size)):
            if value < 1:
                raise InputError(f"{name}={value}: an integer of 1 or more expected")
        if model.lm._is_stateful:
            raise InputError(
                f"model {model.name}: a recurrent model, whose state cannot be shared by samples; use another"
            )
        if not model.accepts("past_key_values"):
            raise InputError(f"model {model.name}: it has no key-value cache, which generating needs; use another")
        if not prompts or len({prompt.id for prompt in prompts}) != len(prompts):
            raise InputError(f"prompt set {prompts_name!r}: one or more prompts with distinct ids expected")
        self.model, self.prompts, self.prompts_name = model, prompts, prompts_name
        self.decoding, self.samples, self.seed = decoding, samples, seed
        self.likelihoods = likelihoods
        plain = Source(model, model.head)
        self._ids = [plain.encode(prompt.content, decoding.max_new_tokens) for prompt in prompts]
        self.batches = self._batches(max(1, batch_size // samples))
        tokens = max(map(len, self._ids)) + decoding.max_new_tokens
        check_sequences(model.lm, max(map(len, self.batches)) * samples, tokens, model.head.weight, option=batch_size)

    @property
    def prompt_tokens(self) -> int:
        """Number of tokens of all prompts."""
        return sum(map(len, self._ids))

    def _batches(self, size: int) -> list[list[int]]:
        """Group the indices of prompts by length; a model without ``position_ids`` gets none padded."""
        lengths = [len(ids) for ids in self._ids]
        order = sorted(range(len(lengths)), key=lambda index: (lengths[index], index))
        padded = self.model.accepts("position_ids")
        groups = [list(group) for _, group in itertools.groupby(order, lambda index: padded or lengths[index])]
        return [group[start : start + size] for group in groups for start in range(0, len(group), size)]

    def identity(self) -> str:
        """Return a digest of all that the plain model's texts depend on: model, prompts, options, and this package."""
        prompts = [(prompt.id, str(self.model.prompt(prompt.content))) for prompt in self.prompts]
        options = [self.samples, self.seed, max(map(len, self.batches)), self.prompts_name, self.likelihoods]
        inputs = json.dumps([self.model.fingerprint(), repr(self.decoding), options, prompts, _code()])
        return hashlib.sha256(inputs.encode()).hexdigest()[:24]

    def check_length(self, prefix: str) -> None:
        """Refuse a prefix after which a prompt and its continuation exceed the model's context.

        Raises:
            InputError: Naming the prompt.
        """
        source = Source(self.model, self.model.head, prefix=prefix)
        for prompt in self.prompts:
            source.encode(prompt.content, self.decoding.max_new_tokens)

    def check(self, strength: Strength, controller: Controller | None) -> None:
        """Refuse a strength that a controller does not have, and prompts too long for what it writes before them.

        Raises:
            InputError: Naming the strength or the prompt.
        """
        for source in mixture_at(self.model, strength, controller).sources:
            self.check_length(source.prefix)

    def batch(self, mixture: Mixture, strengths: Sequence[Strength], batch: Sequence[int]) -> list[Generation]:
        """Generate for the prompts with the indices ``batch``; ``strengths`` are those of ``mixture``."""
        keys = [
            sample_key(self.seed, self.prompts[index].id, sample) for index in batch for sample in range(self.samples)
        ]
        ids_BT, nll_B = decode(
            self.model,
            mixture,
            [self.prompts[index].content for index in batch],
            np.array(keys, dtype=np.uint64),
            self.decoding,
            likelihoods=self.likelihoods,
        )
        tokens = [[token for token in row if token != ENDED] for row in ids_BT.tolist()]
        nll = nll_B.tolist() if nll_B is not None else []
        return [
            self._generation(index, strength, tokens[first : first + self.samples], nll[first : first + self.samples])
            for first, index, strength in zip(count(0, self.samples), batch, strengths)
        ]

    def _generation(
        self, index: int, strength: Strength, tokens: Sequence[list[int]], nll: Sequence[float]
    ) -> Generation:
        prompt, ids = self.prompts[index], self._ids[index]
        texts = tuple(self._text(ids, sample) for sample in tokens)
        cut = tuple(self.decoding.stop_at_end and len(sample) == self.decoding.max_new_tokens for sample in tokens)
        generation = Generation(prompt, texts, dict(strength), self.prompts_name, cut=cut if any(cut) else ())
        if not nll:
            return generation
        tokenized = self.model.tokenize([self.model.prompt(prompt.content, continuation=text) for text in texts])
        likelihoods = tuple(
            Likelihood(round(value, 4), len(sample)) if prompt.text and full == ids + sample else None
            for value, sample, full in zip(nll, tokens, tokenized, strict=True)
        )
        return replace(generation, likelihoods=likelihoods, perplexity_model=self.model.fingerprint())

    def _text(self, prompt: list[int], tokens: list[int]) -> str:
        """Decode a continuation after its prompt, as some tokenizers drop a space that begins a text."""
        before, full_text = self.model.detokenize(prompt), self.model.detokenize(prompt + tokens)
        return full_text[len(before) :] if full_text.startswith(before) else self.model.detokenize(tokens)

    def run(
        self,
        strengths: Sequence[Strength],
        controller: Controller | None = None,
        process_group: ProcessGroup | None = None,
    ) -> Iterator[list[Generation]]:
        """Yield batches of generations, strength by strength, with a progress bar.

        Args:
            process_group: Processes that generate together; each yields its shard of the batches. None: one process.

        Raises:
            InputError: If a strength names a dimension that the controller does not have.
        """
        process_group = process_group or ProcessGroup()
        plan = process_group.shard(self._plan(len(strengths)))
        yield from self._run(plan, strengths, controller, show=process_group.is_rank_zero)

    def _plan(self, strengths: int) -> list[tuple[int, list[int]]]:
        """List the index of the strength and the indices of the prompts of each batch, in order of generation."""
        return [(number, batch) for number in range(strengths) for batch in self.batches]

    def _run(
        self,
        plan: Sequence[tuple[int, list[int]]],
        strengths: Sequence[Strength],
        controller: Controller | None,
        *,
        show: bool,
        done: int = 0,
    ) -> Iterator[list[Generation]]:
        total = done + len(plan)
        bar = tqdm(total=total, initial=done, desc="generate", unit="batch", leave=total > 1, disable=not show)
        with bar as progress:
            for number, batches in itertools.groupby(plan, key=lambda item: item[0]):
                strength = strengths[number]
                mixture = mixture_at(self.model, strength, controller)
                for _, batch in batches:
                    yield self.batch(mixture, [strength] * len(batch), batch)
                    progress.update()

    def run_rows(self, strengths: Sequence[Strength], steer: Steer) -> Iterator[list[Generation]]:
        """Yield batches of generations, each prompt at its strength, with a progress bar.

        Raises:
            InputError: If the numbers of strengths and prompts differ, or a strength names an unknown dimension.
        """
        if len(strengths) != len(self.prompts):
            raise InputError(f"{len(strengths)} strengths for {len(self.prompts)} prompts; one for each expected")
        vectors = [steer.strengths(strength) for strength in strengths]
        for batch in tqdm(self.batches, desc="generate", unit="batch"):
            strength_BK = torch.stack([vectors[index] for index in batch]).repeat_interleave(self.samples, dim=0)
            yield self.batch(steered_rows(self.model, steer, strength_BK), [strengths[index] for index in batch], batch)

    def write(
        self,
        path: Path,
        settings: Sequence[tuple[Strength, str]],
        controller: Controller | None = None,
        process_group: ProcessGroup | None = None,
    ) -> None:
        """Write generations to ``path`` (JSONL, in the order strength, prompt); resume an interrupted call.

        Args:
            settings: Strengths, each with the name of the budget that it was calibrated to; "" if it was given.
            process_group: Processes that generate together, all of which call this; None: one.

        Raises:
            InputError: If a strength names a dimension that the controller does not have.
        """
        process_group = process_group or ProcessGroup()
        strengths, plan, files = [strength for strength, _ in settings], self._plan(len(settings)), BatchFiles(path)
        for strength in strengths:
            check_strength(strength, controller)  # refuses unknown dimensions before anything is written
        expected = [expected_generations([self.prompts[i] for i in batch], [settings[n]]) for n, batch in plan]
        shard = process_group.shard(range(len(plan)))
        missing = [i for i in shard if not files.holds(i, expected[i], self.samples)]
        show, done = process_group.is_rank_zero, len(shard) - len(missing)
        run = self._run([plan[i] for i in missing], strengths, controller, show=show, done=done)
        for i, generations in zip(missing, run, strict=True):
            files.write(i, [replace(generation, budget=settings[plan[i][0]][1]) for generation in generations])
        process_group.barrier()
        if process_group.is_rank_zero:
            files.merge([[(number, index) for index in batch] for number, batch in plan])
        process_group.barrier()


def generate(
    model: LanguageModel,
    prompts: Sequence[str],
    *,
    steer: Controller | None = None,
    strength: Strength | Sequence[Strength] | None = None,
    samples: int = 1,
    decoding: Decoding | None = None,
    seed: int = 0,
) -> list[Generation]:
    """Continue texts, without files.

    Args:
        steer: A steer, or what ``load_controller`` read of another method.
        strength: Strengths by dimension: one mapping for all prompts, or, of a steer, a list with one for each.

    Returns:
        A generation for each prompt, in order; ``texts`` are its ``samples`` continuations.

    Raises:
        InputError: If a strength is not one of the steer's dimensions, or a prompt is too long for the model.

    Example:
        >>> from lmsteer.models.random_models import tiny
        >>> steer = Steer(32, dimensions=["tone"], rank=4)
        >>> texts = generate(tiny(), ["the film"], steer=steer, strength={"tone": 3.0}, samples=2)
        >>> len(texts), len(texts[0].texts)
        (1, 2)
    """
    with_ids = [Prompt(str(number), text) for number, text in enumerate(prompts)]
    generator = Generator(model, with_ids, decoding=decoding or Nucleus(), samples=samples, seed=seed)
    if strength is None or isinstance(strength, Mapping):
        batches = generator.run([strength or {}], steer)
    elif not isinstance(steer, Steer):
        raise InputError("a strength for each prompt needs a steer; give one")
    else:
        batches = generator.run_rows(strength, steer)
    generations = [generation for batch in batches for generation in batch]
    return sorted(generations, key=lambda generation: int(generation.prompt.id))


@cache
def _code() -> str:
    """Return the sha256 of this package's sources, on which generations depend as on any option."""
    state = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        state.update(path.read_bytes())
    return state.hexdigest()
