"""The report of several runs: tables, the cost of control, and curves and continuations of each run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lmsteer.evaluation.comparable import FinishedRun
from lmsteer.records import read_generations
from lmsteer.reporting.comparison_rows import Block
from lmsteer.reporting.effects import summary_sentences
from lmsteer.reporting.page import Picture, render_page
from lmsteer.reporting.run_report import result_pictures, side_by_side
from lmsteer.steering.provenance import load_provenance

STEER, GENERATIONS = "steer.safetensors", "generations.jsonl"
PROMPTS_PER_RUN = 8
PARETO_CAPTION = (
    "Attribute against perplexity with 95 % intervals over prompts. A line joins the strengths of one kind of row, by "
    "rising strength, with the plain model."
)


def comparison_report(
    blocks: Sequence[Block],
    runs: Sequence[FinishedRun],
    *,
    title: str,
    picture: Figure | None,
    unfinished: Sequence[Path] = (),
) -> str:
    """Write the report as an HTML page of one file.

    Raises:
        InputError: If the generations or the steer of a run are damaged.
    """
    return render_page(
        "comparison.html",
        title=title,
        may_offend=any(metric.may_offend for run in runs for metric in run.result.metrics),
        unfinished=[folder.name for folder in unfinished],
        blocks=blocks,
        pareto=[Picture.of(picture, PARETO_CAPTION, PARETO_CAPTION)] if picture else [],
        sections=[_section(run) for run in runs],
    )


def _section(run: FinishedRun) -> dict[str, Any]:
    """Read the rest of a run; without continuations and loss where their files are elsewhere."""
    generations, steer = run.folder / GENERATIONS, run.folder / STEER
    curve = load_provenance(steer).training.get("curve") if steer.is_file() else None
    texts = read_generations(generations) if generations.is_file() else []
    strengths, continuations = side_by_side(texts, limit=PROMPTS_PER_RUN)
    return {
        "name": run.folder.resolve().name,
        "sentences": summary_sentences(run.result),
        "pictures": result_pictures(run.result, curve),
        "strengths": strengths,
        "continuations": continuations,
    }
