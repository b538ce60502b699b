"""What steers of different origin are compared at: calibrated strengths alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmsteer.evaluation.plan import Plan


class AtBudgets(Plan):
    """A plan without the given strengths: the same one means something else to each steer."""

    def settings(self, key: str, calibration: Sequence[Mapping[str, Any]]) -> list[tuple[dict[str, float], str]]:
        """Strengths by name and the budget of each, for one prompt set: those that cost what a budget allows."""
        return [(strength, budget) for strength, budget in super().settings(key, calibration) if budget]
