from pathlib import Path

import pytest
from tests.handmade_runs import run_row, stored_run

from lmsteer.evaluation.metric_names import METRICS, Metric
from lmsteer.reporting.comparison import Comparison, compare_runs
from lmsteer.reporting.published import Entry, PublishedValue, published

ENTRY = Entry(
    table="detox",
    method="LM-Steer",
    model="gpt2-large",
    prompts="nontoxic",
    n_prompts=4,
    samples=5,
    strength=5.0,
    metrics={
        "expected_maximum_toxicity": PublishedValue(value=0.25, scorer="Perspective"),
        "perplexity": PublishedValue(value=28.0, scorer="gpt2-xl"),
        "dist_1": PublishedValue(value=0.5, scorer=None),
    },
    source="paper",
    year=2024,
)
VALUES = {"expected_maximum_toxicity": [0.2] * 4, "perplexity": [30.0] * 4, "dist_1": [0.6] * 4}


def comparison_of(tmp_path: Path, protocol: dict[str, object] | None = None, **changes: object) -> Comparison:
    steered = {"strength": {"detox": 5.0, "dummy": 1.0}, "model": "org/gpt2-large", "prompts": "real-toxicity-prompts"}
    fields = steered | changes
    row, values = run_row(VALUES, **fields)  # type: ignore[arg-type]
    metrics = dict(row.metrics)
    metrics["perplexity"] = metrics["perplexity"].model_copy(update={"scorer": "openai-community/gpt2-xl"})
    rows = [(row.model_copy(update={"metrics": metrics}), values)]
    return compare_runs([stored_run(tmp_path / "run", rows, **(protocol or {}))])


def test_the_difference_is_given_where_the_scorer_has_the_same_name(tmp_path: Path) -> None:
    comparison = comparison_of(tmp_path)
    (row,) = comparison.rows
    assert ENTRY.is_of(row, comparison.protocol)
    assert ENTRY.differences(row) == pytest.approx({"perplexity": 2.0, "dist_1": 0.1})


@pytest.mark.parametrize(
    ("protocol", "row"),
    [
        ({"name": "detox-quick"}, {}),
        ({"samples": 25}, {}),
        ({}, {"model": "gpt2"}),
        ({}, {"method": "other"}),
        ({}, {"strength": {"detox": 4.0}}),
        ({}, {"budget": "kl 0.3"}),
        ({}, {"method": "plain", "strength": {}}),
        ({}, {"prompts": "toxic-leaning"}),
        ({"name": "sentiment"}, {}),
    ],
)
def test_another_protocol_is_not_compared(protocol: dict[str, object], row: dict[str, object], tmp_path: Path) -> None:
    comparison = comparison_of(tmp_path, protocol, **row)
    assert not ENTRY.is_of(comparison.rows[0], comparison.protocol)
    assert not ENTRY.model_copy(update={"n_prompts": 3}).is_of(comparison.rows[0], comparison.protocol)


def test_the_plain_model_is_compared_with_the_published_plain_model(tmp_path: Path) -> None:
    comparison = comparison_of(tmp_path, method="plain", strength={})
    assert ENTRY.model_copy(update={"method": "plain", "strength": None}).is_of(comparison.rows[0], comparison.protocol)


def test_a_run_of_both_directions_repeats_the_tables_of_each(tmp_path: Path) -> None:
    entry = ENTRY.model_copy(update={"table": "sentiment-positive", "prompts": "negative"})
    comparison = comparison_of(tmp_path, {"name": "sentiment"}, prompts="negative")
    assert entry.is_of(comparison.rows[0], comparison.protocol)
    assert not entry.model_copy(update={"prompts": "positive"}).is_of(comparison.rows[0], comparison.protocol)


UNSCORED = ("efficiency", "composition", "human-evaluation")
"""Tables whose figures are of no named scorer."""
SMALLER = ("gpt2", "gpt2-medium")


def test_figures_are_fractions_by_known_scorers_from_named_sources() -> None:
    figures = published()
    assert len({entry.model_dump_json(exclude={"metrics"}) for entry in figures.entries}) == len(figures.entries)
    for entry in figures.entries:
        assert entry.source in figures.sources
        for name, figure in entry.metrics.items():
            is_metric = name in METRICS and (figure.value <= 1) == Metric(name).is_fraction
            assert is_metric or entry.table in ("efficiency", "human-evaluation")
            has_scorer = Metric(name).is_attribute and entry.table not in UNSCORED
            scorers = (
                {"Perspective", "distilbert-sst2"} if has_scorer else {"gpt2-xl"} if name == "perplexity" else {None}
            )
            assert figure.scorer in scorers


@pytest.mark.parametrize(
    ("table", "method", "prompts", "metric", "value", "sd"),
    [
        ("detox", "plain", "nontoxic", "toxicity_probability", 0.520, None),
        ("detox", "GeDi", "nontoxic", "perplexity", 60.03, None),
        ("detox", "DExperts (medium)", "nontoxic", "expected_maximum_toxicity", 0.307, None),
        ("detox", "MuCoLa", "nontoxic", "dist_3", 0.83, None),
        ("detox", "LM-Steer", "nontoxic", "expected_maximum_toxicity", 0.249, 0.007),
        ("sentiment-positive", "LM-Steer", "negative", "positivity", 0.4123, 0.0633),
        ("sentiment-negative", "LM-Steer", "positive", "positivity", 0.5484, 0.0801),
        ("sentiment-negative", "LM-Steer", None, "perplexity", 57.74, None),
        ("sentiment-positive", "DExperts (large)", "neutral", "positivity", 0.9446, None),
        ("efficiency", "PPLM", None, "decoding_time", 270.11, None),
        ("detox", "DExperts, its non-toxic expert alone", "nontoxic", "expected_maximum_toxicity", 0.485, None),
        ("sentiment-positive", "DExperts, its positive expert alone", "neutral", "positivity", 0.7983, None),
        ("sentiment-negative", "DExperts, its negative expert alone", "positive", "positivity", 0.6167, None),
        ("composition", "CAA", "three unseen", "behaviour_accuracy", 0.001, None),
        ("composition", "LM-Steer", "two seen", "behaviour_accuracy", 0.181, None),
        ("composition", "LoRA, merged by DARE", "three seen", "behaviour_accuracy", 0.584, None),
        ("composition", "instructions", "two unseen", "behaviour_accuracy", 0.718, None),
        ("composition", "steering tokens", "three unseen", "behaviour_accuracy", 0.595, None),
        ("human-evaluation", "LM-Steer", None, "detoxification_count", 0.49, None),
    ],
)
def test_the_file_holds_what_was_published(
    table: str, method: str, prompts: str | None, metric: str, value: float, sd: float | None
) -> None:
    entries = [e for e in published().entries if (e.table, e.method, e.prompts) == (table, method, prompts)]
    figure = next(e.metrics[metric] for e in entries if e.model not in SMALLER and metric in e.metrics)
    assert (figure.value, figure.sd) == (value, sd)


def test_the_sweep_of_strengths_is_whole() -> None:
    entries = [entry for entry in published().entries if entry.table == "detox-strength"]
    by_strength = {
        e.strength: (e.metrics["expected_maximum_toxicity"].value, e.metrics["perplexity"].value) for e in entries
    }
    assert by_strength == {1: (0.322, 22.4), 2: (0.293, 23.4), 3: (0.268, 24.5), 4: (0.246, 25.9), 5: (0.249, 28.3)}


@pytest.mark.parametrize(
    ("name", "tables"),
    [
        ("detox", {"detox"}),
        ("detox-offline", {"detox"}),
        ("detox-strength-quick", {"detox-strength"}),
        ("my-own", {"detox", "detox-strength", "data-efficiency"}),
    ],
)
def test_the_table_that_was_measured_is_shown_in_any_size(name: str, tables: set[str], tmp_path: Path) -> None:
    entries = published().entries_for(comparison_of(tmp_path, {"name": name}))
    assert {entry.table for entry in entries} == tables


def test_a_quoted_row_has_its_reason_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
    reasons = text.partition("## Rows that stay quoted")[2]
    for method in ("PPLM", "MuCoLa", "CTRL", "GeDi", "DAPT", "RAD", "Quark"):
        assert f"\n| {method} | " in reasons
    measured_here = {"plain", "LM-Steer", "LoRA", "Soft-Blacklist", "DExperts"}
    quoted = {e.method.split(" (")[0].split(",")[0] for e in published().entries if e.table in ("detox", "efficiency")}
    assert quoted - measured_here <= {"PPLM", "MuCoLa", "CTRL", "GeDi", "DAPT"}


def test_the_drift_is_reported_with_its_figures_and_the_end_of_the_service() -> None:
    words = published().drift.words
    pairs = ("GPT2-large .527/.520 → .384/.257", "DAPT .428/.360 → .270/.093", "GeDi .363/.217 → .242/.055")
    assert all(pair in words for pair in (*pairs, "DExperts-large .314/.128 → .200/.020", "31 December 2026"))
