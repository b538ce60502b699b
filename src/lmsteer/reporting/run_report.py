"""The report: one HTML file with table, pictures and texts, which needs nothing from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from pydantic import JsonValue

from lmsteer.evaluation.results import Result, strength_label
from lmsteer.records import Generation
from lmsteer.reporting.plots import Curve, loss_curve, strength_curve, to_png
from lmsteer.reporting.result_table import READING, table
from lmsteer.reporting.series import lines_of
from lmsteer.reporting.summary_sentences import headline

SHOWN_PROMPTS = 20
KINDS = {"name": "protocol", "n_prompts": "number of prompts", "samples": "samples per prompt", "dtype": "precision"}


@dataclass(frozen=True)
class Picture:
    """An inlined picture with its content in words."""

    source: str
    alternative: str
    caption: str


@dataclass(frozen=True)
class Continued:
    """One prompt and its first continuation at each strength, None where there is none."""

    prompt: str
    texts: tuple[str | None, ...]


def report(
    result: Result,
    generations: Sequence[Generation],
    *,
    curve: Curve | None = None,
    title: str,
    facts: Mapping[str, str],
) -> str:
    """The report as HTML, in one file.

    Args:
        generations: Texts to be shown side by side, at most 20 prompts of them; the rest is left out.
        curve: Loss of the fit, if there was one.
        facts: What else made the result, by name; the protocol is listed from the result.
    """
    unsteered = next((row.method for row in result.rows if not row.strength), "plain")
    strengths, continued = side_by_side(generations, unsteered=unsteered)
    protocol = result.protocol
    return rendered(
        "report.html",
        title=title,
        warn=protocol.get("metric") == "toxicity" or any(metric.is_toxicity for metric in result.metrics),
        headline=headline(result),
        table=table(result),
        reading=READING,
        pictures=pictures_of(result, curve),
        strengths=strengths,
        continued=continued,
        prompts=len({(g.prompts, g.prompt.id) for g in generations}),
        protocol={_kind(name): _words(value) for name, value in protocol.items()},
        perplexity_model=protocol.get("perplexity_model") or "",
        itself=protocol.get("perplexity_model_is_unsteered") is True,
        facts=facts,
    )


def rendered(template: str, **content: Any) -> str:
    """A page of a template beside this file, everything in it escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(template).render(**content)
    return page.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate could not be written


def side_by_side(
    generations: Sequence[Generation], *, unsteered: str = "plain", limit: int = SHOWN_PROMPTS
) -> tuple[list[str], list[Continued]]:
    """Names of the strengths, the empty one first as ``unsteered``, and the first continuations of some prompts.

    At most ``limit`` prompts are taken, evenly from the whole list, whatever was generated for them.
    """
    strengths: dict[str, None] = {}
    prompts: dict[tuple[str, str], dict[str, Generation]] = {}
    for generation in generations:
        label = strength_label(generation.strength) or unsteered
        label = f"{label} ({generation.budget})" if generation.budget else label
        strengths.setdefault(label)
        prompts.setdefault((generation.prompts, generation.prompt.id), {}).setdefault(label, generation)
    order = sorted(strengths, key=lambda label: label != unsteered)
    found = list(prompts.values())
    count = min(limit, len(found))
    continued = []
    for by_strength in (found[i * len(found) // count] for i in range(count)):
        texts = (by_strength[label].texts[0] if label in by_strength else None for label in order)
        continued.append(Continued(next(iter(by_strength.values())).prompt.text, tuple(texts)))
    return order, continued


def pictures_of(result: Result, curve: Curve | None) -> list[Picture]:
    """The effect along the strength and the loss of the fit, where there is something to draw."""
    pictures = []
    if (figure := strength_curve(result)) is not None:
        caption = "Effect along the strength, with 95 % intervals over prompts."
        pictures.append(Picture(inlined(figure), _strength_words(result), caption))
    if curve is not None and (figure := loss_curve(curve)) is not None:
        pictures.append(Picture(inlined(figure), _loss_words(curve), "Loss while the steer was fitted."))
    return pictures


def inlined(figure: Figure) -> str:
    """A picture as the address of itself."""
    return "data:image/png;base64," + base64.b64encode(to_png(figure)).decode("ascii")


def _strength_words(result: Result) -> str:
    metrics = [metric for metric in result.metrics if metric.is_attribute or metric.base == "perplexity"]
    sentences = []
    for line in lines_of(result, metrics):
        points = zip(line.x, line.values, strict=True)
        values = (f"{line.metric.format(value.value)} at {f'{x:+g}' if x else '0'}" for x, value in points)
        sentences.append(f"{line.label or line.metric.words}: {', '.join(values)}.")
    return " ".join(["Curves by strength, the plain model at 0.", *sentences])


def _loss_words(curve: Curve) -> str:
    parts = []
    for part in ("train", "dev"):
        if points := curve.get(part):
            (first, before), (last, after) = points[0], points[-1]
            parts.append(f"{part} loss {before:.2f} nats per token at step {first:g}, {after:.2f} at step {last:g}")
    return "Loss curves: " + "; ".join(parts) + "."


def _kind(name: str) -> str:
    return KINDS.get(name, name.replace("_", " "))


def _words(value: JsonValue) -> str:
    """A value of the protocol to be read."""
    if isinstance(value, dict):
        return ", ".join(f"{name.strip('_')} {_words(v)}" for name, v in value.items()) or "–"
    if value is None:
        return "unknown"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
