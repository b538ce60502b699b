"""What was read out of a steer, for people: sentences, a table, and a section for each direction."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from lmsteer.analysis.interpretation_file import Direction, Excerpt, Interpretation, Word, Words
from lmsteer.metrics.intervals import Interval
from lmsteer.reporting.run_report import inlined, rendered

HEADINGS = (
    *("direction", "size", "energy", "evidence", "AUC", "AUC up to it", "AUC as a constant", "acting", "logit change"),
)
NOTES = (
    "At strength s direction i adds s ε size (c · v) (u · e) to the logit of a word with embedding e in the context c. "
    "Its sign is chosen such that c · v is positive in the mean. Acting is the share of contexts where it is positive: "
    "there a positive strength raises raised words and lowers lowered ones, elsewhere it is the other way round.",
    "Size is the singular value, energy its share in the squared norm of W. Evidence is the derivative of a text's "
    "log-likelihood in the strength, at strength 0, part by part; the column has its share in what tells texts with a "
    "label above 0 from those below. AUC is the chance that one of the former has more of it than one of the latter, "
    "with a 95 % bootstrap interval over texts; up to it, of the sum from direction 1 on; as a constant, if it acted "
    "alike in all contexts. Logit change is the root mean square over contexts and words at strength 1.",
    "Words have u · e and v · e less those of the mean token of the texts; contexts have c · v, and behind a mark the "
    "token that came next.",
)
WARNING = "Words and texts are quoted as vocabulary and corpus have them; some may offend."


@dataclass(frozen=True)
class Side:
    """What stands at the two ends of a direction, each with its value; ``long`` where it is a text."""

    title: str
    plus: list[tuple[str, str]]
    minus: list[tuple[str, str]]
    long: bool = False


@dataclass(frozen=True)
class Section:
    """A direction, or all of them together."""

    title: str
    sides: list[Side]


def title_of(found: Interpretation) -> str:
    """Whose dimension it is."""
    return f"Directions of the steer {found.facts['dimension']} of {found.facts.get('model', 'a model')}"


def sentences(found: Interpretation) -> list[str]:
    """The findings, no more than the figures bear out."""
    facts, everything, first = found.facts, found.kept[-1].auc, found.kept[0].auc
    holding = "first holds" if found.holding == 1 else f"first {found.holding} hold"
    shape = (
        f"The {facts['rank']} singular directions count like {found.effective_rank:.1f} of equal size (effective rank; "
        f"participation ratio {found.participation_ratio:.1f}); the {holding} 90 % of the energy."
    )
    evidence = (
        f"Their evidence tells {facts['plus']} texts with a label above 0 from {facts['minus']} below with an AUC of "
        f"{interval(everything)}; the first direction alone has {interval(first)}; a constant vector, all directions "
        f"acting alike in all contexts, would have {interval(found.alike)}."
    )
    chance = found.chance and (
        f"Random matrices of the same singular values have {fraction(found.chance.low[-1])} to "
        f"{fraction(found.chance.high[-1])} in {found.chance.draws} draws."
    )
    return [sentence for sentence in (shape, evidence, chance, _source(found)) if sentence]


def _source(found: Interpretation) -> str:
    facts = found.facts
    corpus, part, fitted_on = (facts.get(name) for name in ("corpus", "part", "fitted_on"))
    if not corpus:
        return ""
    if corpus != fitted_on:
        return f"The texts are {part} rows of {corpus}; the steer was fitted on {fitted_on or 'other texts'}."
    chosen = ", though by dev rows it may have been chosen" if part == "dev" else ""
    return f"The texts are {part} rows of {corpus}, on which the steer was not trained{chosen}."


def table(found: Interpretation) -> list[list[str]]:
    """Headings, then a row for each direction that is shown."""
    return [list(HEADINGS), *(_figures(found, direction) for direction in found.directions)]


def _figures(found: Interpretation, one: Direction) -> list[str]:
    return [
        str(one.number),
        f"{one.size:.3g}",
        percent(one.energy),
        percent(one.evidence),
        interval(one.auc),
        fraction(found.cumulative[one.number - 1]),
        fraction(one.alike),
        percent(one.acting),
        f"{one.change:.2g}",
    ]


def sections(found: Interpretation) -> list[Section]:
    """All together, then each direction."""
    together = Section(
        "All directions together, in the mean context",
        [_words("raised / lowered, by the logit at strength 1", found.overall)],
    )
    return [together, *map(_section, found.directions)]


def _section(one: Direction) -> Section:
    sides = [_words("words raised / lowered", one.output), _words("words along v", one.context)]
    if one.contexts.plus:
        plus, minus = ([_excerpt(excerpt) for excerpt in end] for end in (one.contexts.plus, one.contexts.minus))
        sides.append(Side("contexts along v", plus, minus, long=True))
    return Section(f"Direction {one.number}", sides)


def _words(title: str, words: Words) -> Side:
    plus, minus = ([_word(word) for word in end] for end in (words.plus, words.minus))
    return Side(title, plus, minus)


def _word(word: Word) -> tuple[str, str]:
    return word.word, f"{word.value:+.2f}".replace("0.", ".", 1)


def _excerpt(excerpt: Excerpt) -> tuple[str, str]:
    return f"{excerpt.text} ▸{excerpt.next}", f"{excerpt.value:+.1f}"


def markdown(found: Interpretation) -> str:
    """Everything as Markdown."""
    parts = [f"# {escaped(title_of(found))}", WARNING, "\n".join(f"- {escaped(one)}" for one in sentences(found))]
    parts += [_markdown_table(table(found)), *map(escaped, NOTES)]
    for section in sections(found):
        rows = [[section.title, "+", "-"]]
        rows += [[side.title, _listed(side.plus), _listed(side.minus)] for side in section.sides]
        parts.append(_markdown_table([[escaped(cell) for cell in row] for row in rows]))
    return "\n\n".join(parts)


def _listed(end: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {value}" for name, value in end)


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def html(found: Interpretation, picture: Figure) -> str:
    """Everything as one page that needs nothing from elsewhere."""
    return rendered(
        "interpretation.html",
        title=title_of(found),
        warning=WARNING,
        sentences=sentences(found),
        table=table(found),
        notes=NOTES,
        picture=inlined(picture),
        words=picture_words(found),
        sections=sections(found),
        facts=found.facts,
    )


def picture_words(found: Interpretation) -> str:
    """The picture in words."""
    kept = ", ".join(f"{fraction(one.auc.value)} of the first {one.k}" for one in found.kept)
    return (
        f"Singular values fall from {found.sizes[0]:.3g} to {found.sizes[-1]:.3g}. AUC of directions 1, 2, …: "
        f"{', '.join(map(fraction, found.auc[:8]))}. AUC of several together: {kept}."
    )


def text(found: Interpretation, *, words: int = 4) -> str:
    """The sentences, and the table with a few words of each direction, for a terminal."""
    rows = [["", *HEADINGS[1:6], "raised", "lowered"]]
    for one, figures in zip(found.directions, table(found)[1:], strict=True):
        ends = (" ".join(word.word for word in end[:words]) for end in (one.output.plus, one.output.minus))
        rows.append([*figures[:6], *ends])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([*sentences(found), "", *lines])


def interval(value: Interval) -> str:
    """``.74 [.70, .78]``."""
    limits = "" if value.low is None or value.high is None else f" [{fraction(value.low)}, {fraction(value.high)}]"
    return fraction(value.value) + limits


def fraction(value: float) -> str:
    """Two decimals without the zero before the point."""
    return re.sub(r"^(-?)0\.", r"\1.", f"{value:.2f}")


def percent(value: float) -> str:
    """Per cent, with a decimal where it is below ten."""
    return f"{100 * value:.0f} %" if abs(value) >= 0.095 else f"{100 * value:.1f} %".replace("-0.0", "0.0")


def escaped(text: str) -> str:
    """A text on one line, none of whose signs means anything to Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", " ".join(text.split()))
