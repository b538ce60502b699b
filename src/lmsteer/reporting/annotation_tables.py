"""What people say of the rows, as tables of strings for every format, and a figure."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lmsteer.annotation.annotation_result import AnnotationResult, Check, Estimate, Limits, PairResult
from lmsteer.annotation.rater_answers import csv_text
from lmsteer.reporting.comparison_rows import Block, Section
from lmsteer.reporting.plots import Panel, metric_vs
from lmsteer.reporting.text import MISSING, interval, number

DIGITS = 3
PAIRS_NOTE = (
    "Shares of the answers of people, with 95 % bootstrap intervals over prompts; p of the sign test over prompts, in "
    "which those with as many answers for either row do not count. Read a share next to the agreement: where raters do "
    "not agree, it says little of a single text."
)
AGREEMENT_NOTE = (
    "Krippendorff's alpha and Fleiss' kappa of answers named by the row that they are for, or equal; ordinal: of "
    "loss, tie and win; as shown: of A, equal and B, which over several pairs is the stricter one; raw: share of pairs "
    "of raters that agree. 1 is perfect, 0 is what chance gives."
)
CORRELATION_NOTE = (
    "Spearman's correlation over items between the mean answer of people (for the first row of a pair) and the "
    "difference of the scorer's values, with 95 % bootstrap intervals over prompts. Negative where people prefer what "
    "the scorer rates lower."
)
CHECKS_NOTE = (
    "Repeats: answered as before; swapped: for the same row as before, with A and B exchanged; A: answers for A among "
    "those for A or B; others: equal to the answer of another rater."
)
MODELS_NOTE = (
    "Answers of language models are counted apart, and never averaged with those of people, with whose majority they "
    "are compared."
)
SIDES_NOTE = (
    "Answers for A, the text that is shown first, among those for A or B, with 95 % intervals: .5 without bias."
)


def annotation_blocks(result: AnnotationResult) -> list[Block]:
    """Lay out all tables of a result."""
    tables = [
        _pairs(result, result.pairs, "Judged by people", [f"{_size(result)} {PAIRS_NOTE}"])
        if result.pairs
        else _single(result),
        _agreement(result),
        _strengths(result),
        _correlations(result),
        _position(result),
        _checks(result.checks),
        *_models(result),
    ]
    return [table for table in tables if table is not None and table.rows]


def annotation_csv(result: AnnotationResult) -> str:
    """Write the numbers of all pairs, or rows, in full: a line for each outcome."""
    columns = ("row", "against", "question", "answer", "value", "low", "high", "n", "prompts", "p")
    lines: list[tuple[object, ...]] = []
    for pair in result.pairs:
        for outcome, ends in pair.intervals.items():
            numbers = (getattr(pair, outcome), *(ends or ("", "")), pair.n, pair.prompts, pair.sign_test.p)
            lines.append((pair.a, pair.b, pair.question, outcome, *numbers))
    for row in result.rows:
        for choice, share in row.shares.items():
            lines.append((row.row, "", row.question, choice, share.value, share.low, share.high, row.n, share.n, ""))
    return csv_text(columns, lines)


def annotation_figure(result: AnnotationResult) -> Figure:
    """Draw the shares of win, tie and loss of each pair, or of yes, unsure and no of each row: a panel a question."""
    points: list[dict[str, Any]] = []
    names: dict[str, float] = {}
    for pair in result.pairs:
        for outcome, ends in pair.intervals.items():
            low, high = ends or (None, None)
            values = {"value": getattr(pair, outcome), "low": low, "high": high}
            points.append({"panel": pair.question, "group": outcome, "name": f"{pair.a}\nor {pair.b}", **values})
    for row in result.rows if not result.pairs else ():
        for choice, share in row.shares.items():
            values = {"value": share.value, "low": share.low, "high": share.high}
            points.append({"panel": row.question, "group": choice, "name": row.row, **values})
    for point in points:
        point["x"] = names.setdefault(point["name"], float(len(names)))
    ticks = {x: name for name, x in names.items()}
    panels = {
        name: Panel(title=words, y_label="share of answers", x_ticks=ticks, y_limits=(0, 1), is_joined=False)
        for name, words in result.questions.items()
    }
    frame = pd.DataFrame(points).astype({"low": float, "high": float})
    return metric_vs(frame, panels, columns=1, size=(max(4.5, 1.9 * len(names)), 2.7))


def _pairs(result: AnnotationResult, pairs: Sequence[PairResult], title: str, notes: list[str]) -> Block:
    def heading(name: str, words: str) -> str:
        return _heading(result, name, words) if pairs is result.pairs else words

    sections = []
    for name, words in result.questions.items():
        rows = [
            [
                pair.a, pair.b,
                *(_share(getattr(pair, outcome), pair.intervals[outcome]) for outcome in ("win", "tie", "loss")),
                str(pair.n), str(pair.prompts), _p(pair.sign_test.p),
            ]
            for pair in pairs if pair.question == name
        ]  # fmt: skip
        if rows:
            sections.append(Section(heading(name, words), rows))
    headings = ["row", "against", "win", "tie", "loss", "answers", "prompts", "p"]
    return Block(title, headings, sections, notes)


def _single(result: AnnotationResult) -> Block:
    sections = [
        Section(
            _heading(result, name, words),
            [
                [row.row, *(_estimate(share) for share in row.shares.values()), str(row.n)]
                for row in result.rows
                if row.question == name
            ],
        )
        for name, words in result.questions.items()
    ]
    return Block(
        "Judged by people", ["row", "yes", "unsure", "no", "answers"], sections, [f"{_size(result)} {PAIRS_NOTE}"]
    )


def _agreement(result: AnnotationResult) -> Block:
    rows = [
        [
            result.questions[name],
            *(number(v, DIGITS) for v in (a.alpha_nominal, a.alpha_ordinal, a.alpha_shown, a.fleiss_kappa, a.raw)),
            str(a.items),
            str(a.below),
        ]
        for name, a in result.agreement.items()
    ]
    headings = [
        "question",
        "α nominal",
        "α ordinal",
        "α as shown",
        "Fleiss κ",
        "raw",
        "items",
        "items with too few raters",
    ]
    return Block("Agreement of raters", headings, [Section("", rows)], [AGREEMENT_NOTE])


def _strengths(result: AnnotationResult) -> Block | None:
    if not result.bradley_terry:
        return None
    sections = [
        Section(result.questions[name], [[row.row, interval(row, 2, signed=True)] for row in rows])
        for name, rows in result.bradley_terry.items()
    ]
    note = "Log-odds, 0 on average (Bradley and Terry's model with Davidson's ties), with 95 % intervals over prompts."
    return Block("Strength over all pairs", ["row", "strength"], sections, [note])


def _correlations(result: AnnotationResult) -> Block:
    rows = [
        [result.questions[one.question], one.scorer, interval(one.estimate, 2, signed=True), str(one.items)]
        for one in result.correlations
    ]
    return Block(
        "Automatic scorers", ["question", "scorer", "correlation", "items"], [Section("", rows)], [CORRELATION_NOTE]
    )


def _position(result: AnnotationResult) -> Block:
    rows = [[result.questions[name], _estimate(share)] for name, share in result.position.items()]
    return Block("Position", ["question", "A"], [Section("", rows)], [SIDES_NOTE])


def _checks(checks: Sequence[Check]) -> Block:
    rows = [
        [
            check.rater, str(check.answers), MISSING if check.seconds is None else f"{check.seconds:.0f}",
            *(_of(counts) for counts in (check.repeats, check.swapped, check.qualification, check.first, check.others)),
            ", ".join(check.careless) or MISSING,
        ]
        for check in checks
    ]  # fmt: skip
    headings = ["rater", "answers", "s an item", "repeats", "swapped", "qualification", "A", "others", "careless"]
    return Block("Raters", headings, [Section("", rows)], [CHECKS_NOTE])


def _models(result: AnnotationResult) -> list[Block]:
    if not result.models:
        return []
    rows = [
        [one.rater, result.questions[one.question], number(one.raw, DIGITS), number(one.alpha, DIGITS), str(one.items)]
        for one in result.models
    ]
    headings = ["model", "question", "agrees with people", "α", "items"]
    tables = [
        _pairs(result, [p for one in result.models if one.rater == rater for p in one.pairs], f"Judged by {rater}", [])
        for rater in dict.fromkeys(one.rater for one in result.models)
    ]
    return [Block("Models as raters", headings, [Section("", rows)], [MODELS_NOTE]), *tables]


def _heading(result: AnnotationResult, name: str, words: str) -> str:
    agreement = result.agreement[name]
    values = f"α {number(agreement.alpha_nominal, DIGITS)}, raw agreement {number(agreement.raw, DIGITS)}"
    return f"{words[:1].upper()}{words[1:]} ({values})"


def _size(result: AnnotationResult) -> str:
    left_out = f", without {', '.join(result.excluded)}" if result.excluded else ""
    raters = ("rater" if result.raters == 1 else "raters") if result.checks else "assignments of one item"
    return f"{result.raters} {raters}{left_out}, {result.items} items, {result.answers} answers."


def _share(value: float, ends: Limits) -> str:
    low, high = ends or (None, None)
    return interval({"value": value, "low": low, "high": high}, DIGITS)


def _estimate(estimate: Estimate) -> str:
    return interval(estimate, DIGITS)


def _p(p: float) -> str:
    return "≤ .001" if p <= 0.001 else number(p, 3)


def _of(counts: tuple[int, int]) -> str:
    return f"{counts[0]} of {counts[1]}" if counts[1] else MISSING
