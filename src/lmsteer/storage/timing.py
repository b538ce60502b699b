"""The seconds that the stages of a run took, which no result depends on."""

import json
import math
from pathlib import Path

TIMING = "timing.json"


def read_seconds(folder: Path) -> dict[str, float]:
    """Read the seconds of a run by stage; a missing or damaged file counts as empty, and so does a wrong entry.

    Example:
        >>> read_seconds(Path("no-run"))
        {}
    """
    try:
        timing = json.loads((folder / TIMING).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    entries = timing.items() if isinstance(timing, dict) else ()
    return {stage: float(x) for stage, x in entries if type(x) in (int, float) and 0 <= x < math.inf}
