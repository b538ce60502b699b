"""Several runs on one page: tables, what control costs, and of each run its curves and texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from lmsteer.evaluation.comparable import FinishedRun
from lmsteer.records import read_generations
from lmsteer.reporting.comparison_formats import PICTURE
from lmsteer.reporting.comparison_tables import Block
from lmsteer.reporting.plots import Curve
from lmsteer.reporting.run_report import Continued, Picture, inlined, pictures_of, rendered, side_by_side
from lmsteer.reporting.summary_sentences import headline
from lmsteer.steering.steer_file import load_steer

STEER, GENERATIONS = "steer.safetensors", "generations.jsonl"
SHOWN_PROMPTS = 8
"""Prompts of a run whose texts are shown."""


@dataclass(frozen=True)
class Chapter:
    """What a page shows of one run; without texts and loss where its files are elsewhere."""

    name: str
    headline: list[str]
    pictures: list[Picture]
    strengths: list[str]
    continued: list[Continued]


def chapter(run: FinishedRun) -> Chapter:
    """Read the rest of a finished run.

    Raises:
        InputError: If its generations or steer are damaged.
    """
    generations, steer, curve = run.folder / GENERATIONS, run.folder / STEER, None
    if steer.is_file():
        curve = load_steer(steer)[1].training.get("curve")
    texts = read_generations(generations) if generations.is_file() else []
    strengths, continued = side_by_side(texts, limit=SHOWN_PROMPTS)
    return Chapter(
        name=run.folder.resolve().name,
        headline=headline(run.result),
        pictures=pictures_of(run.result, _whole(curve)),
        strengths=strengths,
        continued=continued,
    )


def _whole(curve: Curve | None) -> Curve | None:
    """A loss curve, or None for one without points."""
    return curve if curve and any(curve.values()) else None


def overview(
    blocks: Sequence[Block],
    runs: Sequence[FinishedRun],
    *,
    title: str,
    picture: Figure | None,
    unfinished: Sequence[Path] = (),
) -> str:
    """One page of HTML that needs nothing from elsewhere."""
    return rendered(
        "overview.html",
        title=title,
        warn=any(metric.is_toxicity for run in runs for metric in run.result.metrics),
        unfinished=[folder.name for folder in unfinished],
        blocks=blocks,
        picture=inlined(picture) if picture else "",
        words=PICTURE,
        chapters=[chapter(run) for run in runs],
    )
