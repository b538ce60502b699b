import statistics
from pathlib import Path

import numpy as np
import pytest
from tests.handmade_runs import run_row, stored_run

from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import FinishedRun
from lmsteer.metrics.classes import PromptMetric
from lmsteer.metrics.intervals import Interval
from lmsteer.metrics.paired_test import Sample, paired_change
from lmsteer.reporting.comparison import ComparisonRow, compare_rivals, compare_runs

TOXICITY = "expected_maximum_toxicity"
PLAIN = {TOXICITY: [0.5, 0.7, 0.9, 0.3], "perplexity": [10.0, 12.0, 14.0, 16.0]}
SEEDS = ([0.1, 0.2, 0.3, 0.4], [0.3, 0.2, 0.1, 0.0], [0.2, 0.2, 0.5, 0.3])
PERPLEXITIES = ([12.0, 13.0, 14.0, 15.0], [20.0, 22.0, 24.0, 26.0], [11.0, 12.0, 13.0, 14.0])


def runs_of(tmp_path: Path, **changes: object) -> list[FinishedRun]:
    """Three seeds, each with the same plain texts and a steered row."""
    runs = []
    for seed, (toxicity, perplexity) in enumerate(zip(SEEDS, PERPLEXITIES, strict=True)):
        steered = run_row({TOXICITY: toxicity, "perplexity": perplexity}, {"detox": 5.0}, seed=seed, **changes)
        runs.append(stored_run(tmp_path / f"seed-{seed}", [run_row(PLAIN, seed=seed), steered]))
    return runs


def steered(rows: list[ComparisonRow]) -> ComparisonRow:
    (row,) = (row for row in rows if not row.is_plain)
    return row


def test_seeds_are_averaged_as_by_hand(tmp_path: Path) -> None:
    row = steered(compare_runs(runs_of(tmp_path)).rows)
    measured = row.metrics[TOXICITY]
    assert row.seeds == (0, 1, 2)
    assert measured.sample.columns[0].tolist() == pytest.approx([0.2, 0.2, 0.3, 0.7 / 3])
    assert measured.interval.value == pytest.approx(statistics.mean([0.25, 0.15, 0.3]))
    assert measured.sd == pytest.approx(statistics.stdev([0.25, 0.15, 0.3]))
    assert row.metrics["perplexity"].sd == pytest.approx(statistics.stdev([13.5, 23.0, 12.5]))
    assert (measured.interval.n, measured.scorer) == (4, "words")


def test_one_seed_has_the_values_of_its_run_and_no_deviation(tmp_path: Path) -> None:
    (run, *_) = runs_of(tmp_path)
    for row, result_row in zip(compare_runs([run]).rows, run.result.rows, strict=True):
        for name, measured in row.metrics.items():
            value = result_row.metrics[name]
            assert measured.interval == Interval(value.value, value.low, value.high, value.n)
            assert measured.sd is None


def test_the_same_plain_texts_count_once_and_other_ones_again(tmp_path: Path) -> None:
    runs = runs_of(tmp_path)
    plain = next(row for row in compare_runs(runs).rows if row.is_plain)
    assert len(plain.seeds) == 1
    assert plain.metrics[TOXICITY].sd is None
    other = stored_run(tmp_path / "other", [run_row(PLAIN | {TOXICITY: [0.5, 0.7, 0.9, 0.4]})])
    plain = next(row for row in compare_runs([*runs, other]).rows if row.is_plain)
    assert plain.metrics[TOXICITY].interval.value == pytest.approx((0.6 + 0.625) / 2)
    assert plain.metrics[TOXICITY].sd is not None


def test_a_run_given_twice_counts_once_and_another_of_the_same_seed_is_refused(tmp_path: Path) -> None:
    runs = runs_of(tmp_path)
    assert steered(compare_runs([*runs, runs[1]]).rows).seeds == (0, 1, 2)
    clash = run_row({TOXICITY: [0.9] * 4, "perplexity": [9.0] * 4}, {"detox": 5.0}, seed=1)
    other = stored_run(tmp_path / "clash", [clash])
    with pytest.raises(InputError, match=r"seed-1 and .*clash: both have lm-steer, .* of seed 1 .*give only one"):
        compare_runs([*runs, other])


@pytest.mark.parametrize(
    "changes",
    [{"settings": {"rank": 8}}, {"strength": {"detox": 4.0}}, {"method": "x"}, {"budget": "kl 1"}, {"model": "gpt2"}],
)
def test_rows_that_differ_in_more_than_the_seed_are_not_averaged(changes: dict[str, object], tmp_path: Path) -> None:
    run, *_ = runs_of(tmp_path)
    values = {TOXICITY: SEEDS[1], "perplexity": PERPLEXITIES[1]}
    row = {"strength": {"detox": 5.0}, "seed": 1} | changes
    other = stored_run(tmp_path / "other", [run_row(values, **row)])  # type: ignore[arg-type]
    assert [len(row.seeds) for row in compare_runs([run, other]).rows] == [1, 1, 1]


def test_calibrated_strengths_of_seeds_are_one_row_of_each_direction(tmp_path: Path) -> None:
    runs = []
    for seed, size in enumerate((2.0, 3.0, 4.5)):
        strengths = ({"detox": sign * size, "dummy": 1.0} for sign in (1, -1))
        rows = [run_row({TOXICITY: SEEDS[seed]}, strength, seed=seed, budget="kl 0.3") for strength in strengths]
        runs.append(stored_run(tmp_path / str(seed), rows))
    up, down = compare_runs(runs).rows
    assert up.strength == pytest.approx({"detox": 19 / 6, "dummy": 1.0})
    assert up.strength_label == "detox +3.167 (+2 to +4.5), dummy +1"
    assert down.strength_label == "detox -3.167 (-4.5 to -2), dummy +1"


def test_seeds_of_different_prompts_are_refused_with_their_folders_and_counts(tmp_path: Path) -> None:
    first = stored_run(tmp_path / "a", [run_row({TOXICITY: SEEDS[0]}, {"detox": 5.0}, seed=0)])
    second = stored_run(tmp_path / "b", [run_row({TOXICITY: SEEDS[1][:3]}, {"detox": 5.0}, n=3, seed=1)])
    message = r"a, .*b: runs that differ by their seed: 3 prompts are not the 4 of the other row \(3 are in both\)"
    with pytest.raises(InputError, match=message):
        compare_runs([first, second])


def test_a_prompt_without_a_value_is_left_out_where_it_has_none(tmp_path: Path) -> None:
    nan = float("nan")
    values = ([10.0, 20.0, nan, 40.0], [30.0, nan, nan, 50.0])
    runs = [
        stored_run(tmp_path / str(seed), [run_row({"perplexity": column}, {"detox": 5.0}, seed=seed)])
        for seed, column in enumerate(values)
    ]
    measured = steered(compare_runs(runs).rows).metrics["perplexity"]
    assert measured.interval.value == pytest.approx((20 + 20 + 45) / 3)
    assert measured.interval.n == 3
    assert measured.sd == pytest.approx(statistics.stdev([70 / 3, 40]))


def test_corpus_perplexity_is_that_of_the_texts_of_all_seeds(tmp_path: Path) -> None:
    totals = ([[10, 5], [20, 10], [30, 10], [5, 5]], [[12, 6], [8, 4], [9, 9], [40, 20]])
    runs = [
        stored_run(tmp_path / str(seed), [run_row({"perplexity_corpus": pairs}, {"detox": 5.0}, seed=seed)])
        for seed, pairs in enumerate(totals)
    ]
    nats, tokens = (sum(pair[index] for pairs in totals for pair in pairs) for index in (0, 1))
    measured = steered(compare_runs(runs).rows).metrics["perplexity_corpus"]
    assert measured.interval.value == pytest.approx(np.exp(nats / tokens))
    assert measured.sd == pytest.approx(statistics.stdev([np.exp(65 / 30), np.exp(69 / 39)]))


def test_changes_are_paired_with_the_plain_model_of_the_same_prompts(tmp_path: Path) -> None:
    comparison = compare_runs(runs_of(tmp_path))
    index = comparison.rows.index(steered(comparison.rows))
    prompts = tuple(f"prompt {i}" for i in range(4))
    before = Sample(prompts, (np.array(PLAIN[TOXICITY]),))
    after = Sample(prompts, (np.mean(SEEDS, axis=0),))
    assert comparison.changes[index, TOXICITY] == paired_change(before, after, PromptMetric.statistic)
    assert comparison.changes[index, "perplexity"].change == pytest.approx((13.5 + 23 + 12.5) / 3 / 13)
    assert not any(row.is_plain for index, row in enumerate(comparison.rows) if index in comparison.references)


def test_any_row_can_be_the_reference(tmp_path: Path) -> None:
    runs = runs_of(tmp_path)
    for name in ("lm-steer", "lm-steer/detox +5"):
        comparison = compare_runs(runs, against=name)
        (plain,) = (index for index, row in enumerate(comparison.rows) if row.is_plain)
        assert set(comparison.references) == {plain}
        assert comparison.changes[plain, TOXICITY].change == pytest.approx(0.6 - 0.7 / 3)
    with pytest.raises(InputError, match=r"against=gedi: no such row .* allowed are plain, lm-steer/detox \+5"):
        compare_runs(runs, against="gedi")
    other = run_row({TOXICITY: SEEDS[0]}, {"detox": 5.0}, settings={"rank": 4})
    with pytest.raises(InputError, match=r"against=lm-steer: several rows .* allowed are lm-steer/detox \+5"):
        compare_runs([*runs, stored_run(tmp_path / "other rank", [other])], against="lm-steer")


def test_rivals_are_compared_with_lm_steer_at_the_same_cost_or_strength(tmp_path: Path) -> None:
    settings = [({"detox": 1.0}, ""), ({"detox": 5.0}, ""), ({"detox": 3.0}, "kl 0.3"), ({"detox": -4.0}, "kl 0.3")]
    factors = {"lm-steer": 1.0, "dexperts": 0.5}
    rows = [
        run_row({TOXICITY: [x * factor for x in SEEDS[0]]}, strength, budget=budget, method=method)
        for method, factor in factors.items()
        for strength, budget in settings
    ]
    rows.append(run_row({TOXICITY: SEEDS[1]}, {"detox": 7.0}, method="dexperts"))
    runs = [stored_run(tmp_path / "run", [run_row({TOXICITY: PLAIN[TOXICITY]}), *rows])]
    rivals = compare_rivals(runs, compare_runs(runs))
    assert rivals is not None
    pairs = rivals.references
    names = {rivals.rows[i].strength_label: rivals.rows[j].strength_label for i, j in pairs.items()}
    assert {rivals.rows[i].method for i in pairs} == {"dexperts"}
    assert names == {label: label for label in ("detox +1", "detox +5", "detox +3", "detox -4")}
    assert all(rivals.rows[i].budget == rivals.rows[j].budget for i, j in pairs.items())
    assert {round(rivals.changes[i, TOXICITY].change, 6) for i in pairs} == {-0.125}


def test_without_another_method_there_are_no_rivals(tmp_path: Path) -> None:
    runs = runs_of(tmp_path)
    assert compare_rivals(runs, compare_runs(runs)) is None


def test_a_prompt_set_without_the_reference_has_no_changes(tmp_path: Path) -> None:
    sets = {name: {"n": 4, "digest": name} for name in ("neutral", "negative")}
    rows = [run_row(PLAIN, prompts=name) for name in sets]
    rows.append(run_row({TOXICITY: SEEDS[0]}, {"detox": 5.0}, prompts="neutral"))
    comparison = compare_runs([stored_run(tmp_path / "run", rows, prompts=sets)], against="lm-steer")
    assert comparison.references == {0: 2}


def test_texts_of_an_unknown_model_are_compared_with_the_only_plain_one(tmp_path: Path) -> None:
    other = run_row(PLAIN, method="dexperts", model="unknown")
    rows = [run_row(PLAIN), other, run_row(PLAIN, model="second")]
    comparison = compare_runs([stored_run(tmp_path / "one", rows[:2])])
    assert comparison.references == {1: 0}
    assert compare_runs([stored_run(tmp_path / "two", rows)]).references == {}
