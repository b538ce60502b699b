"""Prompts and strengths to generations, in fixed batches that a resumed run takes whole."""

from __future__ import annotations

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
from torch import Tensor
from tqdm.auto import tqdm

from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError
from lmsteer.generation.decoding import Decoding, Readout, decode, encode
from lmsteer.generation.generation_files import sound_lines
from lmsteer.generation.noise import sample_key
from lmsteer.generation.sampling import Nucleus
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Generation, Likelihood, Prompt, read_generations
from lmsteer.steering.fold import SteeredHead, fold
from lmsteer.steering.steer import Steer
from lmsteer.storage.atomic_files import appending, atomic_write, atomic_write_lines

Strength = Mapping[str, float]


class Generator:
    """Continue a list of prompts, ``samples`` times each, at any strength of a steer.

    Args:
        batch_size: Sequences decoded at once; a prompt's samples always stay together.
        seed: With prompt id, sample and step it fixes the noise, which is therefore the same at every strength.
        likelihoods: Whether generations tell how likely the unsteered model finds them, where that is known on the way:
            where the text is read as the tokens that were written.

    Raises:
        InputError: If there are no prompts, one is too long, ids repeat, or a number is below 1.
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
        if not prompts or len({prompt.id for prompt in prompts}) != len(prompts):
            raise InputError(f"prompt set {prompts_name!r}: one or more prompts with distinct ids expected")
        self.model, self.prompts, self.prompts_name = model, prompts, prompts_name
        self.decoding, self.samples, self.seed = decoding, samples, seed
        self.likelihoods = likelihoods
        self._ids = [encode(model, prompt.text, decoding.max_new_tokens) for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda index: (len(self._ids[index]), index))
        size = max(1, batch_size // samples)
        self.batches = [order[start : start + size] for start in range(0, len(order), size)]

    def lengths(self) -> list[int]:
        """Tokens of each prompt."""
        return [len(ids) for ids in self._ids]

    def identity(self) -> str:
        """What the plain model's texts depend on: model, prompts, decoding, batches, noise, and this package's code."""
        prompts = [(prompt.id, prompt.text) for prompt in self.prompts]
        how = [self.samples, self.seed, len(self.batches[0]), self.prompts_name, self.likelihoods]
        parts = json.dumps([self.model.fingerprint(), repr(self.decoding), how, prompts, _code()])
        return hashlib.sha256(parts.encode()).hexdigest()[:24]

    def batch(self, readout: Readout, strengths: Sequence[Strength], batch: Sequence[int]) -> list[Generation]:
        """Generations of the prompts whose indices are in ``batch``; ``strengths`` are those of ``readout``."""
        keys = [
            sample_key(self.seed, self.prompts[index].id, sample) for index in batch for sample in range(self.samples)
        ]
        ids_BT, nats_B = decode(
            self.model,
            readout,
            [self._ids[index] for index in batch],
            np.array(keys, dtype=np.uint64),
            self.decoding,
            likelihoods=self.likelihoods,
        )
        written = ids_BT.tolist()
        nats = nats_B.tolist() if nats_B is not None else []
        return [
            self._generation(index, strength, written[first : first + self.samples], nats[first : first + self.samples])
            for first, index, strength in zip(count(0, self.samples), batch, strengths)
        ]

    def _generation(
        self, index: int, strength: Strength, written: Sequence[list[int]], nats: Sequence[float]
    ) -> Generation:
        prompt, ids = self.prompts[index], self._ids[index]
        texts = tuple(self._text(ids, sample) for sample in written)
        if not nats:
            return Generation(prompt, texts, dict(strength), self.prompts_name)
        read = self.model.tokenizer([prompt.text + text for text in texts])["input_ids"]
        likelihoods = tuple(
            Likelihood(round(value, 4), len(sample)) if prompt.text and own == ids + sample else None
            for value, sample, own in zip(nats, written, read, strict=True)
        )
        perplexity_model = self.model.fingerprint()
        return Generation(
            prompt, texts, dict(strength), self.prompts_name, likelihoods=likelihoods, perplexity_model=perplexity_model
        )

    def _text(self, prompt: list[int], written: list[int]) -> str:
        """The continuation as it stands behind the prompt: some tokenizers drop a space that begins a text."""
        before, full_text = self._decoded(prompt), self._decoded(prompt + written)
        return full_text[len(before) :] if full_text.startswith(before) else self._decoded(written)

    def _decoded(self, ids: list[int]) -> str:
        return str(self.model.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def run(
        self, strengths: Sequence[Strength], steer: Steer | None = None, process_group: ProcessGroup | None = None
    ) -> Iterator[list[Generation]]:
        """Batches of generations, strength by strength, with a progress bar.

        Args:
            world: The processes that generate together; each gets its share of the batches.

        Raises:
            InputError: If a strength names a dimension that the steer does not have.
        """
        settings = [(strength, strength_vector(strength, steer)) for strength in strengths]
        yield from self._run(settings, steer, skip=0, process_group=process_group or ProcessGroup())

    def _run(
        self,
        settings: Sequence[tuple[Strength, Tensor | None]],
        steer: Steer | None,
        skip: int,
        process_group: ProcessGroup,
    ) -> Iterator[list[Generation]]:
        own = process_group.shard(self._places(len(settings)))
        bar = tqdm(
            total=len(own),
            initial=skip,
            desc="generate",
            unit="batch",
            leave=len(own) > 1,
            disable=not process_group.is_rank_zero,
        )
        with bar as progress:
            for number, places in itertools.groupby(own[skip:], key=lambda place: place[0]):
                strength, vector = settings[number]
                folds = steer is not None and vector is not None
                head = fold(self.model.head, steer, vector) if folds else self.model.head  # type: ignore[arg-type]
                for _, batch in places:
                    yield self.batch(head, [strength] * len(batch), batch)
                    progress.update()

    def _places(self, strengths: int) -> list[tuple[int, list[int]]]:
        """Number of the strength and batch of prompts, in the order in which they are generated."""
        return [(number, batch) for number in range(strengths) for batch in self.batches]

    def run_rows(self, strengths: Sequence[Strength], steer: Steer) -> Iterator[list[Generation]]:
        """Batches of generations, each prompt at a strength of its own, with a progress bar.

        Raises:
            InputError: If there are not as many strengths as prompts, or one names a dimension that the steer lacks.
        """
        if len(strengths) != len(self.prompts):
            raise InputError(f"{len(strengths)} strengths for {len(self.prompts)} prompts; one for each expected")
        vectors = [steer.strengths(strength) for strength in strengths]
        for batch in tqdm(self.batches, desc="generate", unit="batch"):
            strength_BK = torch.stack([vectors[index] for index in batch]).repeat_interleave(self.samples, dim=0)
            readout = SteeredHead(self.model.head, steer, strength_BK)
            yield self.batch(readout, [strengths[index] for index in batch], batch)

    def write(
        self,
        path: Path,
        strengths: Sequence[Strength],
        steer: Steer | None = None,
        budgets: Sequence[str] = (),
        process_group: ProcessGroup | None = None,
    ) -> None:
        """Write ``path`` (JSONL, in the order strength, prompt), going on where an interrupted run stopped.

        Finished batches wait in a file beside it that ends in ``.part``, one for each process. What another number of
        processes left there is written anew.

        Args:
            budgets: What each strength was calibrated to; none: they were all given.
            world: The processes that generate together, all of which call this; None: one.
        """
        process_group = process_group or ProcessGroup()
        settings = [(strength, strength_vector(strength, steer)) for strength in strengths]
        part = _part(path, process_group.rank, process_group.size)
        skip = self._keep_whole_batches(part, process_group.shard(self._places(len(settings))))
        with appending(part) as file:
            for batch in self._run(settings, steer, skip, process_group):
                file.write("".join(generation.to_json() + "\n" for generation in batch).encode())
                file.flush()
        process_group.barrier()
        if process_group.is_rank_zero:
            self._merge(path, process_group.size, budgets or [""] * len(strengths))
        process_group.barrier()

    def _merge(self, path: Path, processes: int, budgets: Sequence[str]) -> None:
        """Write ``path`` of the parts of all processes."""
        places, found = self._places(len(budgets)), []
        busy = min(processes, len(places))
        parts = [iter(read_generations(_part(path, rank, processes))) for rank in range(busy)]
        for turn, (number, batch) in enumerate(places):
            found += [((number, index), next(parts[turn % processes])) for index in batch]
        found.sort(key=lambda pair: pair[0])
        atomic_write_lines(path, (replace(g, budget=budgets[number]).to_json() for (number, _), g in found))
        for part in path.parent.glob(f"{path.name}.*part"):
            part.unlink()

    def _keep_whole_batches(self, part: Path, places: Sequence[tuple[int, list[int]]]) -> int:
        """Cut an interrupted file after its last whole batch; return how many batches it holds."""
        lines = sound_lines(part, (self.prompts[index] for _, batch in places for index in batch))
        batches, kept = 0, 0
        while batches < len(places) and kept + (size := len(places[batches][1])) <= len(lines):
            batches, kept = batches + 1, kept + size
        with atomic_write(part) as temporary:
            temporary.write_bytes(b"".join(line + b"\n" for line in lines[:kept]))
        return batches


def generate(
    model: LanguageModel,
    prompts: Sequence[str],
    *,
    steer: Steer | None = None,
    strength: Strength | Sequence[Strength] | None = None,
    samples: int = 1,
    decoding: Decoding | None = None,
    seed: int = 0,
) -> list[Generation]:
    """Continue texts, without files.

    Args:
        strength: One for all prompts, or a list with one for each.

    Returns:
        One generation a prompt, in order; ``texts`` are its ``samples`` continuations.

    Raises:
        InputError: If a strength is not one of the steer's dimensions, or a prompt is too long for the model.
    """
    named = [Prompt(str(number), text) for number, text in enumerate(prompts)]
    generator = Generator(model, named, decoding=decoding or Nucleus(), samples=samples, seed=seed)
    if strength is None or isinstance(strength, Mapping):
        batches = generator.run([strength or {}], steer)
    elif steer is None:
        raise InputError("a strength for each prompt needs a steer; give one")
    else:
        batches = generator.run_rows(strength, steer)
    written = [generation for batch in batches for generation in batch]
    return sorted(written, key=lambda generation: int(generation.prompt.id))


def strength_vector(strength: Strength, steer: Steer | None) -> Tensor | None:
    """Strengths as a vector (K,); None where they are all 0 and the head is the model's own.

    Raises:
        InputError: If a name is not one of the steer's dimensions, or there is no steer.
    """
    if steer is not None:
        vector = steer.strengths(strength)
        return vector if any(strength.values()) else None
    if any(strength.values()):
        raise InputError(f"strength {dict(strength)}: there is no steer; name one with steer_file=FILE")
    return None


def _part(path: Path, rank: int, processes: int) -> Path:
    """Where the finished batches of a process wait."""
    place = f".{rank}-of-{processes}" if processes > 1 else ""
    return path.with_name(f"{path.name}{place}.part")


@cache
def _code() -> str:
    """sha256 of this package's sources, which decide what is written as much as any option."""
    state = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        state.update(path.read_bytes())
    return state.hexdigest()
