"""Failures of the stand-in hub."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Fault:
    """A failure of the hub at requests whose method and path match a pattern, such as ``GET .*/config.json``.

    Attributes:
        status: Status of the answer; None: the answer is right, but ends after ``cut`` bytes of the body.
        times: Number of requests that fail; None: all.
        cut: Bytes of the body before the connection is closed.
        drop: The connection is closed without an answer.
    """

    pattern: str
    status: int | None = None
    times: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = ""
    cut: int | None = None
    drop: bool = False

    def meets(self, request: str) -> bool:
        """Whether this request fails; it is counted."""
        if self.times == 0 or not re.fullmatch(self.pattern, request):
            return False
        if self.times is not None:
            self.times -= 1
        return True
