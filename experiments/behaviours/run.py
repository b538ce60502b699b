"""Compare the rules by which behaviours are composed: one steer for each behaviour, then pairs and triples of them.

python -m experiments.behaviours.run answers=FOLDER
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import DictConfig
from pydantic import Field

from experiments.behaviours.answer_folder import AnswerFolder
from experiments.behaviours.choices import (
    Chosen,
    choose_combinations,
    choose_strengths,
    rule_names,
    single_cells,
    sweep_cells,
    swept_grid,
    to_json,
)
from experiments.behaviours.fits import Fits
from experiments.behaviours.measure import measure_quality, measure_rules, measure_singles, verify_answers
from experiments.behaviours.report import behaviour_figure, behaviour_tables
from experiments.behaviours.texts import Strengths, cells_of, write_cells
from experiments.study import Results, open_run, run_study
from lmsteer.behaviours import NAMES
from lmsteer.cli.app import entry_point
from lmsteer.cli.configuration import build
from lmsteer.cli.options import FromOne, NonEmpty, Object
from lmsteer.cli.preparation import prepare
from lmsteer.errors import InputError
from lmsteer.generation.decoding import Decoding
from lmsteer.models.language_model import LanguageModel
from lmsteer.scoring.judge import Judge
from lmsteer.storage.atomic_files import atomic_write_lines

RuleName = Literal["sum", "added factors", "mean", "ties", "dare", "joint", "diffmean", "lora", "instruction", "hybrid"]
Grid = Annotated[list[Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=1)]
TYPES: dict[str, Any] = {
    "answers": NonEmpty,
    "questions": dict[Literal["dev", "test"], FromOne],
    "combinations": dict[Literal["pairs", "triples"], FromOne | None],
    "rules": Annotated[list[RuleName], Field(min_length=1)] | None,
    "strengths": dict[Literal["sum", "hybrid", "diffmean", "lora"], Grid],
    "density": Annotated[float, Field(gt=0, le=1)],
    "damping": Annotated[float, Field(gt=0, allow_inf_nan=False)],
    "vectors": Object,
    "vector_batches": FromOne,
    "adapters": Object,
    "adapter_steps": FromOne,
    "batch_size": FromOne,
    "judge_model": Object | None,
    "scheduler": Object | None,
    "callbacks": dict[str, Object],
}


def compare_rules(cfg: DictConfig) -> Results:
    """Fit, choose strengths, write and measure answers; write ``behaviours.json``, ``.md`` and ``.png``."""
    config, run = open_run(cfg, TYPES)
    answers = AnswerFolder.read(Path(config["answers"]), **config["questions"])
    decoding: Decoding = build(config["decoding"])
    if not decoding.stop_at_end:
        raise InputError("decoding.stop_at_end=false: true expected, as words and sentences of cut answers mean little")
    rules, names = rule_names(config["rules"]), answers.included
    chosen = choose_combinations(names, config["combinations"], config["seed"])
    if not any(combinations for kinds in chosen.values() for combinations in kinds.values()):
        raise InputError(
            f"answers={answers.folder}: behaviours {', '.join(names) or 'none'}; two that combine expected"
        )

    def compute() -> Results:
        prepare(config, ("model",))
        model: LanguageModel = build(config["model"], device=config["device"], dtype=config["dtype"])
        fits, grid = Fits(run, model, answers, config), swept_grid(config["strengths"], rules)
        fits.check()
        run.begin()
        strengths = write_answers(fits, rules, chosen, decoding, grid)
        judge_model = (
            build(config["judge_model"], device=config["device"], dtype=config["dtype"])
            if config["judge_model"]
            else None
        )
        judge = Judge(judge_model, run.path("judge.jsonl")) if judge_model else None
        questions = answers.questions["test"]
        outcomes = verify_answers(run.folder, rules, chosen)
        return {
            "model": model.name,
            "questions": {split: len(texts) for split, texts in answers.questions.items()},
            "grid": grid["sum"],
            "singles": measure_singles(run.folder, answers, grid, strengths),
            "combinations": to_json(chosen),
            **measure_rules(outcomes, chosen, questions),
            "quality": measure_quality(run.folder, model, outcomes, chosen, questions, judge),
        }

    return run_study(run, "behaviours", compute, report=behaviour_tables, figure=behaviour_figure)


def write_answers(
    fits: Fits, rules: Sequence[str], chosen: Chosen, decoding: Decoding, grid: Mapping[str, Sequence[float]]
) -> Strengths:
    """Write the answers of all cells, and ``strengths.json`` with the strengths that dev questions choose."""
    names, folder = fits.answers.included, fits.run.folder
    swept = sweep_cells(names, grid)
    write_cells(fits, swept, decoding, {}, stage="choose strengths")
    strengths = choose_strengths(folder, swept)
    atomic_write_lines(folder / "strengths.json", [json.dumps(strengths, indent=1)])
    write_cells(fits, single_cells(names, NAMES, grid), decoding, strengths, stage="single behaviours")
    cells = [
        cell
        for rule in rules
        for kinds in chosen.values()
        for combinations in kinds.values()
        for combination in combinations
        for cell in cells_of(rule, combination)
    ]
    write_cells(fits, cells, decoding, strengths, stage="combinations")
    return strengths


if __name__ == "__main__":
    entry_point("config", Path(__file__).parent, TYPES)(compare_rules)()
