"""Promises of the study of behaviours, on a tiny chat model and a handmade folder of answers."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.chat import chat_model
from tests.handmade_commands import study_config

from experiments.behaviours.choices import choose_combinations, choose_strengths, swept_grid
from experiments.behaviours.report import behaviour_figure, behaviour_tables
from experiments.behaviours.rules import RULES, SWEPT
from experiments.behaviours.run import compare_rules
from experiments.behaviours.texts import Cell, read_cell
from lmsteer.behaviours import HELD_OUT, NAMES, verify
from lmsteer.behaviours.instructions import instruction
from lmsteer.errors import InputError
from lmsteer.records import Generation, Prompt
from lmsteer.reporting.text import interval

INCLUDED = ("words-10-50", "case-lower", "case-title", "sentences-1")
QUESTIONS = {
    "train": [f"What is number {n} like?" for n in range(60)],
    "dev": ["Who came?", "Why?"],
    "test": ["How?", "When?", "So?"],
}
GRIDS = {rule: [1.0, 4.0] if rule == "sum" else [1.0] for rule in SWEPT}


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A model, answers of four behaviours, and a small size."""
    folder = tmp_path_factory.mktemp("files")
    model = chat_model()
    model.lm.config.max_position_embeddings = 512  # its positions are computed, not learned
    model.lm.save_pretrained(folder / "model")
    model.tokenizer.save_pretrained(folder / "model")
    write_answer_folder(folder / "answers")
    return [
        *("model=hf", f"model.id={folder / 'model'}", "dtype=float32", "cache=off", f"answers={folder / 'answers'}"),
        *("questions.dev=2", "questions.test=3", "combinations.pairs=3", "combinations.triples=2"),
        *(f"strengths.{rule}={values}" for rule, values in GRIDS.items()),
        *("steer.rank=4", "steer.epsilon=0.05", "trainer.max_steps=2", "trainer.val_check_interval=2", "data.rows=20"),
        *("+trainer.enable_progress_bar=false", "data.batch_size=4", "vector_batches=2"),
        *("adapters.rank=2", "adapter_steps=2", "decoding.max_new_tokens=8"),
    ]


def write_answer_folder(folder: Path) -> None:
    (folder / "answers").mkdir(parents=True)
    (folder / "questions.json").write_text(json.dumps(QUESTIONS))
    keep = {
        name: {"source": "distilled", "asked": 60, "kept": 30, "keep_rate": 0.5, "left_out": name not in INCLUDED}
        for name in NAMES
    }
    (folder / "keep.json").write_text(json.dumps(keep))
    for name in INCLUDED:
        answers = [(f"it is {name} of {n}, as i would say.", 1.0) for n in range(60)]
        plain = [(f"It Is dull, number {n}.", -1.0) for n in range(60)]
        lines = [
            {"question": question, "answer": answer, "label": label}
            for rows in (answers, plain)
            for question, (answer, label) in zip(QUESTIONS["train"], rows, strict=True)
        ]
        (folder / "answers" / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture(scope="module")
def folder(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_folder = tmp_path_factory.mktemp("study") / "run"
    compare_rules(study_config("behaviours", f"run_dir={run_folder}", *options))
    return run_folder


@pytest.fixture
def results(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "behaviours.json").read_text(encoding="utf-8")))


def texts(folder: Path, cell: Cell) -> list[str]:
    return [generation.texts[0] for generation in read_cell(folder, cell)]


def test_every_rule_answers_every_combination_in_every_order(folder: Path, results: dict[str, Any]) -> None:
    for kinds in results["combinations"].values():
        for combination in itertools.chain(*kinds.values()):
            for rule, facts in RULES.items():
                orders = itertools.permutations(combination) if facts.is_instructed else [combination]
                for order in orders:
                    generations = read_cell(folder, Cell(rule, tuple(order)))
                    asked = [generation.prompt.text for generation in generations]
                    sentences = [
                        [instruction(name, n) for name in order] if facts.is_instructed else [] for n in range(3)
                    ]
                    expected = [" ".join([q, *s]) for q, s in zip(QUESTIONS["test"], sentences, strict=True)]
                    assert asked == expected


def test_accuracies_are_those_of_a_count_over_the_files(folder: Path, results: dict[str, Any]) -> None:
    for row in results["rules"]:
        kinds = results["combinations"][row["size"]]
        combinations = kinds[row["kind"]] if row["kind"] in kinds else kinds["seen"] + kinds["unseen"]
        hits, best = [], []
        for combination in combinations:
            orders = itertools.permutations(combination) if RULES[row["rule"]].is_instructed else [combination]
            shares = []
            for order in orders:
                good = [
                    all(verify(name, text) for name in combination)
                    for text in texts(folder, Cell(row["rule"], tuple(order)))
                ]
                hits += good
                shares.append(np.mean(good))
            best.append(max(shares))
        assert row["combinations"] == len(combinations)
        assert row["mean"]["value"] == pytest.approx(np.mean(hits))
        if RULES[row["rule"]].is_instructed:
            assert row["best"]["value"] == pytest.approx(np.mean(best))
        else:
            assert row["best"] is None
    for row in results["singles"]:
        plain = [verify(row["behaviour"], text) for text in texts(folder, Cell("plain", ()))]
        assert row["plain"]["value"] == pytest.approx(np.mean(plain))
        assert row["is_left_out"] == (row["behaviour"] not in INCLUDED)


def test_the_strengths_are_the_best_on_dev_questions_alone(folder: Path) -> None:
    cells = [Cell(rule, (name,), "dev", v) for rule in SWEPT for name in INCLUDED for v in GRIDS[rule]]
    strengths = json.loads((folder / "strengths.json").read_text(encoding="utf-8"))
    assert strengths == choose_strengths(folder, cells)
    for cell in cells:
        assert len(texts(folder, cell)) == len(QUESTIONS["dev"])


def test_only_strengths_that_a_rule_needs_are_tried() -> None:
    grid = {"lora": [2.0, 1.0], "hybrid": [3.0], "sum": [9.0, 4.0], "diffmean": [1.0]}
    assert swept_grid(grid, ["ties", "lora"]) == {"sum": [4.0, 9.0], "lora": [1.0, 2.0]}
    assert swept_grid(grid, ["instruction"]) == {"sum": [4.0, 9.0]}, (
        "the first table is of the steer, whatever the rules"
    )
    assert set(swept_grid(grid, list(RULES))) == set(grid)


def test_the_best_strength_is_chosen_and_the_smallest_of_equals(tmp_path: Path) -> None:
    answers = {1.0: ["low", "UP"], 2.0: ["low", "low"], 4.0: ["low", "low"]}
    cells = [Cell("sum", ("case-lower",), "dev", value) for value in answers]
    for cell in cells:
        path = tmp_path / cell.name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            Generation(Prompt(str(n), "?"), (text,), {}).to_json() for n, text in enumerate(answers[cell.strength or 0])
        ]
        path.write_text("\n".join(lines))
    assert choose_strengths(tmp_path, cells)["sum"] == {"case-lower": 2.0}


def test_a_stopped_study_ends_with_the_same_files(folder: Path, options: list[str]) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "timing.json"}
    removed = [path for path in before if path.parent.name == "test"][::5]
    adapter = [folder / "adapters" / "case-lower.safetensors", folder / "texts/lora/test/case-lower.jsonl"]
    for path in {*removed, *adapter, folder / "behaviours.json"}:
        path.unlink()
    compare_rules(study_config("behaviours", f"run_dir={folder}", *options))
    assert {path: path.read_bytes() for path in before} == before


def test_the_report_holds_every_rule_and_behaviour(folder: Path, results: dict[str, Any]) -> None:
    text = (folder / "behaviours.md").read_text(encoding="utf-8")
    assert text == behaviour_tables(results) + "\n"
    for name in NAMES:
        marks = r"\*" * (name in HELD_OUT)
        assert f"| {name} {marks}".rstrip() in text
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.split("\n")]
    for row in results["rules"]:
        assert [RULES[row["rule"]].heading, interval(row["mean"])] in [line[:2] for line in lines]
    assert ["pairs", "18.1 %", "13.4 %"] in lines


def test_the_picture_draws_every_rule(results: dict[str, Any]) -> None:
    pairs, triples = behaviour_figure(results).axes
    for axes, size in ((pairs, "pairs"), (triples, "triples")):
        drawn = {(x, y) for line in axes.lines for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)}  # type: ignore[arg-type]
        rows = [row for row in results["rules"] if row["size"] == size and row["kind"] != "all"]
        assert {y for _, y in drawn} == {row["mean"]["value"] for row in rows}
        assert len(axes.get_xticks()) == len(RULES)


def test_combinations_are_seen_and_unseen_and_fewer_are_among_more() -> None:
    few, many = (choose_combinations(NAMES, {"pairs": n, "triples": n}, seed=0) for n in (5, 24))
    everything = choose_combinations(NAMES, {"pairs": None, "triples": None}, seed=0)
    assert [len(few["pairs"][kind]) for kind in ("seen", "unseen")] == [3, 2]
    assert [len(everything["triples"][kind]) for kind in ("seen", "unseen")] == [128, 167]
    for size, kind in itertools.product(("pairs", "triples"), ("seen", "unseen")):
        assert set(few[size][kind]) <= set(many[size][kind]) <= set(everything[size][kind])
        assert all((kind == "seen") == HELD_OUT.isdisjoint(names) for names in many[size][kind])
    assert many != choose_combinations(NAMES, {"pairs": 24, "triples": 24}, seed=1)
    assert {
        name
        for names in choose_combinations(INCLUDED, {"pairs": None, "triples": None}, seed=0)["pairs"]["seen"]
        for name in names
    } <= set(INCLUDED)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["questions.test=9"], "questions.json: 3 test questions; 9 texts expected"),
        (["vectors.layer=9"], "method.layer=9: model .* has layers 0 to 1"),
        (["adapters.rank=99"], "method.rank=99: an integer in .1, 32. expected"),
        (["decoding.stop_at_end=false"], "decoding.stop_at_end=false: true expected"),
    ],
)
def test_what_the_study_cannot_use_is_refused_and_leaves_nothing(
    options: list[str], overrides: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        compare_rules(study_config("behaviours", f"run_dir={tmp_path / 'run'}", *options, *overrides))
    assert not (tmp_path / "run").exists()


def test_a_folder_without_behaviours_that_combine_is_refused(options: list[str], tmp_path: Path) -> None:
    write_answer_folder(tmp_path / "answers")
    keep = {name: {"left_out": name != "case-lower"} for name in NAMES}
    (tmp_path / "answers" / "keep.json").write_text(json.dumps(keep))
    config = study_config("behaviours", f"run_dir={tmp_path / 'run'}", *options, f"answers={tmp_path / 'answers'}")
    with pytest.raises(InputError, match="behaviours case-lower; two that combine expected"):
        compare_rules(config)


def test_answers_of_another_model_are_refused(options: list[str], tmp_path: Path) -> None:
    write_answer_folder(tmp_path / "answers")
    path = tmp_path / "answers" / "keep.json"
    keep = {name: entry | {"model": "another"} for name, entry in json.loads(path.read_text()).items()}
    path.write_text(json.dumps(keep))
    config = study_config("behaviours", f"run_dir={tmp_path / 'run'}", *options, f"answers={tmp_path / 'answers'}")
    with pytest.raises(InputError, match=r"answers: those of .* are by another model than"):
        compare_rules(config)
    assert not (tmp_path / "run").exists()
