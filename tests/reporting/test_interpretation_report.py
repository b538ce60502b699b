"""Promises of the report of an interpretation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.handmade import Page

from lmsteer.analysis.interpretation_file import (
    Chance,
    CumulativeAuc,
    Direction,
    Excerpt,
    Excerpts,
    Interpretation,
    Word,
    Words,
    read_interpretation,
)
from lmsteer.errors import InputError
from lmsteer.metrics.intervals import Interval
from lmsteer.reporting.interpretation_report import html, sentences, table, text
from lmsteer.reporting.spectrum import spectrum


def words(*names: str) -> Words:
    return Words(
        plus=[Word(word=f"{name}-up", value=0.5) for name in names],
        minus=[Word(word=f"{name}-down", value=-0.25) for name in names],
    )


def direction(number: int, name: str = "w") -> Direction:
    ends = ([Excerpt(text=f"{name} {side}", next=" next", value=value)] for side, value in (("a", 3.0), ("b", -1.5)))
    plus, minus = ends
    return Direction(
        number=number,
        size=100.0 / number,
        energy=0.9 if number == 1 else 0.05,
        evidence=0.995 if number == 1 else -0.02,
        auc=Interval(0.75, 0.7, 0.8, 90),
        as_constant=0.625,
        activation=2.0,
        acting=0.96,
        change=0.0123,
        output=words(f"{name}{number}out", name),
        context=words(f"{name}{number}in"),
        contexts=Excerpts(plus=plus, minus=minus),
    )


def handmade(name: str = "w", **changes: Any) -> Interpretation:
    facts = {"model": "smollm2", "dimension": "tone", "rank": 3, "plus": 50, "minus": 40, "corpus": "snippets"}
    content: dict[str, Any] = {
        "facts": {**facts, "part": "test", "fitted_on": "snippets"},
        "effective_rank": 1.26,
        "participation_ratio": 1.04,
        "holding": 1,
        "sizes": [100.0, 50.0, 25.0],
        "energy": [0.9, 0.05, 0.05],
        "evidence": [0.995, -0.02, 0.025],
        "separation": 1.5,
        "auc": [0.75, 0.45, 0.55],
        "cumulative": [0.75, 0.76, 0.77],
        "cumulative_auc": [
            CumulativeAuc(k=1, auc=Interval(0.75, 0.7, 0.8, 90)),
            CumulativeAuc(k=3, auc=Interval(0.77, 0.72, 0.82, 90)),
        ],
        "as_constant": Interval(0.7, 0.65, 0.75, 90),
        "chance": Chance(draws=20, low=[0.41, 0.42, 0.43], high=[0.57, 0.58, 0.59]),
        "overall": words(name),
        "directions": [direction(1, name), direction(2, name)],
    }
    return Interpretation(**(content | changes))


def test_what_is_written_is_read_and_anything_else_refused(tmp_path: Path) -> None:
    path = tmp_path / "interpretation.json"
    path.write_text(handmade().model_dump_json(), encoding="utf-8")
    assert read_interpretation(path) == handmade()
    path.write_text('{"facts": {}}', encoding="utf-8")
    with pytest.raises(InputError, match=r"interpretation\.json: no interpretation\.json of src\.interpret"):
        read_interpretation(path)
    with pytest.raises(InputError, match="No such file"):
        read_interpretation(tmp_path / "none.json")


def test_sentences_have_the_figures_and_their_texts() -> None:
    shape, evidence, chance, source = sentences(handmade())
    assert "The 3 singular directions count like 1.3 of equal size" in shape
    assert shape.endswith("the first holds 90 % of the energy.")
    assert sentences(handmade(holding=2))[0].endswith("the first 2 hold 90 % of the energy.")
    assert "50 texts with a label above 0 from 40 below with an AUC of .77 [.72, .82]" in evidence
    assert "the first direction alone has .75 [.70, .80]" in evidence
    assert "would have .70 [.65, .75]" in evidence
    assert chance == "Random matrices of the same singular values have .43 to .59 in 20 draws."
    assert source == "The texts are test rows of snippets, on which the steer was not trained."
    assert len(sentences(handmade(chance=None))) == 3


@pytest.mark.parametrize(
    ("part", "fitted_on", "expected"),
    [
        ("dev", "snippets", "on which the steer was not trained, though it may have been chosen by dev rows."),
        ("test", "sst5", "The texts are test rows of snippets; the steer was fitted on sst5."),
        ("test", None, "the steer was fitted on other texts."),
    ],
)
def test_texts_that_the_steer_may_know_are_not_called_new(part: str, fitted_on: str | None, expected: str) -> None:
    facts = handmade().facts | {"part": part, "fitted_on": fitted_on}
    assert sentences(handmade(facts=facts))[-1].endswith(expected)


def test_the_table_has_the_figures_of_each_direction() -> None:
    heading, first, second = table(handmade())
    assert len(heading) == len(first) == len(second)
    assert first == ["1", "100", "90 %", "100 %", ".75 [.70, .80]", ".75", ".62", "96 %", "0.012"]
    assert second[:6] == ["2", "50", "5.0 %", "-2.0 %", ".75 [.70, .80]", ".76"]
    lines = text(handmade(), max_words=1).split("\n")
    assert lines[-2].split()[-2:] == ["w1out-up", "w1out-down"]


def test_the_page_describes_its_picture_in_words() -> None:
    page = Page(html(handmade(), spectrum(handmade())))
    (image,) = page.all("img")
    assert "from 100 to 25" in str(image["alt"])
    assert ".75 of the first 1, .77 of the first 3" in str(image["alt"])
    assert "some may offend" in page.text


def test_the_picture_draws_the_figures() -> None:
    sizes, evidence, auc = spectrum(handmade()).axes
    assert np.asarray(sizes.lines[0].get_xydata()).tolist() == [[1, 100], [2, 50], [3, 25]]
    assert np.asarray(evidence.lines[0].get_ydata()).tolist() == [0.995, -0.02, 0.025]
    alone, together, random, _ = (np.asarray(line.get_ydata()).tolist() for line in auc.lines)
    assert (alone, together) == ([0.75, 0.45, 0.55], [0.75, 0.76, 0.77])
    assert random == pytest.approx([0.49, 0.5, 0.51])
    segments = [segment.tolist() for lines in auc.collections for segment in lines.get_segments()]  # type: ignore[attr-defined]
    assert segments[:2] == [[[1, 0.7], [1, 0.8]], [[3, 0.72], [3, 0.82]]]
    assert segments[2:] == [
        [[x, low], [x, high]] for x, low, high in ((1, 0.41, 0.57), (2, 0.42, 0.58), (3, 0.43, 0.59))
    ]
    assert auc.get_ylim()[0] < 0.41
    assert evidence.get_ylim()[0] < -0.02
    assert len(spectrum(handmade(chance=None)).axes[2].lines) == 3
