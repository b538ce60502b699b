"""The page of a human evaluation, its columns in a comparison of runs, and its tables for W&B."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lmsteer.annotation.annotation_result import AnnotationResult, Estimate
from lmsteer.errors import InputError
from lmsteer.metrics.intervals import Interval
from lmsteer.metrics.paired_test import Sample
from lmsteer.reporting.comparison import Comparison, ComparisonRow, Measurement
from lmsteer.reporting.comparison_rows import Block
from lmsteer.reporting.page import Picture, render_page

PEOPLE = "people"
"""Name of the scorer of what people say."""
CAPTION = "Shares of the answers of people with 95 % intervals over prompts."


def annotation_page(blocks: Sequence[Block], figure: Figure, *, title: str) -> str:
    """Write a page of one file with all tables and the figure."""
    return render_page("annotation.html", title=title, blocks=blocks, picture=Picture.of(figure, CAPTION, CAPTION))


def with_people(comparison: Comparison, result: AnnotationResult) -> Comparison:
    """Add what people say to the metrics of the rows of a comparison, as ``judged_WORDS``.

    The value is the share of answers for the row against any other, a tie counting half; in the form single, of yes.

    Raises:
        InputError: If people read texts of another protocol, or none of the rows.
    """
    digest = comparison.protocol.get("digest")
    if result.protocol and digest and result.protocol != digest:
        raise InputError(f"annotation: of protocol {result.protocol}, the runs are of {digest}; the same one expected")
    rows = [replace(row, metrics=row.metrics | _judged(row, result)) for row in comparison.rows]
    if all(row.metrics == old.metrics for row, old in zip(rows, comparison.rows, strict=True)):
        raise InputError("annotation: none of its rows is among those of the runs")
    return replace(comparison, rows=rows)


def _judged(row: ComparisonRow, result: AnnotationResult) -> dict[str, Measurement]:
    """Return what people say of a row; of rows that differ by their seed the mean, without an interval."""
    estimates: dict[str, list[Estimate]] = {}
    for one in result.rows:
        key = one.key
        is_same = (key.model, key.method, key.prompts, key.budget) == (row.model, row.method, row.prompts, row.budget)
        if is_same and key.strength in row.strengths:
            name = f"judged_{result.questions[one.question].replace(' ', '_')}"
            estimates.setdefault(name, []).append(one.preferred)
    return {name: _measurement(of_seeds) for name, of_seeds in estimates.items()}


def _measurement(of_seeds: Sequence[Estimate]) -> Measurement:
    values, no_sample = [estimate.value for estimate in of_seeds], Sample((), (np.empty(0),))
    low, high = (of_seeds[0].low, of_seeds[0].high) if len(of_seeds) == 1 else (None, None)
    interval = Interval(float(np.mean(values)), low, high, max(estimate.n for estimate in of_seeds))
    return Measurement(interval, float(np.std(values, ddof=1)) if len(values) > 1 else None, PEOPLE, no_sample)


def log_annotation(blocks: Sequence[Block], folder: Path, *, project: str, entity: str | None, identity: str) -> None:
    """Log every table to W&B: online where it is logged in, else offline."""
    import wandb

    from lmsteer.training.loggers import RunLabels, wandb_logger

    with wandb_logger(
        folder, {}, RunLabels(identity, tags=("annotation",), job_type="annotate"), project=project, entity=entity
    ) as logger:
        tables = {}
        for block in blocks:
            cells = [[section.heading, *row] for section in block.sections for row in section.rows]
            tables[block.title.lower().replace(" ", "_")] = wandb.Table(
                columns=["section", *block.headings], data=cells
            )
        logger.experiment.log(tables)  # type: ignore[attr-defined]
