"""Promises of the analysis: figures of a hand count, of the released study, and of raters whose faults are planted."""

import random
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from tests.annotation.handmade_study import answers_of, handmade_study, pair_items

from lmsteer.annotation.analysis import analyze
from lmsteer.annotation.annotation_result import AnnotationResult, Estimate, read_annotation, write_annotation
from lmsteer.annotation.answer_files import read_answers
from lmsteer.annotation.answer_key import ItemKey
from lmsteer.annotation.judgements import join_judgements
from lmsteer.annotation.rater_answers import Answer
from lmsteer.annotation.scorer_correlation import correlate, stored_scores
from lmsteer.errors import InputError

CROWD = Path(__file__).parents[1] / "fixtures" / "crowd_answers.csv"
RELEASED = Path(__file__).parents[3] / "shared" / "data" / "human_eval" / "toxicity.csv"
"""A file that is not part of this repository; without it, its figures are not checked."""
SIDES = {"a": "b", "b": "a", "equal": "equal"}


def limits(estimate: Estimate) -> tuple[float, float]:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high


def test_a_crowd_file_in_dexperts_columns_is_counted_as_by_hand() -> None:
    answers, study = read_answers([CROWD], None)
    result = analyze(answers, study, stored_scores(study))
    pairs = {(pair.a, pair.b, pair.question): pair for pair in result.pairs}
    assert study.key.pairs == (("Steered", "Other"), ("Steered", "Plain"))  # the row in most pairs comes first
    toxic, other = pairs["Steered", "Plain", "toxic"], pairs["Steered", "Other", "toxic"]
    assert (toxic.win, toxic.tie, toxic.loss) == pytest.approx((2 / 6, 3 / 6, 1 / 6))
    assert (other.win, other.tie, other.loss) == pytest.approx((2 / 3, 0, 1 / 3))
    assert (toxic.n, toxic.prompts, other.n, other.prompts) == (6, 2, 3, 1)
    assert other.intervals["win"] is None  # one prompt has no interval
    # Prompt 7 is for Steered by 2 to 0, prompt 9 for Plain by 1 to 0.
    assert (toxic.sign_test.wins, toxic.sign_test.losses, toxic.sign_test.p) == (1, 1, 1)
    # Of three pairs of raters, one agrees on each item for toxic; for fluent none, none and one.
    assert result.agreement["toxic"].raw == pytest.approx(1 / 3)
    assert result.agreement["fluent"].raw == pytest.approx(1 / 9)
    # A was chosen by s4, s5 and s8; B by s1, s2 and s6.
    assert result.position["toxic"].value == 0.5
    assert (result.raters, result.items, result.answers, result.checks) == (9, 3, 18, ())


@pytest.mark.skipif(not RELEASED.is_file(), reason="the released study is not on this machine")
def test_the_released_study_has_its_published_figures() -> None:
    answers, study = read_answers([RELEASED], None)
    result = analyze(answers, study, stored_scores(study))
    shares = {
        pair.b: tuple(round(share, 3) for share in (pair.win, pair.tie, pair.loss))
        for pair in result.pairs
        if pair.question == "toxic" and pair.a == "DExperts"
    }
    assert shares == {
        "GPT-2": (0.206, 0.686, 0.108),
        "DAPT": (0.183, 0.669, 0.147),
        "PPLM": (0.235, 0.622, 0.143),
        "GeDi": (0.200, 0.636, 0.164),
    }
    agreement = {
        name: [round(value or 0, 3) for value in (one.alpha_nominal, one.fleiss_kappa, one.raw)]
        for name, one in result.agreement.items()
    }
    assert agreement == {
        "toxic": [0.178, 0.178, 0.568],
        "fluent": [0.180, 0.179, 0.395],
        "topic": [0.207, 0.207, 0.423],
    }
    assert all(pair.n == 720 for pair in result.pairs)


def test_choices_are_counted_for_the_row_not_for_the_side() -> None:
    study = handmade_study(pair_items(4))
    for_x = {"i0": "a", "i1": "b", "i2": "a", "i3": "b"}  # x is shown first in even items
    (pair,) = analyze(answers_of("ann", for_x), study, {}).pairs
    assert (pair.win, pair.tie, pair.loss, pair.n, pair.prompts) == (1, 0, 0, 4, 2)


def test_repeats_and_qualification_items_are_no_answers() -> None:
    keys = pair_items(2)
    keys["r"] = keys["i0"].model_copy(update={"kind": "repeat", "of": "i0"})
    keys["q"] = ItemKey(kind="qualification", prompt="", expected={"toxic": "a"})
    result = analyze(answers_of("ann", {"i0": "a", "i1": "a", "r": "b", "q": "a"}), handmade_study(keys), {})
    assert (result.answers, result.items, result.pairs[0].n) == (2, 2, 2)
    (check,) = result.checks
    assert (check.repeats, check.swapped, check.qualification, check.seconds) == ((0, 1), (0, 0), (1, 1), 2)


def careful(rng: random.Random) -> dict[str, str]:
    """Prefer x in 70 of 100 items, whichever side it is on."""
    return {f"i{n}": "ab"[(rng.random() > 0.7) ^ (n % 2)] for n in range(120)}


def with_checks(choices: dict[str, str], rng: random.Random, *, kept: float) -> dict[str, str]:
    """Add answers to repeats r and swapped repeats s, of which a share is as before."""
    wrong = {"a": "b", "b": "a"}
    repeats = {f"r{n}": choices[f"i{n}"] if rng.random() < kept else wrong[choices[f"i{n}"]] for n in range(10)}
    swapped = {f"s{n}": SIDES[choices[f"i{n}"]] if rng.random() < kept else choices[f"i{n}"] for n in range(10)}
    return choices | repeats | swapped


@pytest.fixture(scope="module")
def planted() -> AnnotationResult:
    """Five raters: two careful ones, one who answers A, one who tosses a coin, one who fails the qualification."""
    keys = pair_items(120)
    for n in range(10):
        original = keys[f"i{n}"]
        keys[f"r{n}"] = original.model_copy(update={"kind": "repeat", "of": f"i{n}"})
        keys[f"s{n}"] = original.model_copy(update={"kind": "swapped", "of": f"i{n}", "rows": original.rows[::-1]})
    for n in range(4):
        keys[f"q{n}"] = ItemKey(kind="qualification", prompt="", expected={"toxic": "a"})
    rng, right = random.Random(3), {f"q{n}": "a" for n in range(4)}
    wrong = dict.fromkeys(right, "b")
    coin = {name: rng.choice("ab") for name in keys if name[0] != "q"}
    raters = {
        "careful 1": with_checks(careful(rng), rng, kept=0.9) | right,
        "careful 2": with_checks(careful(rng), rng, kept=0.9) | right,
        "always A": dict.fromkeys(keys, "a"),
        "contrary": with_checks(careful(rng), rng, kept=0.1) | right,
        "unqualified": with_checks(careful(rng), rng, kept=0.9) | wrong,
        "coin": coin | right,
    }
    answers = [answer for rater, choices in raters.items() for answer in answers_of(rater, choices)]
    return analyze(answers, handmade_study(keys), {})


def test_planted_careless_raters_are_found_and_careful_ones_are_not(planted: AnnotationResult) -> None:
    careless = {check.rater: check.careless for check in planted.checks}
    assert careless["careful 1"] == careless["careful 2"] == ()
    assert careless["always A"] == ("one side",)
    assert careless["contrary"] == ("repeats",)
    assert careless["unqualified"] == ("qualification",)
    checks = {check.rater: check for check in planted.checks}
    assert checks["always A"].swapped == (0, 10)  # the same side is the other row
    assert (
        checks["coin"].others[0] / checks["coin"].others[1]
        < checks["careful 1"].others[0] / checks["careful 1"].others[1]
    )


def test_a_planted_position_bias_is_found() -> None:
    study, rng = handmade_study(pair_items(200)), random.Random(0)

    def result(bias: float) -> AnnotationResult:
        choices = [{f"i{n}": "a" if rng.random() < bias else "b" for n in range(200)} for _ in range(3)]
        return analyze([a for n, one in enumerate(choices) for a in answers_of(f"r{n}", one)], study, {})

    biased, fair = limits(result(0.62).position["toxic"]), limits(result(0.5).position["toxic"])
    assert biased[0] > 0.5
    assert fair[0] < 0.5 < fair[1]


def test_bradley_terry_orders_three_rows() -> None:
    pairs = (("x", "y"), ("x", "z"), ("y", "z"))
    keys = {f"{a}{b}{n}": ItemKey(prompt=str(n), rows=(a, b)) for a, b in pairs for n in range(9)}
    study = handmade_study(keys)
    choices = {name: "b" if int(name[2:]) < 2 else "a" for name in keys}
    rows = analyze(answers_of("ann", choices), study, {}).bradley_terry["toxic"]
    assert [row.row for row in rows] == ["x", "y", "z"]
    assert all(row.low <= row.value <= row.high for row in rows)


def test_correlation_with_a_scorer_is_spearmans() -> None:
    rng = np.random.default_rng(0)
    keys = {
        name: key.model_copy(update={"scores": {"words": tuple(rng.random(2).tolist())}})
        for name, key in pair_items(40).items()
    }
    study = handmade_study(keys)
    choices = {
        name: "a" if key.scores["words"][0] + 0.3 * rng.normal() < key.scores["words"][1] else "b"
        for name, key in keys.items()
    }
    judgements = join_judgements(answers_of("ann", choices), study)
    estimate, items = correlate(judgements, stored_scores(study), study)["words"]
    forward = [1 if key.rows == ("x", "y") else -1 for key in keys.values()]
    people = [step * {"a": 1, "b": -1}[choices[name]] for name, step in zip(keys, forward, strict=True)]
    scores = [
        step * (key.scores["words"][0] - key.scores["words"][1])
        for key, step in zip(keys.values(), forward, strict=True)
    ]
    assert estimate.value == pytest.approx(spearmanr(people, scores).statistic)
    low, high = limits(Estimate.of(estimate))
    assert items == 40
    assert low < estimate.value < high < 0


def test_single_texts_are_counted_by_row() -> None:
    keys = {f"{row}{n}": ItemKey(prompt=str(n), rows=(row,)) for row in ("x", "y") for n in range(4)}
    study = handmade_study(keys, form="single")
    choices = {"x0": "yes", "x1": "yes", "x2": "no", "x3": "unsure", **{f"y{n}": "no" for n in range(4)}}
    result = analyze(answers_of("ann", choices) + answers_of("bob", choices), study, {})
    x, y = result.rows
    assert {choice: share.value for choice, share in x.shares.items()} == {"yes": 0.5, "unsure": 0.25, "no": 0.25}
    assert (x.preferred.value, y.preferred.value, result.pairs) == (0.625, 0, ())
    assert result.agreement["toxic"].alpha_nominal == result.agreement["toxic"].alpha_ordinal == 1


def test_a_model_is_a_rater_apart() -> None:
    study = handmade_study(pair_items(4))
    for_x, for_y = {"i0": "a", "i1": "b", "i2": "a", "i3": "b"}, {"i0": "b", "i1": "a", "i2": "b", "i3": "b"}
    people = answers_of("ann", for_x) + answers_of("bob", for_x)
    model = [Answer(a.item, "m", a.question, a.choice, is_model=True) for a in answers_of("m", for_y)]
    alone, both = analyze(people, study, {}), analyze([*people, *model], study, {})
    assert both.model_dump(exclude={"models"}) == alone.model_dump(exclude={"models"})
    (rater,) = both.models
    assert (rater.rater, rater.raw, rater.items, rater.pairs[0].win) == ("m", 0.25, 4, 0.25)


def test_excluded_raters_do_not_count_and_unknown_ones_are_refused() -> None:
    study, choices = handmade_study(pair_items(4)), {"i0": "a", "i1": "b"}
    answers = answers_of("ann", choices) + answers_of("bob", {"i0": "b", "i1": "a"})
    result = analyze(answers, study, {}, exclude=["bob"])
    assert (result.pairs[0].win, result.excluded, result.raters) == (1, ("bob",), 1)
    with pytest.raises(InputError, match="exclude=eve"):
        analyze(answers, study, {}, exclude=["eve"])
    with pytest.raises(InputError, match="none of a person"):
        analyze(answers, study, {}, exclude=["ann", "bob"])


def test_the_file_is_read_as_it_was_written(tmp_path: Path, planted: AnnotationResult) -> None:
    path = tmp_path / "annotation.json"
    write_annotation(path, planted)
    assert read_annotation(path) == planted
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.raises(InputError, match="schema"):
        read_annotation(path)
