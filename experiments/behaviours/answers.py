"""Write questions, plain answers, and answers that have a behaviour, with the share of those that are kept.

python -m experiments.behaviours.answers
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from experiments.study import Results, open_run, run_study
from lmsteer.behaviours import NAMES, Behaviour, find_behaviour
from lmsteer.cli.app import entry_point
from lmsteer.cli.configuration import build
from lmsteer.cli.options import FromOne, NonEmpty, Objects
from lmsteer.cli.preparation import prepare
from lmsteer.distillation.answers import (
    KeepRate,
    Line,
    Source,
    answer_lines,
    answer_prompts,
    distill,
    keep_rate,
    pair_lines,
    text_lines,
    transform_all,
    whole_sentences,
    without_cut,
)
from lmsteer.distillation.questions import Questions
from lmsteer.errors import InputError
from lmsteer.generation.generation_files import expected_generations, read_generation_file
from lmsteer.generation.generator import Generator
from lmsteer.records import Generation
from lmsteer.reporting.text import markdown_table, percent
from lmsteer.runs.run import Run
from lmsteer.storage.atomic_files import atomic_write_lines

PLAIN = "plain"
TYPES: dict[str, Any] = {
    "questions": dict[str, Any],
    "behaviours": list[NonEmpty] | None,
    "own": Objects,
    "source": Source,
    "texts": dict[NonEmpty, NonEmpty] | None,
    "samples": FromOne,
    "batch_size": FromOne,
}


def behaviour_answers(cfg: DictConfig) -> Results:
    """Write ``questions.json``, ``plain.jsonl``, ``answers/BEHAVIOUR.jsonl``, ``keep.json`` and ``keep.md``."""
    config, run = open_run(cfg, TYPES)
    behaviours = choose_behaviours(config)
    prepare(config, ("model", "questions"))
    questions: Questions = build(config["questions"])
    return run_study(run, "keep", AnswerStudy(run, questions, behaviours, config).write, report=keep_table)


def choose_behaviours(config: Mapping[str, Any]) -> list[Behaviour]:
    """Return the published behaviours that are named, and those of one's own.

    Raises:
        InputError: If a name is unknown or there twice, or texts are given for a behaviour that is not chosen.
    """
    names = NAMES if config["behaviours"] is None else config["behaviours"]
    behaviours = [*map(find_behaviour, names), *(build(node) for node in config.get("own", {}).values())]
    chosen = [behaviour.name for behaviour in behaviours]
    if not chosen or len(set(chosen)) < len(chosen):
        raise InputError(f"behaviours: {', '.join(chosen) or 'none'}; one or more, each once, expected")
    if other := sorted({*(config["texts"] or ())} - {*chosen}):
        raise InputError(f"texts.{other[0]}: not among the behaviours {', '.join(chosen)}")
    return behaviours


class AnswerStudy:
    """The answers of one model to the train and dev questions, alone and with instructions.

    Raises:
        InputError: If the model has no chat template, or texts would not end where the model ends them.
    """

    def __init__(
        self, run: Run, questions: Questions, behaviours: Sequence[Behaviour], config: Mapping[str, Any]
    ) -> None:
        self.run, self.questions, self.behaviours, self.config = run, questions, behaviours, config
        self.texts: dict[str, str] = config["texts"] or {}
        self.asked = {split: questions.splits[split] for split in ("train", "dev")}
        distilled = [] if config["source"] == "transform" else [b for b in behaviours if b.name not in self.texts]
        self.prompts = {
            behaviour.name if behaviour else PLAIN: answer_prompts(self.asked, config["samples"], behaviour)
            for behaviour in (None, *distilled)
        }
        decoding = build(config["decoding"])
        if not decoding.stop_at_end:
            raise InputError("decoding.stop_at_end=false: answers are learned with their end; true expected")
        self.generator = Generator(
            build(config["model"], device=config["device"], dtype=config["dtype"]),
            list(chain.from_iterable(self.prompts.values())),
            decoding=decoding,
            seed=config["seed"],
            batch_size=config["batch_size"],
        )

    def write(self) -> Results:
        """Write all files; return what is kept of each behaviour, by name.

        Raises:
            InputError: If nothing is kept of any.
        """
        self.run.begin()
        self._write("questions.json", [json.dumps(self.questions.splits, indent=1, ensure_ascii=False)])
        replies = self._replies()
        plain = whole_sentences(replies[PLAIN])
        plain_lines = answer_lines(self.asked, plain, label=-1)
        self._write_lines("plain.jsonl", filter(None, plain_lines))
        results = {}
        for behaviour in self.behaviours:
            results[behaviour.name] = self._write_behaviour(behaviour, replies.get(behaviour.name), plain, plain_lines)
            results[behaviour.name]["plain_rate"] = _share(distill(behaviour, without_cut(replies[PLAIN])))
        if not any(result["kept"] for result in results.values()):
            names = ", ".join(results)
            raise InputError(f"{names}: no answer has the behaviour; another model or source=auto expected")
        return results

    def _write_behaviour(
        self,
        behaviour: Behaviour,
        replies: Sequence[Generation] | None,
        plain: Sequence[str | None],
        plain_lines: Sequence[Line | None],
    ) -> Results:
        """Write what is kept of one behaviour, if anything is; return the rates."""
        candidates: dict[str, list[str | None]] = {}
        if path := self.texts.get(behaviour.name):
            lines, rate = text_lines(behaviour, path, plain_lines)
        else:
            candidates = self._candidates(behaviour, replies, plain)
            rate = self._rate(candidates)
            lines = pair_lines(answer_lines(self.asked, candidates[rate.source], label=1), plain_lines)
        if lines:
            self._write_lines(f"answers/{behaviour.name}.jsonl", lines)
        return {
            **asdict(rate),
            "keep_rate": rate.keep_rate,
            "left_out": rate.left_out,
            "distilled_rate": _share(candidates.get("distilled", ())),
            "model": self.generator.model.fingerprint(),
        }

    def _replies(self) -> dict[str, list[Generation]]:
        """Generate all answers, or resume that; return them by name of the behaviour."""
        path = self.run.path("replies.jsonl")
        if not self.run.is_complete(path.name):
            self.generator.write(path, [({}, "")])
        expected = expected_generations(self.generator.prompts, [({}, "")])
        replies = iter(read_generation_file(path, expected, samples=1))
        return {name: list(islice(replies, len(prompts))) for name, prompts in self.prompts.items()}

    def _candidates(
        self, behaviour: Behaviour, replies: Sequence[Generation] | None, plain: Sequence[str | None]
    ) -> dict[str, list[str | None]]:
        """Return the answers that have a behaviour by source; transforms where these are asked for."""
        candidates = {}
        if replies is not None:
            candidates["distilled"] = distill(behaviour, without_cut(replies))
        if replies is None or (self.config["source"] == "auto" and self._rate(candidates).left_out):
            candidates["transform"] = transform_all(behaviour, plain)
        return candidates

    def _rate(self, candidates: Mapping[str, Sequence[str | None]]) -> KeepRate:
        """Count those of the source of which most are kept, the first one of equals."""
        rates = [keep_rate(source, answers, self.config["samples"]) for source, answers in candidates.items()]
        return max(rates, key=lambda rate: rate.kept)

    def _write_lines(self, name: str, lines: Iterable[Line]) -> None:
        self._write(name, (json.dumps(line, ensure_ascii=False) for line in lines))

    def _write(self, name: str, lines: Iterable[str]) -> None:
        self.run.path(name).parent.mkdir(exist_ok=True)
        atomic_write_lines(self.run.path(name), lines)


def _share(answers: Sequence[str | None]) -> float | None:
    """Return the share of answers that are there; None of none."""
    return sum(answer is not None for answer in answers) / len(answers) if answers else None


def keep_table(results: Results) -> str:
    """Write a row for each behaviour: what is kept, and how many answers have it when it is asked for and when not."""
    headings = ["behaviour", "source", "kept", "of answers", "of questions", "when asked", "when not asked", ""]
    rows = [
        [
            name,
            one["source"],
            f"{one['kept']} of {one['asked']}",
            percent(one["keep_rate"]),
            percent(one["questions_kept"] / one["questions"]) if one["questions"] else "",
            "" if one["distilled_rate"] is None else percent(one["distilled_rate"]),
            percent(one["plain_rate"]),
            "left out" if one["left_out"] else "",
        ]
        for name, one in results.items()
    ]
    return markdown_table(headings, rows)


if __name__ == "__main__":
    entry_point("answers", Path(__file__).parent, TYPES)(behaviour_answers)()
