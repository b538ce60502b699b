"""Write answers, one file for each rule, combination and strength; finished files are not written again."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from experiments.behaviours.fits import Fits
from experiments.behaviours.rules import PLAIN, RULES
from lmsteer.behaviours import verify
from lmsteer.behaviours.instructions import ask, instruction
from lmsteer.generation.decoding import Decoding
from lmsteer.generation.generator import Generator
from lmsteer.records import Generation, Prompt, read_generations
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


def cells_of(rule: str, behaviours: Sequence[str]) -> list[Cell]:
    """Return the cells of a combination: one, or one for each order of the instructions."""
    if not RULES[rule].is_instructed:
        return [Cell(rule, tuple(behaviours))]
    return [Cell(rule, order) for order in itertools.permutations(behaviours)]


def write_cells(fits: Fits, cells: Sequence[Cell], decoding: Decoding, strengths: Strengths, *, stage: str) -> None:
    """Write the answers of all cells whose files are missing."""
    missing = [cell for cell in cells if not is_complete(fits.run.path(cell.name))]
    bar = tqdm(missing, total=len(cells), initial=len(cells) - len(missing), desc=stage, unit="cell")
    for cell in bar:
        bar.set_postfix_str(f"{cell.rule} {'+'.join(cell.behaviours)}")
        path = fits.run.path(cell.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with fits.run.timed(stage):
            atomic_write_lines(path, (generation.to_json() for generation in _write(fits, cell, decoding, strengths)))


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


def _write(fits: Fits, cell: Cell, decoding: Decoding, strengths: Strengths) -> list[Generation]:
    rule = RULES.get(cell.rule, PLAIN)
    chosen = [
        (strengths[rule.sweep][name] if cell.strength is None else cell.strength) if rule.sweep else 0.0
        for name in cell.behaviours
    ]
    controller, strength = rule.compose(fits, cell.behaviours, chosen)
    generator = Generator(
        fits.model,
        prompts_of(fits.answers.questions[cell.split], cell.behaviours if rule.is_instructed else ()),
        decoding=decoding,
        seed=fits.config["seed"],
        batch_size=fits.config["batch_size"],
        prompts_name=cell.split,
    )
    return sorted(
        itertools.chain.from_iterable(generator.run([strength], controller)), key=lambda one: int(one.prompt.id)
    )
