"""Control the length of answers by strengths that follow a schedule, and by constant ones of the same cost.

python -m experiments.behaviours.schedules file=FILE.jsonl

Shapes: N answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from omegaconf import DictConfig
from pydantic import Field

from experiments.behaviours.length_pairs import end_of_turn_pairs, full_stop_pairs
from experiments.study import Results, mean_interval, open_run, run_study
from lmsteer.behaviours import verify
from lmsteer.behaviours.word_count import count_words
from lmsteer.cli.app import entry_point
from lmsteer.cli.configuration import build
from lmsteer.cli.options import FromOne, NonEmpty
from lmsteer.data.corpus import Corpus
from lmsteer.data.datamodule import SteerDataModule
from lmsteer.data.prompts.prompt_sets import prompt_file
from lmsteer.errors import InputError
from lmsteer.evaluation.divergence import DivergenceMeter
from lmsteer.evaluation.evaluator import generation_nll
from lmsteer.generation.decoding import Decoding
from lmsteer.generation.generator import Generator
from lmsteer.metrics.intervals import Array
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import mixture_at
from lmsteer.records import Generation, Prompt, Row, read_generations
from lmsteer.reporting.text import interval, markdown_table, number, percent
from lmsteer.runs.run import Run
from lmsteer.steering.budget import Budget
from lmsteer.steering.composition import compose
from lmsteer.steering.schedule import CountSchedule, Schedule, with_schedules
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.steering.steer_file import load_steer, save_steer
from lmsteer.steering.strength_search import find_strength
from lmsteer.training.fit import fit
from lmsteer.training.gate_config import fit_gate, prompt_states
from lmsteer.training.gradient_solver import GradientSolver

TYPES: dict[str, Any] = {
    "file": NonEmpty,
    **dict.fromkeys(("train_questions", "dev_questions", "test_questions", "steps", "batch_size"), FromOne),
    "kl": Annotated[float, Field(gt=0)],
}
END, STOP = "end-of-turn", "full-stop"
SHARES = (0.25, 0.6, 1.0)
"""Shares of the strength of the budget from which the best constant one on dev questions is chosen."""
SENTENCES = {f"sentences-{count}": count for count in (1, 2, 3)}
BEHAVIOURS = ("words-10-50", *SENTENCES)
METER_ANSWERS = 8
"""Plain answers on which the nats per token of a strength are measured."""


@dataclass(frozen=True)
class Setting:
    """Strengths and schedules of the two steers.

    Attributes:
        ratio: Strength of the full-stop steer as a multiple of that of the end-of-turn steer.
        share: Share of the strength that costs the budget.
    """

    ratio: float = 0.0
    share: float = 1.0
    schedules: Mapping[str, Schedule] = field(default_factory=dict)

    def __str__(self) -> str:
        rule = str(self.schedules[END]) if self.schedules else "constant"
        return f"{rule}{', with full stop' if self.ratio else ''}, {self.share:.0%}"


def constant_settings() -> list[Setting]:
    """List the constant strengths from which the best one is chosen."""
    return [*(Setting(share=share) for share in SHARES), Setting(ratio=1.0, share=0.6)]


def scheduled_settings(behaviour: str) -> list[Setting]:
    """List the schedules from which the best one for a behaviour is chosen; of a single one nothing is chosen."""
    if behaviour in SENTENCES:
        rule = CountSchedule(unit="sentences", begin=SENTENCES[behaviour], before=-1.0)
        return [Setting(schedules={END: rule})]
    rule = CountSchedule(unit="words", begin=20)
    return [Setting(ratio=ratio, schedules={END: rule, STOP: rule}) for ratio in (0.0, 1.0)]


class Study:
    """The model, its questions and plain answers, and the steers; all long work is stored in the run folder."""

    def __init__(self, config: Mapping[str, Any], run: Run, model: LanguageModel, decoding: Decoding) -> None:
        self.config, self.run, self.model, self.decoding = config, run, model, decoding
        numbers = [config[f"{part}_questions"] for part in ("train", "dev", "test")]
        self.prompts = sorted(prompt_file(path=config["file"]).prompts, key=lambda prompt: prompt.id)
        if len(self.prompts) < sum(numbers) or not all(prompt.turns for prompt in self.prompts):
            raise InputError(f"{config['file']}: {sum(numbers)} questions expected; it has {len(self.prompts)} prompts")
        ends = np.cumsum([0, *numbers])
        self.parts = {part: slice(*ends[k : k + 2]) for k, part in enumerate(("train", "dev", "test"))}
        self.prompts = self.prompts[: ends[-1]]

    @cached_property
    def plain(self) -> list[Generation]:
        """The plain model's answers to all questions."""
        return self.generate("plain", self.prompts, {}, None)

    @cached_property
    def steer(self) -> Steer:
        """The composed steers."""
        return compose([self._fit(END, end_of_turn_pairs), self._fit(STOP, full_stop_pairs)])

    @cached_property
    def meter(self) -> DivergenceMeter:
        """The divergence on plain answers to dev questions."""
        return DivergenceMeter(self.model, self.plain[self.parts["dev"]][:METER_ANSWERS], self.decoding)

    def _fit(self, name: str, pairs: Callable[[Sequence[Generation]], Iterable[Row]]) -> Steer:
        path = self.run.path(f"{name}.safetensors")
        if not path.is_file():
            solver = GradientSolver(trainer={"max_steps": self.config["steps"], "enable_progress_bar": False})
            data = partial(SteerDataModule, batch_size=16, max_length=112)
            corpus = Corpus(name, train=tuple(pairs(self.plain[self.parts["train"]])))
            config = SteerConfig(name=name, dummy=False)
            save_steer(path, *fit(self.model, corpus, config, solver, data=data, seed=self.config["seed"]))
        return load_steer(path, self.model)[0]

    def generate(
        self, name: str, prompts: Sequence[Prompt], strength: Mapping[str, float], steer: Steer | None
    ) -> list[Generation]:
        """Answer questions, or read the answers of an earlier call by this name."""
        path = self.run.path(f"{name}.jsonl")
        if not path.is_file():
            options = {"decoding": self.decoding, "batch_size": self.config["batch_size"], "likelihoods": True}
            generator = Generator(self.model, prompts, **options)
            generator.write(path, [(strength, "")], steer)
        return read_generations(path)

    def strength(self, setting: Setting) -> float:
        """Find the strength of the end-of-turn steer at which a setting, at its full share, costs the budget."""
        steer = with_schedules(self.steer, setting.schedules)

        def cost(value: float) -> float:
            named = {END: value, STOP: value * setting.ratio}
            return float(self.meter.nats(mixture_at(self.model, named, steer)).mean())

        return find_strength(cost, Budget("kl", self.config["kl"]), direction=1, start=5.0, at_zero=0.0).strength

    def answers(self, part: str, setting: Setting, strength: float) -> list[Generation]:
        """Answer the questions of a part at a setting."""
        value = strength * setting.share
        named = {END: value, **({STOP: value * setting.ratio} if setting.ratio else {})}
        name = "".join(c if c.isalnum() else "-" for c in f"{part} {setting}")
        return self.generate(name, self.prompts[self.parts[part]], named, with_schedules(self.steer, setting.schedules))


def hits(behaviour: str, generations: Sequence[Generation]) -> Array:
    """Return 1 for each answer (N,) that has a behaviour, else 0."""
    return np.array([float(verify(behaviour, generation.texts[0])) for generation in generations])


def choose(study: Study, strengths: dict[str, float], behaviour: str, settings: Sequence[Setting]) -> Setting:
    """Return the setting with the most dev answers that have a behaviour; the first of several."""
    for setting in settings:
        if str(replace(setting, share=1.0)) not in strengths:
            strengths[str(replace(setting, share=1.0))] = study.strength(setting)
    if len(settings) == 1:
        return settings[0]
    shares = [
        hits(behaviour, study.answers("dev", setting, strengths[str(replace(setting, share=1.0))])).mean()
        for setting in settings
    ]
    return settings[int(np.argmax(shares))]


def describe(model: LanguageModel, generations: Sequence[Generation]) -> Results:
    """Describe answers: nats per token under the plain model, words, and the share that ends with a mark."""
    ((nll, tokens),) = generation_nll(model, [list(generations)], None)
    texts = [generation.texts[0].rstrip() for generation in generations]
    return {
        "nats": float(nll.sum() / tokens.sum()),
        "words": float(np.mean([count_words(text) for text in texts])),
        "whole": float(np.mean([text.endswith((".", "!", "?", ":", '"')) for text in texts])),
    }


def measure_lengths(study: Study, strengths: dict[str, float]) -> list[Results]:
    """Measure each behaviour at the constant strength and at the schedule that are the best ones on dev questions."""
    rows = []
    plain = study.plain[study.parts["test"]]
    for behaviour in BEHAVIOURS:
        row: Results = {"behaviour": behaviour, "plain": mean_interval(hits(behaviour, plain))}
        values = {}
        for kind, settings in (("constant", constant_settings()), ("schedule", scheduled_settings(behaviour))):
            setting = choose(study, strengths, behaviour, settings)
            answers = study.answers("test", setting, strengths[str(replace(setting, share=1.0))])
            values[kind] = hits(behaviour, answers)
            accuracy = mean_interval(values[kind])
            row[kind] = {"setting": str(setting), "accuracy": accuracy, **describe(study.model, answers)}
        row["difference"] = mean_interval(values["schedule"] - values["constant"])
        rows.append(row)
    return rows


def measure_gate(study: Study, strengths: Mapping[str, float]) -> Results:
    """Put a gate before the end-of-turn steer that is open for questions with a question mark, closed for requests."""
    contents = [prompt.content for prompt in study.prompts]
    asks_N = torch.tensor([prompt.text.rstrip().endswith("?") for prompt in study.prompts])
    states_ND, train, test = prompt_states(study.model, contents), study.parts["train"], study.parts["test"]
    gate = fit_gate(states_ND[train], asks_N[train])
    open_N = gate.is_open(states_ND[test]).numpy()
    value = strengths[str(Setting())]
    constant = study.answers("test", Setting(), value)
    gated = study.generate("gated", study.prompts[test], {END: value}, with_schedules(study.steer, {END: gate}))
    plain, results = study.plain[test], dict[str, Any]()
    for name, chosen_N in (("open", open_N), ("closed", ~open_N)):
        texts = {
            kind: [one for one, chosen in zip(group, chosen_N, strict=True) if chosen]
            for kind, group in (("plain", plain), ("constant", constant), ("gate", gated))
        }
        results[name] = {
            kind: {**describe(study.model, group), "accuracy": mean_interval(hits("words-10-50", group))}
            for kind, group in texts.items()
        }
        pairs = zip(texts["gate"], texts["plain"], texts["constant"], strict=True)
        same = [(one.texts == other.texts, one.texts == third.texts) for one, other, third in pairs]
        results[name] |= {"n": len(same), "as_plain": sum(a for a, _ in same), "as_constant": sum(b for _, b in same)}
    right = (torch.tensor(open_N) == asks_N[test]).double().numpy()
    return {**results, "right": mean_interval(right)}


def measure_schedules(cfg: DictConfig) -> Results:
    """Write ``schedules.json`` and ``schedules.md`` in the run folder; print their paths."""
    config, run = open_run(cfg, TYPES)
    model = build(config["model"], device=config["device"], dtype=config["dtype"])
    study = Study(config, run, model, build(config["decoding"]))

    def compute() -> Results:
        run.begin()
        strengths: dict[str, float] = {}
        lengths = measure_lengths(study, strengths)
        options = {name: config[name] for name in ("train_questions", "dev_questions", "test_questions", "kl", "steps")}
        gate = measure_gate(study, strengths)
        return {"lengths": lengths, "gate": gate, "strengths": strengths, "model": model.name, **options}

    return run_study(run, "schedules", compute, report=schedule_tables)


def schedule_tables(results: Results) -> str:
    """Write accuracy by behaviour, and the texts behind the gate, as Markdown."""
    lengths = [
        [
            row["behaviour"],
            interval(row["plain"]),
            *(interval(row[kind]["accuracy"]) for kind in ("constant", "schedule")),
            interval(row["difference"], signed=True),
            *(f"{row[kind]['setting']}" for kind in ("constant", "schedule")),
            *(f"{number(row[kind]['nats'])}, {percent(row[kind]['whole'])}" for kind in ("constant", "schedule")),
        ]
        for row in results["lengths"]
    ]
    headings = ["behaviour", "plain", "constant", "schedule", "difference", "constant: setting", "schedule: setting"]
    headings += ["constant: nats per token, % whole", "schedule: nats per token, % whole"]
    gate = [
        [name, str(side["n"]), *(interval(side[kind]["accuracy"]) for kind in ("plain", "constant", "gate"))]
        + [number(side[kind]["nats"], 4) for kind in ("plain", "constant", "gate")]
        + [f"{side['as_plain']}, {side['as_constant']}"]
        for name, side in ((name, results["gate"][name]) for name in ("open", "closed"))
    ]
    gate_headings = ["gate", "questions", *(f"words-10-50: {kind}" for kind in ("plain", "constant", "gate"))]
    gate_headings += [f"nats: {kind}" for kind in ("plain", "constant", "gate")] + ["texts of plain, of constant"]
    return "\n\n".join([markdown_table(headings, lengths), markdown_table(gate_headings, gate)])


if __name__ == "__main__":
    entry_point("schedules", Path(__file__).parent, TYPES)(measure_schedules)()
