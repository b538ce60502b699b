"""The W&B Report of a group of runs: the tables of the page, and panels of the logged values."""

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lmsteer.errors import InputError
from lmsteer.reporting.comparison_formats import markdown
from lmsteer.reporting.comparison_rows import Block
from lmsteer.training.wandb_login import is_logged_in

PACKAGE = "wandb_workspaces"
STEP = "trainer/global_step"
MAX_TITLE_LENGTH = 128


@dataclass(frozen=True)
class ReportTarget:
    """The project of a report and the group of its runs.

    Attributes:
        entity: User or team; None: the default of the key.
        group: Group of the runs: the name of the folder of a sweep.
    """

    project: str
    entity: str | None
    group: str


def missing_requirement() -> str:
    """Name the requirement of a report that this machine lacks; empty if none."""
    if importlib.util.find_spec(PACKAGE) is None:
        return "wandb-workspaces is not installed (pip install 'lmsteer[reports]')"
    return "" if is_logged_in() else "W&B is not logged in (wandb login)"


def save_report(blocks: Sequence[Block], finals: Sequence[str], *, title: str, target: ReportTarget) -> str:
    """Save a report on the server and return its address.

    Args:
        blocks: Tables, which become Markdown.
        finals: Names of the logged final values, a bar chart each.

    Raises:
        InputError: If W&B refuses it or cannot be reached.
    """
    try:
        report = _report(blocks, finals, title=title, target=target)
        report.save()
        return str(report.url)
    except Exception as error:  # its own errors have no common base
        reason = (str(error).strip() or type(error).__name__).split("\n")[0]
        raise InputError(f"W&B report: {reason}; wandb=none leaves it out") from error


def _report(blocks: Sequence[Block], finals: Sequence[str], *, title: str, target: ReportTarget) -> Any:
    """Build the report without saving it."""
    # By name, as it is optional and its types do not name what it exports.
    expr: Any = importlib.import_module(f"{PACKAGE}.expr")
    reports: Any = importlib.import_module(f"{PACKAGE}.reports.v2")
    where = {"project": target.project} | ({"entity": target.entity} if target.entity else {})
    runs = reports.Runset(**where, name=target.group, filters=expr.And(expr.Metric("Group") == target.group))
    curves = [reports.LinePlot(title=name, x=STEP, y=[name]) for name in ("train/loss", "dev/loss")]
    bars = [reports.BarPlot(title=name, metrics=[name]) for name in finals]
    pictures = reports.MediaBrowser(title="Effect along the strength", media_keys=["strength"])
    texts = reports.WeavePanelSummaryTable(table_name="generations")
    return reports.Report(
        **where,
        title=title[:MAX_TITLE_LENGTH],
        width="fluid",
        blocks=[
            reports.MarkdownBlock(markdown(blocks)),
            reports.H2("Runs"),
            reports.PanelGrid(runsets=[runs], panels=[*curves, *bars, pictures, texts]),
        ],
    )
