"""The table of what rows cost, and the budgets that are out of reach."""

from collections.abc import Sequence

from lmsteer.reporting.comparison import Comparison, ComparisonRow
from lmsteer.reporting.comparison_rows import Block, grouped_sections, in_table_order, row_label, section_heading
from lmsteer.reporting.measured_speed import MeasuredSpeed
from lmsteer.reporting.text import MISSING

COST_NOTE = (
    "KL from the plain model per token on its own texts, mean and 95th percentile; passes through the model for each "
    "token; parameters that the fit has set, and those that writing needs beyond the model's own; texts and tokens "
    "that the fit has read, repetitions included; seconds of the fit on the machine of each run. Means over the seeds."
)
SPEED_NOTE = "Time is that of decoding at strength 1 over the plain model's, both measured in turns in one process."
COLUMNS = {
    "kl": ("KL", ".3f"),
    "kl_p95": ("KL p95", ".3f"),
    "passes": ("passes", ",.0f"),
    "trained_parameters": ("trained", ",.0f"),
    "inference_parameters": ("held", ",.0f"),
    "train_rows": ("texts read", ",.0f"),
    "train_tokens": ("tokens read", ",.0f"),
}
"""Heading and format of the entries of a ``Cost``."""


def cost_block(comparison: Comparison, prompts: str, speed: MeasuredSpeed | None = None) -> Block | None:
    """Lay out what the rows cost, and the budgets that are out of reach.

    Args:
        speed: What the speed study has measured. None: no column of time.
    """
    rows = [row for _, row in in_table_order(comparison, prompts) if row.costs]
    if not rows:
        return None
    cells = [(section_heading(row), [row_label(comparison, row), *_cost_cells(row)]) for row in rows]
    headings = ["method", *(heading for heading, _ in COLUMNS.values()), "fit, s"]
    notes = [COST_NOTE]
    if speed:
        headings.append("time over plain")
        notes.append(SPEED_NOTE)
        for (_, line), row in zip(cells, rows, strict=True):
            line.append(_mean_cell([speed.ratio(row)], ".2f"))
    if comparison.unreached:
        reasons = [
            f"{one.method} {'+' if one.direction > 0 else '-'} ({one.budget}): {one.reason}"
            for one in comparison.unreached
        ]
        notes.append(f"Out of reach, so without a row: {'; '.join(reasons)}.")
    return Block(f"Cost on {prompts}", headings, grouped_sections(cells), notes)


def _cost_cells(row: ComparisonRow) -> list[str]:
    counts = [_mean_cell([getattr(cost, name) for cost in row.costs], form) for name, (_, form) in COLUMNS.items()]
    return [*counts, _mean_cell(row.fit_seconds, ",.1f")]


def _mean_cell(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return format(sum(known) / len(known), form) if known and len(known) == len(values) else MISSING
