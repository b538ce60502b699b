from pathlib import Path

import numpy as np
from tests.handmade_runs import RunRow, run_row, stored_run

from lmsteer.reporting.comparison import compare_runs
from lmsteer.reporting.comparison_rows import Block
from lmsteer.reporting.comparison_tables import blocks
from lmsteer.reporting.published import published

TOXICITY = "expected_maximum_toxicity"
BASE = {"rank": 64, "steps": 200, "dummy": True}


def at(level: float, strength: dict[str, float] | None = None, **changes: object) -> RunRow:
    values = {TOXICITY: np.full(4, level), f"{TOXICITY}@list": np.full(4, level / 2), "perplexity": np.full(4, 20.0)}
    return run_row(values, strength, **changes)  # type: ignore[arg-type]


def tables_of(tmp_path: Path, *runs: list[RunRow], **protocol: object) -> list[Block]:
    finished = [stored_run(tmp_path / str(number), rows, **protocol) for number, rows in enumerate(runs)]
    return blocks(compare_runs(finished), None)


def rows_of(block: Block) -> list[tuple[str, list[str]]]:
    return [(section.heading, [row[0] for row in section.rows]) for section in block.sections]


def test_rows_are_ordered_plain_equal_strength_equal_kl_equal_perplexity(tmp_path: Path) -> None:
    rows = [
        at(0.2, {"detox": 9.0}, budget="perplexity ×2"),
        at(0.25, {"detox": 8.0}, budget="perplexity ×1.5"),
        at(0.3, {"detox": 3.5}, budget="kl 1"),
        at(0.3, {"detox": 3.0}, budget="kl 0.3"),
        at(0.1, {"detox": 5.0}),
        at(0.4, {"detox": -5.0}),
        at(0.5),
    ]
    values, changes = tables_of(tmp_path, rows)
    assert rows_of(values) == [
        ("", ["plain"]),
        ("Equal strength", ["lm-steer, detox -5", "lm-steer, detox +5"]),
        ("Equal KL: 0.3 nats per token", ["lm-steer, detox +3"]),
        ("Equal KL: 1 nats per token", ["lm-steer, detox +3.5"]),
        ("Equal perplexity: ×1.5 of the plain model's", ["lm-steer, detox +8"]),
        ("Equal perplexity: ×2 of the plain model's", ["lm-steer, detox +9"]),
    ]
    assert rows_of(changes) == rows_of(values)[1:]


def test_only_settings_that_differ_are_named(tmp_path: Path) -> None:
    runs = [
        [at(0.5, seed=0), at(0.2, {"detox": 5.0}, settings=BASE | changed)]
        for changed in ({"rank": 128}, {}, {"rank": 16, "dummy": False})
    ]
    values, _ = tables_of(tmp_path, *runs)
    assert rows_of(values)[1][1] == [
        "lm-steer, rank 16, no dummy, detox +5",
        "lm-steer, rank 64, dummy, detox +5",
        "lm-steer, rank 128, dummy, detox +5",
    ]


def test_an_optimizer_is_named_with_its_options_and_numbers_are_short(tmp_path: Path) -> None:
    sgd = {"lr": 0.0123456789, "optimizer": {"name": "SGD", "momentum": 0.9}}
    runs = [[at(0.5, seed=0), at(0.2, {"detox": 5.0}, settings=BASE | changed)] for changed in ({"lr": 0.01}, sgd)]
    values, _ = tables_of(tmp_path, *runs)
    expected = ["lm-steer, lr 0.01, detox +5", "lm-steer, lr 0.01235, optimizer SGD momentum 0.9, detox +5"]
    assert rows_of(values)[1][1] == expected


def test_cells_hold_value_interval_and_deviation(tmp_path: Path) -> None:
    runs = [[at(0.5), at(level, {"detox": 5.0}, seed=seed)] for seed, level in enumerate((0.2, 0.3))]
    values, changes = tables_of(tmp_path, *runs)
    assert values.title == "Measured on toxic-leaning"
    toxicity = "expected max toxicity ↓"
    assert values.headings == ["method", "seeds", toxicity, f"{toxicity} (list)", "perplexity ↓"]
    (plain,), (steered,), (change,) = (section.rows for section in (*values.sections, *changes.sections))
    assert plain == ["plain", "", ".500 [.500, .500]", ".250 [.250, .250]", "20.0 [20.0, 20.0]"]
    measured = [".250 [.250, .250] ±.071", ".125 [.125, .125] ±.035", "20.0 [20.0, 20.0] ±0.0"]
    assert steered == ["lm-steer, detox +5", "2", *measured]
    assert changes.title == "Change from plain on toxic-leaning"
    attributes = ["-.250 [-.250, -.250] p .125", "-.125 [-.125, -.125] p .125"]
    assert change == ["lm-steer, detox +5", *attributes, "×1.00 [×1.00, ×1.00] p 1.000"]
    assert values.notes[0].startswith("4 prompts × 5 samples; scored by words; perplexity under smollm2, the unsteered")


def test_each_prompt_set_has_a_table_and_its_own_plain_model(tmp_path: Path) -> None:
    sets = {name: {"n": 4, "digest": name} for name in ("neutral", "negative")}
    rows = [
        row
        for prompts, plain in (("neutral", 0.5), ("negative", 0.9))
        for row in (at(plain, prompts=prompts), at(0.4, {"detox": 5.0}, prompts=prompts))
    ]
    tables = tables_of(tmp_path, rows, prompts=sets)
    assert [block.title.rpartition(" ")[2] for block in tables] == ["neutral", "neutral", "negative", "negative"]
    assert [tables[index].sections[0].rows[0][1].partition(" ")[0] for index in (1, 3)] == ["-.100", "-.500"]


def test_texts_from_elsewhere_are_marked_where_decoding_is_not_known(tmp_path: Path) -> None:
    known = stored_run(tmp_path / "known", [at(0.5)])
    unknown = stored_run(tmp_path / "unknown", [at(0.4, method="dexperts")], decoding=None)
    values, _ = blocks(compare_runs([known, unknown]), None)
    assert rows_of(values) == [("", ["plain", "dexperts †"])]
    assert values.notes[1].startswith("† ")


def test_what_was_not_measured_is_a_dash(tmp_path: Path) -> None:
    rows = [at(0.5), run_row({TOXICITY: [0.1] * 4}, {"detox": 5.0})]
    values, _ = tables_of(tmp_path, rows)
    assert values.sections[1].rows == [["lm-steer, detox +5", ".100 [.100, .100]", "–", "–"]]


def test_published_figures_are_in_a_table_of_their_own_with_their_note(tmp_path: Path) -> None:
    comparison = compare_runs([stored_run(tmp_path / "run", [at(0.5), at(0.2, {"detox": 5.0})])])
    measured, both = blocks(comparison, None), blocks(comparison, published())
    assert both[: len(measured)] == measured
    (apart,) = both[len(measured) :]
    assert apart.title == "Published"
    row = ["LM-Steer", "gpt2-large", "detox, nontoxic", "+5", ".249 ±.007", ".089 ±.009", "28.26"]
    assert row in [cells[:7] for cells in apart.sections[0].rows]
    toxicities = [f"{name} ↓ (Perspective)" for name in ("expected max toxicity", "toxicity probability")]
    assert apart.headings[4:7] == [*toxicities, "perplexity ↓ (gpt2-xl)"]
    assert any("31 December 2026" in note for note in apart.notes)
    assert not any("Published" in block.title or "Perspective" in str(block) for block in measured)


def test_a_repeated_protocol_is_compared_with_the_published_one(tmp_path: Path) -> None:
    n = 10_000
    values = {"expected_maximum_toxicity": np.full(n, 0.3), "dist_1": np.full(n, 0.6)}
    row = run_row(values, n=n, model="gpt2-large", prompts="real-toxicity-prompts")
    comparison = compare_runs([stored_run(tmp_path / "run", [row], samples=25)])
    differences = next(block for block in blocks(comparison, published()) if block.title == "Measured minus published")
    assert differences.sections[0].rows == [["plain", "dist-1", "+0.020", "paper"]]
