"""Write answers, one file for each rule, combination and strength; finished files are not written again."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from tqdm.auto import tqdm

from experiments.behaviours.fits import Fits
from experiments.behaviours.rules import PLAIN, RULES, Controlled, edits_body
from lmsteer.behaviours import verify
from lmsteer.behaviours.instructions import ask, instruction
from lmsteer.generation.decoding import Decoding
from lmsteer.generation.generator import Generator
from lmsteer.models.mixture import Mixture, mixture_at
from lmsteer.records import Generation, Prompt, read_generations
from lmsteer.steering.fold import mixed_steers
from lmsteer.steering.steer import Steer
from lmsteer.storage.atomic_files import atomic_write_lines, is_complete

Strengths = Mapping[str, Mapping[str, float]]
"""The chosen strength of each behaviour, by the rule with which it was chosen."""


@dataclass(frozen=True)
class Cell:
    """One rule on one combination, for the questions of a split.

    Attributes:
        behaviours: In the order of their instructions.
        strength: Of a single behaviour whose strengths are compared; None: the chosen strengths.
    """

    rule: str
    behaviours: tuple[str, ...]
    split: str = "test"
    strength: float | None = None

    @property
    def name(self) -> str:
        """Name of the file of the answers, in the run folder."""
        at = "" if self.strength is None else f"@{self.strength:g}"
        folder = self.rule.replace(" ", "-")
        return f"texts/{folder}/{self.split}/{'+'.join(self.behaviours) or 'no-behaviour'}{at}.jsonl"

    @property
    def is_instructed(self) -> bool:
        """Whether the questions have an instruction for each behaviour."""
        return RULES.get(self.rule, PLAIN).is_instructed


def cells_of(rule: str, behaviours: Sequence[str]) -> list[Cell]:
    """Return the cells of a combination: one, or one for each order of the instructions."""
    if not RULES[rule].is_instructed:
        return [Cell(rule, tuple(behaviours))]
    return [Cell(rule, order) for order in itertools.permutations(behaviours)]


def write_cells(fits: Fits, cells: Sequence[Cell], decoding: Decoding, strengths: Strengths, *, stage: str) -> None:
    """Write the answers of all cells whose files are missing; those that share a body are written in one batch.

    The batches depend on all cells, so that a resumed study writes the texts of an unbroken one.
    """
    groups = _groups(cells, max(1, fits.config["batch_size"] // len(fits.answers.questions[cells[0].split])))
    missing = [group for group in groups if not all(is_complete(fits.run.path(cell.name)) for cell in group)]
    left = sum(map(len, missing))
    with tqdm(total=len(cells), initial=len(cells) - left, desc=stage, unit="cell") as bar:
        for group in missing:
            bar.set_postfix_str(f"{group[0].rule} {'+'.join(group[0].behaviours)}")
            with fits.run.timed(stage):
                for cell, generations in zip(group, _write(fits, group, decoding, strengths), strict=True):
                    path = fits.run.path(cell.name)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    atomic_write_lines(path, (generation.to_json() for generation in generations))
            bar.update(len(group))


def _groups(cells: Sequence[Cell], size: int) -> list[list[Cell]]:
    """Group cells: of those that the plain body writes up to ``size``, every other one alone."""
    steered = [cell for cell in cells if not edits_body(cell.rule)]
    groups = [steered[start : start + size] for start in range(0, len(steered), size)]
    return [*groups, *([cell] for cell in cells if edits_body(cell.rule))]


def read_cell(folder: Path, cell: Cell) -> list[Generation]:
    """Read the answers of a cell, in the order of the questions.

    Raises:
        InputError: If the file is missing or damaged.
    """
    return read_generations(folder / cell.name)


def satisfied(texts: Sequence[str], behaviours: Sequence[str]) -> list[float]:
    """Return 1 for each text that has all behaviours, else 0."""
    return [float(all(verify(name, text) for name in behaviours)) for text in texts]


def prompts_of(questions: Sequence[str], behaviours: Sequence[str]) -> list[Prompt]:
    """Return questions as prompts, each with an instruction for each behaviour, whose wordings take turns."""
    prompts = []
    for number, question in enumerate(questions):
        text = ask(question, *(instruction(name, number) for name in behaviours))
        prompts.append(Prompt(str(number), text, (("user", text),)))
    return prompts


def _write(fits: Fits, cells: Sequence[Cell], decoding: Decoding, strengths: Strengths) -> list[list[Generation]]:
    """Write the answers of cells in one batch of prompts, each at the strength of its cell."""
    controlled = [_compose(fits, cell, strengths) for cell in cells]
    prompts = [
        (index, prompt)
        for index, cell in enumerate(cells)
        for prompt in prompts_of(fits.answers.questions[cell.split], cell.behaviours if cell.is_instructed else ())
    ]
    generator = Generator(
        fits.model,
        [replace(prompt, id=f"{index} {prompt.id}") for index, prompt in prompts],
        decoding=decoding,
        seed=fits.config["seed"],
        batch_size=fits.config["batch_size"],
        prompts_name=cells[0].split,
    )
    written: dict[str, Generation] = {}
    for batch in generator.batches:
        of_rows = [controlled[prompts[row][0]] for row in batch]
        generations = generator.batch(_mixture(fits, of_rows), [strength for _, strength in of_rows], batch)
        written |= {generation.prompt.id: generation for generation in generations}
    answers: list[list[Generation]] = [[] for _ in cells]
    for index, prompt in prompts:
        answers[index].append(replace(written[f"{index} {prompt.id}"], prompt=prompt))
    return answers


def _compose(fits: Fits, cell: Cell, strengths: Strengths) -> Controlled:
    rule = RULES.get(cell.rule, PLAIN)
    chosen = [
        (strengths[rule.sweep][name] if cell.strength is None else cell.strength) if rule.sweep else 0.0
        for name in cell.behaviours
    ]
    return rule.compose(fits, cell.behaviours, chosen)


def _mixture(fits: Fits, of_rows: Sequence[Controlled]) -> Mixture:
    """Return the distribution of the next token of rows, each with its steer, or all with one controller."""
    controller, strength = of_rows[0]
    if all(other is controller for other, _ in of_rows):
        return mixture_at(fits.model, strength, controller)
    steers = [(cast(Steer | None, one), strength) for one, strength in of_rows]
    return mixed_steers(fits.model, steers)
