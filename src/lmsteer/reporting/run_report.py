"""The report of one run: a page with table, pictures and continuations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from lmsteer.evaluation.results import Result, strength_label
from lmsteer.records import Generation
from lmsteer.reporting.effects import summary_sentences
from lmsteer.reporting.page import Picture, render_page
from lmsteer.reporting.plots import loss_curve
from lmsteer.reporting.result_table import LEGEND, result_table
from lmsteer.reporting.strength_curve import describe_strength_curve, strength_curve
from lmsteer.reporting.text import MISSING

MAX_PROMPTS = 20
PROTOCOL_TITLES = {
    "name": "protocol",
    "n_prompts": "number of prompts",
    "samples": "samples per prompt",
    "dtype": "precision",
}
LossCurve = Mapping[str, Sequence[Sequence[float]]]


@dataclass(frozen=True)
class Continuations:
    """One prompt and its first continuation at each strength, None where there is none."""

    prompt: str
    texts: tuple[str | None, ...]


def report(
    result: Result,
    generations: Sequence[Generation],
    *,
    curve: LossCurve | None = None,
    title: str,
    facts: Mapping[str, str],
) -> str:
    """Write the report of a run as an HTML page of one file.

    Args:
        generations: Texts of which those of 20 prompts at most are put side by side.
        curve: Loss of the fit, if there was one.
        facts: Further facts on how the result was made, by name; the protocol is listed from the result.
    """
    unsteered = next((row.method for row in result.rows if not row.strength), "plain")
    strengths, continuations = side_by_side(generations, unsteered=unsteered)
    protocol, (headings, *rows) = result.protocol, result_table(result)
    listed = {PROTOCOL_TITLES.get(name, name.replace("_", " ")): _words(value) for name, value in protocol.items()}
    return render_page(
        "run.html",
        title=title,
        may_offend=any(metric.may_offend for metric in result.metrics),
        sentences=summary_sentences(result),
        headings=headings,
        rows=rows,
        notes=[LEGEND, *_perplexity_note(protocol)],
        pictures=result_pictures(result, curve),
        strengths=strengths,
        continuations=continuations,
        n_prompts=len({(g.prompts, g.prompt.id) for g in generations}),
        facts=[*listed.items(), *facts.items()],
    )


def side_by_side(
    generations: Sequence[Generation], *, unsteered: str = "plain", limit: int = MAX_PROMPTS
) -> tuple[list[str], list[Continuations]]:
    """Put the first continuations of some prompts side by side.

    At most ``limit`` prompts are chosen, evenly spaced in the list, whatever was generated for them.

    Returns:
        Names of the strengths, that of the plain model first as ``unsteered``; and a row for each prompt.
    """
    strengths: dict[str, None] = {}
    prompts: dict[tuple[str, str], dict[str, Generation]] = {}
    for generation in generations:
        label = strength_label(generation.strength) or unsteered
        label = f"{label} ({generation.budget})" if generation.budget else label
        strengths.setdefault(label)
        prompts.setdefault((generation.prompts, generation.prompt.id), {}).setdefault(label, generation)
    order = sorted(strengths, key=lambda label: label != unsteered)
    by_prompt = list(prompts.values())
    count = min(limit, len(by_prompt))
    rows = []
    for by_strength in (by_prompt[i * len(by_prompt) // count] for i in range(count)):
        texts = (by_strength[label].texts[0] if label in by_strength else None for label in order)
        rows.append(Continuations(next(iter(by_strength.values())).prompt.text, tuple(texts)))
    return order, rows


def result_pictures(result: Result, curve: LossCurve | None) -> list[Picture]:
    """Draw the effect over the strength and the loss of the fit, where there is something to draw."""
    pictures = []
    if (figure := strength_curve(result)) is not None:
        caption = "Effect over the strength, with 95 % intervals over prompts."
        pictures.append(Picture.of(figure, describe_strength_curve(result), caption))
    if curve is not None and (figure := loss_curve(curve)) is not None:
        pictures.append(Picture.of(figure, _describe_loss(curve), "Loss of the fit."))
    return pictures


def _describe_loss(curve: LossCurve) -> str:
    clauses = []
    for split in ("train", "dev"):
        if points := curve.get(split):
            (first, before), (last, after) = points[0], points[-1]
            clauses.append(f"{split} loss {before:.2f} nats per token at step {first:g}, {after:.2f} at step {last:g}")
    return "Loss curves: " + "; ".join(clauses) + "."


def _perplexity_note(protocol: Mapping[str, JsonValue]) -> list[str]:
    model = protocol.get("perplexity_model")
    if not model:
        return []
    if protocol.get("perplexity_model_is_unsteered") is not True:
        return [f"Perplexity is that under {model}."]
    return [
        f"Perplexity is that under the unsteered model itself ({model}). It measures how far steered texts are from "
        "texts of that model; it is no independent measure of their fluency."
    ]


def _words(value: JsonValue) -> str:
    """Write a value of the protocol in words."""
    if isinstance(value, dict):
        return ", ".join(f"{name.strip('_')} {_words(v)}" for name, v in value.items()) or MISSING
    if value is None:
        return "unknown"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
