"""The report of an interpreted steer: sentences, a table, and a section for each direction."""

from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.figure import Figure

from lmsteer.analysis.interpretation_file import Direction, Excerpt, Interpretation, Word, Words
from lmsteer.reporting.page import Picture, render_page
from lmsteer.reporting.text import (
    escape_markdown,
    interval,
    markdown_table,
    number,
    percent,
    terminal_table,
)

HEADINGS = (
    *("direction", "size", "energy", "evidence", "AUC", "AUC up to it", "AUC as a constant", "acting", "logit change"),
)
NOTES = (
    "At strength s direction i adds s ε size (h · v) (u · e) to the logit of a word with embedding e after a context "
    "with hidden state h. Its sign makes the mean of h · v positive. Acting is the share of contexts where h · v is "
    "positive: there a positive strength raises raised words and lowers lowered ones, elsewhere it does the reverse.",
    "Size is the singular value, energy its share in the squared norm of W. Evidence is the derivative of a text's "
    "log-likelihood in the strength, at strength 0, direction by direction; the column is its share in the difference "
    "between texts with a label above 0 and those below. AUC is the probability that one of the former has more of it "
    "than one of the latter, with a 95 % bootstrap interval over texts; up to it, of the sum from direction 1 on; as a "
    "constant, if it acted equally in all contexts. Logit change is the root mean square over contexts and words at "
    "strength 1.",
    "Words have u · e and v · e minus those of the mean token of the texts; contexts have h · v, and after a mark the "
    "next token.",
)
WARNING = "Words and texts are quoted from vocabulary and corpus; some may offend."
CAPTION = (
    "Singular values; share of each direction in the evidence; AUC of each direction alone and of the first directions "
    "together, with 95 % intervals, and the range of random matrices of the same singular values."
)


@dataclass(frozen=True)
class Side:
    """Words or texts at the two ends of a direction, each with its value."""

    title: str
    plus: list[tuple[str, str]]
    minus: list[tuple[str, str]]
    is_text: bool = False


@dataclass(frozen=True)
class Section:
    """A direction, or all of them together."""

    title: str
    sides: list[Side]


def title_of(interpretation: Interpretation) -> str:
    """Name the dimension and the model."""
    return (
        f"Directions of the steer {interpretation.facts['dimension']} of {interpretation.facts.get('model', 'a model')}"
    )


def sentences(interpretation: Interpretation) -> list[str]:
    """Write the findings, no more than the figures show."""
    facts, all_directions, first = (
        interpretation.facts,
        interpretation.cumulative_auc[-1].auc,
        interpretation.cumulative_auc[0].auc,
    )
    subject = "first holds" if interpretation.holding == 1 else f"first {interpretation.holding} hold"
    shape = (
        f"The {facts['rank']} singular directions count like {interpretation.effective_rank:.1f} of equal size "
        f"(effective rank; participation ratio {interpretation.participation_ratio:.1f}); the {subject} 90 % of the "
        "energy."
    )
    evidence = (
        f"Their evidence separates {facts['plus']} texts with a label above 0 from {facts['minus']} below with an AUC "
        f"of {interval(all_directions)}; the first direction alone has {interval(first)}; a constant vector, all "
        f"directions acting equally in all contexts, would have {interval(interpretation.as_constant)}."
    )
    chance = interpretation.chance and (
        f"Random matrices of the same singular values have {number(interpretation.chance.low[-1])} to "
        f"{number(interpretation.chance.high[-1])} in {interpretation.chance.draws} draws."
    )
    return [sentence for sentence in (shape, evidence, chance, _source(interpretation)) if sentence]


def _source(interpretation: Interpretation) -> str:
    facts = interpretation.facts
    corpus, part, fitted_on = (facts.get(name) for name in ("corpus", "part", "fitted_on"))
    if not corpus:
        return ""
    if corpus != fitted_on:
        return f"The texts are {part} rows of {corpus}; the steer was fitted on {fitted_on or 'other texts'}."
    chosen = ", though it may have been chosen by dev rows" if part == "dev" else ""
    return f"The texts are {part} rows of {corpus}, on which the steer was not trained{chosen}."


def table(interpretation: Interpretation) -> list[list[str]]:
    """Lay out the headings, then a row for each direction of the report."""
    return [list(HEADINGS), *(_figures(interpretation, direction) for direction in interpretation.directions)]


def _figures(interpretation: Interpretation, direction: Direction) -> list[str]:
    return [
        str(direction.number),
        f"{direction.size:.3g}",
        percent(direction.energy),
        percent(direction.evidence),
        interval(direction.auc),
        number(interpretation.cumulative[direction.number - 1]),
        number(direction.as_constant),
        percent(direction.acting),
        f"{direction.change:.2g}",
    ]


def sections(interpretation: Interpretation) -> list[Section]:
    """Collect the words of all directions together, then of each direction."""
    together = Section(
        "All directions together, in the mean context",
        [_words("raised / lowered, by the logit at strength 1", interpretation.overall)],
    )
    return [together, *map(_section, interpretation.directions)]


def _section(direction: Direction) -> Section:
    sides = [_words("words raised / lowered", direction.output), _words("words along v", direction.context)]
    if direction.contexts.plus:
        plus, minus = (
            [_excerpt(excerpt) for excerpt in end] for end in (direction.contexts.plus, direction.contexts.minus)
        )
        sides.append(Side("contexts along v", plus, minus, is_text=True))
    return Section(f"Direction {direction.number}", sides)


def _words(title: str, words: Words) -> Side:
    plus, minus = ([_word(word) for word in end] for end in (words.plus, words.minus))
    return Side(title, plus, minus)


def _word(word: Word) -> tuple[str, str]:
    return word.word, number(word.value, signed=True)


def _excerpt(excerpt: Excerpt) -> tuple[str, str]:
    return f"{excerpt.text} ▸{excerpt.next}", f"{excerpt.value:+.1f}"


def markdown(interpretation: Interpretation) -> str:
    """Write the report as Markdown."""
    headings, *rows = table(interpretation)
    bullets = "\n".join(f"- {escape_markdown(sentence)}" for sentence in sentences(interpretation))
    paragraphs = [f"# {escape_markdown(title_of(interpretation))}", WARNING, bullets]
    paragraphs += [markdown_table(headings, rows), *map(escape_markdown, NOTES)]
    for section in sections(interpretation):
        sides = [[side.title, _join(side.plus), _join(side.minus)] for side in section.sides]
        paragraphs.append(markdown_table([section.title, "+", "-"], sides))
    return "\n\n".join(paragraphs)


def _join(end: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {value}" for name, value in end)


def html(interpretation: Interpretation, picture: Figure) -> str:
    """Write the report as an HTML page of one file."""
    headings, *rows = table(interpretation)
    return render_page(
        "interpretation.html",
        title=title_of(interpretation),
        warning=WARNING,
        sentences=sentences(interpretation),
        headings=headings,
        rows=rows,
        notes=NOTES,
        pictures=[Picture.of(picture, describe_spectrum(interpretation), CAPTION)],
        sections=sections(interpretation),
        facts=interpretation.facts.items(),
    )


def describe_spectrum(interpretation: Interpretation) -> str:
    """Write the picture in words."""
    sizes = interpretation.sizes
    cumulative = ", ".join(
        f"{number(entry.auc.value)} of the first {entry.k}" for entry in interpretation.cumulative_auc
    )
    return (
        f"Singular values fall from {sizes[0]:.3g} to {sizes[-1]:.3g}. AUC of directions 1, 2, …: "
        f"{', '.join(map(number, interpretation.auc[:8]))}. AUC of several together: {cumulative}."
    )


def text(interpretation: Interpretation, *, max_words: int = 4) -> str:
    """Write the sentences, and the table with a few words of each direction, for a terminal."""
    rows = []
    for direction, cells in zip(interpretation.directions, table(interpretation)[1:], strict=True):
        ends = (
            " ".join(word.word for word in end[:max_words]) for end in (direction.output.plus, direction.output.minus)
        )
        rows.append([*cells[:6], *ends])
    columns = terminal_table([*HEADINGS[:6], "raised", "lowered"], rows)
    return "\n".join([*sentences(interpretation), "", columns])
