"""The rows of finished runs that raters can compare: each the texts of one method at one strength."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lmsteer.annotation.answer_key import RowKey
from lmsteer.annotation.questionnaire import Form
from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import find_runs, read_run, refuse_mixed
from lmsteer.evaluation.results import ResultRow
from lmsteer.evaluation.run_files import GENERATIONS
from lmsteer.records import Generation, Prompt, read_generations


@dataclass(frozen=True)
class CandidateRow:
    """A row, with its generations by the prompt as raters read it."""

    name: str
    key: RowKey
    generations: Mapping[str, Generation]

    @property
    def total(self) -> float:
        """Sum of its strengths."""
        return sum(self.key.strength.values())

    def has_texts_of(self, other: "CandidateRow") -> bool:
        """Whether both have the same texts, as the plain model has in several runs."""
        return {prompt: generation.texts for prompt, generation in self.generations.items()} == {
            prompt: generation.texts for prompt, generation in other.generations.items()
        }


@dataclass(frozen=True)
class Candidates:
    """The rows of runs of one protocol, by name.

    Attributes:
        metric: The attribute that the protocol measures.
        protocol: Digest of the protocol.
        may_offend: Whether the texts may offend.
    """

    rows: Mapping[str, CandidateRow]
    metric: str
    protocol: str
    may_offend: bool

    def default_rows(self) -> list[str]:
        """Name the strongest row of each run, and the plain model."""
        strongest: dict[str, CandidateRow] = {}
        for row in self.rows.values():
            best = strongest.get(row.key.run)
            if row.total > (best.total if best else 0):
                strongest[row.key.run] = row
        plain = [name for name, row in self.rows.items() if row.key.method == "plain"]
        return [*(row.name for row in strongest.values()), *plain]


def read_candidates(folders: Sequence[Path]) -> Candidates:
    """Read the rows of runs; rows of one name have the name of their run before it where their texts differ.

    Raises:
        InputError: If a folder has no finished run, runs are of different protocols, or a run lacks its generations.
    """
    runs = [read_run(folder) for folder in find_runs(folders)[0]]
    refuse_mixed(runs)
    by_name: dict[str, list[CandidateRow]] = {}
    for run in runs:
        generations = read_generations(run.folder / GENERATIONS)
        for row in run.result.rows:
            candidate = _candidate(row, generations, run.folder)
            same_name = by_name.setdefault(candidate.name, [])
            if not any(candidate.has_texts_of(other) for other in same_name):
                same_name.append(candidate)
    rows: dict[str, CandidateRow] = {}
    for name, same_name in by_name.items():
        for one in same_name:
            full = name if len(same_name) == 1 else f"{Path(one.key.run).resolve().name}:{name}"
            if full in rows:
                raise InputError(f"{rows[full].key.run} and {one.key.run}: two runs of one name; rename a folder")
            rows[full] = replace(one, name=full)
    protocol = runs[0].result.protocol
    may_offend = any(metric.may_offend for run in runs for metric in run.result.metrics)
    return Candidates(rows, str(protocol.get("metric", "")), str(protocol.get("digest", "")), may_offend)


def chosen_pairs(
    candidates: Candidates, form: Form, rows: Sequence[str] | None, pairs: Sequence[Sequence[str]] | None
) -> list[tuple[str, ...]]:
    """Return the rows to compare, two each, or one each for the form single.

    Args:
        rows: Names of rows, of which each is compared with each; None: those of ``default_rows``.
        pairs: Names of the two rows of each pair, instead.

    Raises:
        InputError: If a name is unknown or repeated, or there is nothing to compare.
    """
    if pairs is not None and (form == "single" or rows is not None):
        raise InputError("pairs: for form=pairs, and instead of rows; leave one out")
    names = list(rows) if rows is not None else candidates.default_rows()
    chosen: list[tuple[str, ...]] = [(name,) for name in names]
    if form == "pairs":
        chosen = list(itertools.combinations(names, 2)) if pairs is None else [tuple(pair) for pair in pairs]
    for name in itertools.chain(names, *chosen):
        if name not in candidates.rows:
            raise InputError(f"row {name!r}: no such row; allowed are {', '.join(candidates.rows)}")
    is_wrong = any(len(pair) != len(set(pair)) or len(pair) != (2 if form == "pairs" else 1) for pair in chosen)
    if not chosen or is_wrong or len({frozenset(pair) for pair in chosen}) < len(chosen):
        raise InputError(
            f"{'pairs' if pairs is not None else 'rows'}: two different rows for each pair, each pair once, expected; "
            f"there are {', '.join(candidates.rows)}"
        )
    return chosen


def text_scores(generations: Sequence[Generation], samples: Sequence[int]) -> dict[str, tuple[float, ...]]:
    """Return the perplexity of chosen texts under the plain model, if their file has the likelihood of each."""
    known = [g.likelihoods[sample] if g.likelihoods else None for g, sample in zip(generations, samples, strict=True)]
    values = [math.exp(min(one.nll / one.tokens, 500)) for one in known if one is not None]
    return {"perplexity": tuple(values)} if len(values) == len(known) else {}


def _candidate(row: ResultRow, generations: Sequence[Generation], run: Path) -> CandidateRow:
    of_row = [g for g in generations if (g.prompts, g.budget, g.strength) == (row.prompts, row.budget, row.strength)]
    if not of_row:
        raise InputError(f"{run / GENERATIONS}: no texts of the row {row.label}; evaluate the run again")
    facts = row.model_dump(include={"model", "method", "prompts", "strength", "budget"})
    name = f"{row.method}/{row.label}" if row.strength else row.method
    if len({g.prompts for g in generations}) > 1:
        name = f"{name} on {row.prompts}"
    return CandidateRow(name, RowKey(run=str(run), **facts), {_shown(g.prompt): g for g in of_row})


def _shown(prompt: Prompt) -> str:
    """Return a prompt as raters read it: of a longer conversation all turns."""
    return "\n\n".join(f"{role}: {text}" for role, text in prompt.turns) if len(prompt.turns) > 1 else prompt.text
