"""HTML pages of one file, which request nothing from elsewhere."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from lmsteer.reporting.plots import to_png


@dataclass(frozen=True)
class Picture:
    """A figure inside a page.

    Attributes:
        source: The address of the image, which holds its data.
        alternative: The content in words, for readers who do not see it.
        caption: The text below it.
    """

    source: str
    alternative: str
    caption: str

    @classmethod
    def of(cls, figure: Figure, alternative: str, caption: str) -> Picture:
        """Embed a figure."""
        data = base64.b64encode(to_png(figure)).decode("ascii")
        return cls(f"data:image/png;base64,{data}", alternative, caption)


def render_page(template: str, **content: Any) -> str:
    """Fill a page of ``templates/``; all content is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(template).render(**content)
    return page.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate could not be written
