"""The table of what rows cost, and the budgets that are out of reach."""

from collections.abc import Sequence

from lmsteer.evaluation.results import Cost
from lmsteer.reporting.comparison import Comparison
from lmsteer.reporting.comparison_rows import Block, grouped_sections, in_table_order, row_label, section_heading
from lmsteer.reporting.text import MISSING

COST_NOTE = (
    "KL from the plain model per token on its own texts, mean and 95th percentile; passes through the model for each "
    "token; parameters that the fit has set, and those that writing needs beyond the model's own; texts and tokens "
    "that the fit has read, repetitions included. Means over the seeds."
)


def cost_block(comparison: Comparison, prompts: str) -> Block | None:
    """Lay out what the rows cost, and the budgets that are out of reach."""
    rows = [row for _, row in in_table_order(comparison, prompts) if row.costs]
    if not rows:
        return None
    cells = [(section_heading(row), [row_label(comparison, row), *_cost_cells(row.costs)]) for row in rows]
    notes = [COST_NOTE]
    if comparison.unreached:
        reasons = [
            f"{one.method} {'+' if one.direction > 0 else '-'} ({one.budget}): {one.reason}"
            for one in comparison.unreached
        ]
        notes.append(f"Out of reach, so without a row: {'; '.join(reasons)}.")
    headings = ["method", "KL", "KL p95", "passes", "trained", "held", "texts read", "tokens read"]
    return Block(f"Cost on {prompts}", headings, grouped_sections(cells), notes)


def _cost_cells(costs: Sequence[Cost]) -> list[str]:
    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if len(known) == len(values) else None

    divergences = [mean([getattr(cost, name) for cost in costs]) for name in ("kl", "kl_p95")]
    names = ("passes", "trained_parameters", "inference_parameters", "train_rows", "train_tokens")
    counts = [mean([getattr(cost, name) for cost in costs]) for name in names]
    return [
        *(MISSING if value is None else f"{value:.3f}" for value in divergences),
        *(MISSING if value is None else f"{value:,.0f}" for value in counts),
    ]
