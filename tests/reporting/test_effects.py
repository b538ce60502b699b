from tests.handmade import PROTOCOL, row, value

from lmsteer.evaluation.results import Result, ResultRow
from lmsteer.reporting.effects import summary_sentences


def test_an_effect_is_claimed_only_where_intervals_are_apart(result: Result) -> None:
    assert summary_sentences(result) == [
        "At sentiment +5, positivity by tfidf rises from .47 to .74 (+27 points, 95 % intervals disjoint); "
        "perplexity goes from 16.4 to 32.8 (×2.0).",
        "At sentiment -5, no effect on positivity by tfidf is shown: .44 against .47 (95 % intervals overlap); "
        "perplexity goes from 16.4 to 123 (×7.5).",
    ]


def test_touching_intervals_are_not_apart(plain: ResultRow) -> None:
    touching = row({"s": 1.0}, {"positivity": value(0.6, 0.51, 0.7)})
    assert "no effect" in summary_sentences(Result(protocol=PROTOCOL, rows=[plain, touching]))[0]


def test_without_intervals_nothing_is_claimed(plain: ResultRow) -> None:
    alone = row({"s": 1.0}, {"positivity": value(1.0, None, None)})
    assert summary_sentences(Result(protocol=PROTOCOL, rows=[plain, alone])) == [
        "At s +1, no effect on positivity is shown: 1.00 against .47 (no intervals)."
    ]


def test_the_strongest_setting_speaks_even_where_a_weaker_one_had_more_effect(result: Result) -> None:
    weaker = row({"sentiment": 2.0}, {"positivity": value(0.99, 0.98, 1.0, "tfidf")})
    sentences = summary_sentences(Result(protocol=PROTOCOL, rows=[*result.rows, weaker]))
    assert sentences == summary_sentences(result)


def test_every_scorer_of_the_attribute_is_heard(plain: ResultRow) -> None:
    def scored(first: float, second: float) -> dict[str, object]:
        names = {"positivity": ("tfidf", first), "positivity@list": ("list", second)}
        return {name: value(number, number - 0.01, number + 0.01, who) for name, (who, number) in names.items()}

    rows = [row({}, scored(0.5, 0.5)), row({"s": 1.0}, scored(0.8, 0.4))]
    assert summary_sentences(Result(protocol=PROTOCOL, rows=rows)) == [
        "At s +1, positivity by tfidf rises from .50 to .80 (+30 points, 95 % intervals disjoint); "
        "positivity by list falls from .50 to .40 (-10 points, 95 % intervals disjoint)."
    ]


def test_what_is_missing_is_said(plain: ResultRow) -> None:
    steered = row({"s": 1.0}, plain.metrics)
    unmeasured = row({}, {"dist_1": value(0.5, 0.4, 0.6)})
    assert "plain model was not measured" in summary_sentences(Result(protocol=PROTOCOL, rows=[steered]))[0]
    assert "No attribute was measured" in summary_sentences(Result(protocol=PROTOCOL, rows=[unmeasured]))[0]
    assert "No steered text was measured" in summary_sentences(Result(protocol=PROTOCOL, rows=[plain]))[0]
