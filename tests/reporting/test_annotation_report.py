"""Promises of people's figures in a comparison: each is in the row that was judged, and several seeds are averaged."""

from pathlib import Path

import pytest
from tests.annotation.handmade_study import answers_of, handmade_study
from tests.handmade_runs import PLAIN, STEERED, run_row, stored_run

from lmsteer.annotation.analysis import analyze
from lmsteer.annotation.annotation_result import AnnotationResult
from lmsteer.annotation.answer_key import ItemKey, RowKey, Study
from lmsteer.errors import InputError
from lmsteer.reporting.annotation_report import with_people
from lmsteer.reporting.comparison import Comparison, compare_runs

STRENGTH = {"detox": 5.0}


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    """Two seeds of one method, and the plain model."""
    rows = [[run_row(PLAIN, seed=seed), run_row(STEERED, STRENGTH, seed=seed)] for seed in range(2)]
    return compare_runs([stored_run(tmp_path / str(seed), of_seed) for seed, of_seed in enumerate(rows)])


def result(strength: dict[str, float]) -> AnnotationResult:
    """The first seed wins 3 of 4 answers against the plain model, the second one 1 of 4."""
    items = {f"{row}{n}": ItemKey(prompt=str(n), rows=(row, "plain")) for row in ("one", "two") for n in range(4)}
    study = handmade_study(items)
    key = {"model": "smollm2", "prompts": "toxic-leaning"}
    rows = {row: RowKey(**key, method="lm-steer", strength=strength) for row in ("one", "two")}  # type: ignore[arg-type]
    rows["plain"] = RowKey(**key, method="plain")  # type: ignore[arg-type]
    study = Study(study.questionnaire, study.key.model_copy(update={"rows": rows}))
    wins = {"one": 3, "two": 1}
    choices = {name: "a" if int(name[3:]) < wins[name[:3]] else "b" for name in items}
    return analyze(answers_of("ann", choices), study, {})


def test_a_row_has_the_mean_over_its_seeds_and_a_single_one_its_interval(comparison: Comparison) -> None:
    judged = {row.method: row.metrics["judged_less_toxic"] for row in with_people(comparison, result(STRENGTH)).rows}
    steered, plain = judged["lm-steer"], judged["plain"]
    assert (steered.interval.value, steered.interval.low) == (0.5, None)
    assert steered.sd == pytest.approx(0.5 / 2**0.5)
    assert (plain.interval.value, plain.sd, plain.scorer) == (0.5, None, "people")
    assert plain.interval.low is not None


def test_other_strengths_are_other_rows(comparison: Comparison) -> None:
    judged = with_people(comparison, result({"detox": 2.0}))
    assert {row.method for row in judged.rows if "judged_less_toxic" in row.metrics} == {"plain"}
    nobody = result(STRENGTH).model_copy(update={"rows": ()})
    with pytest.raises(InputError, match="none of its rows"):
        with_people(comparison, nobody)
