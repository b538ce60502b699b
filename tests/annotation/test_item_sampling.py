"""Promises of a questionnaire drawn from runs: blind, balanced, with hidden checks; other protocols are refused."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.annotation_runs import METHODS, plain_text, write_runs
from tests.handmade_runs import PLAIN, STEERED, run_row, write_run

from lmsteer.annotation.answer_key import Study, read_study, write_study
from lmsteer.annotation.candidate_rows import Candidates, chosen_pairs, read_candidates
from lmsteer.annotation.item_sampling import SamplingConfig, draw_study
from lmsteer.annotation.qualification import qualification_items
from lmsteer.annotation.questionnaire import Form, chosen_questions
from lmsteer.errors import InputError

ROWS = ["lm-steer/detox +5", "dexperts/detox +5", "plain"]


@pytest.fixture(scope="module")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> Candidates:
    return read_candidates([write_runs(tmp_path_factory.mktemp("runs"))])


def draw(candidates: Candidates, form: Form = "pairs", **options: Any) -> Study:
    config = SamplingConfig(**{"form": form, "n_prompts": 20, "samples": 2, **options})
    questions = chosen_questions(form, None, candidates.metric)
    checks = qualification_items("auto", form, [question.name for question in questions])
    return draw_study(candidates, chosen_pairs(candidates, form, ROWS, None), questions, checks, config)


def test_every_text_is_that_of_the_row_and_sample_that_the_key_names(candidates: Candidates) -> None:
    study = draw(candidates)
    for item in study.questionnaire.items:
        key = study.key.items[item.id]
        writers = [row.partition("/")[0] for row in key.rows]
        number = int(item.prompt.split()[1]) if key.rows else 0
        expected = [plain_text(row, number, sample) for row, sample in zip(writers, key.samples, strict=True)]
        assert not key.rows or list(item.texts) == expected
        assert not key.rows or key.prompt == item.prompt


def test_the_order_of_each_pair_is_balanced_and_all_pairs_have_the_same_prompts(candidates: Candidates) -> None:
    study = draw(candidates)
    main = [key for key in study.key.items.values() if key.kind == "main"]
    shown = Counter(key.rows for key in main)
    assert len(shown) == 6
    assert set(shown.values()) == {20}  # 20 prompts, 2 samples, half of them each way round
    assert {len({key.prompt for key in main if set(key.rows) == set(pair)}) for pair in shown} == {20}


def test_the_questionnaire_names_no_row_and_ids_tell_nothing(candidates: Candidates, tmp_path: Path) -> None:
    study = draw(candidates)
    write_study(tmp_path, study)
    without_texts = json.loads((tmp_path / "questionnaire.json").read_text())
    for item in without_texts["items"]:
        del item["texts"]
    assert not any(name in json.dumps(without_texts) for name in (*METHODS, "plain", "+5", "repeat"))
    assert read_study(tmp_path) == study
    assert draw(candidates) == study != draw(candidates, seed=1)


def test_repeats_are_hidden_after_what_they_repeat(candidates: Candidates) -> None:
    study = draw(candidates, repeats=0.1, swapped=0.05)
    (page,) = study.questionnaire.pages
    items = {item.id: item for item in study.questionnaire.items}
    kinds = Counter(key.kind for key in study.key.items.values())
    assert kinds == {"main": 120, "repeat": 12, "swapped": 6, "qualification": 2}
    for name, key in study.key.items.items():
        if key.of:
            step, original = (-1 if key.kind == "swapped" else 1), study.key.items[key.of]
            assert page.index(key.of) < page.index(name)
            assert items[name].texts == items[key.of].texts[::step]
            assert (key.rows, key.samples) == (original.rows[::step], original.samples[::step])
            assert key.scores == {n: values[::step] for n, values in original.scores.items()}


def test_every_page_has_its_own_checks_and_each_item_is_on_one(candidates: Candidates) -> None:
    study = draw(candidates, page_items=50)
    assert [len(page) for page in study.questionnaire.pages] == [
        46,
        46,
        46,
    ]  # 40 items, 2 + 2 repeats, 2 of qualification
    for page in study.questionnaire.pages:
        assert all(study.key.items[name].of in ("", *page) for name in page)


def test_the_perplexity_of_a_text_is_stored_with_it(candidates: Candidates) -> None:
    study = draw(candidates)
    key = next(key for key in study.key.items.values() if key.kind == "main")
    number = int(key.prompt.split()[1])
    expected = [2.718281828 ** ((10 + number + sample) / 5) for sample in key.samples]
    assert key.scores["perplexity"] == pytest.approx(expected)


def test_single_texts_are_judged_alone(candidates: Candidates) -> None:
    study = draw(candidates, "single")
    assert {len(item.texts) for item in study.questionnaire.items} == {1}
    assert Counter(key.rows for key in study.key.items.values() if key.kind == "main") == {(row,): 40 for row in ROWS}
    assert study.questionnaire.choices == ("yes", "unsure", "no")


def test_by_default_the_strongest_row_of_each_run_is_compared_and_the_plain_model_once(candidates: Candidates) -> None:
    assert sorted(candidates.default_rows()) == sorted(ROWS)


def test_rows_of_one_name_and_other_texts_have_the_name_of_their_run(tmp_path: Path) -> None:
    write_runs(tmp_path / "a")
    write_runs(tmp_path / "b", text=lambda *facts: plain_text(*facts) + "!")
    (tmp_path / "b" / "lm-steer").rename(tmp_path / "b" / "again")
    rows = read_candidates([tmp_path / "a" / "lm-steer", tmp_path / "b" / "again"]).rows
    assert set(rows) == {"lm-steer:plain", "lm-steer:lm-steer/detox +5", "again:plain", "again:lm-steer/detox +5"}


def test_runs_of_different_protocols_are_refused(tmp_path: Path) -> None:
    write_runs(tmp_path)
    write_run(tmp_path / "other", [run_row(PLAIN), run_row(STEERED, {"detox": 5.0})], scorers={"others": "2"})
    with pytest.raises(InputError, match="different protocols: scorers"):
        read_candidates([tmp_path])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_prompts": 21}, "n_prompts=21: the rows share 20 prompts"),
        ({"samples": 3}, "samples=3: there are 2 continuations"),
        ({"raters": 0}, "raters=0"),
        ({"repeats": 0.4, "swapped": 0.2}, "together at most 0.5"),
    ],
)
def test_more_than_there_is_is_refused(candidates: Candidates, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw(candidates, **options)


@pytest.mark.parametrize(
    ("rows", "pairs", "message"),
    [
        (["plain", "other"], None, "row 'other': no such row; allowed are plain, dexperts"),
        (["plain"], None, "two different rows"),
        (["plain", "plain"], None, "two different rows"),
        (None, [["plain", ROWS[0]], [ROWS[0], "plain"]], "each pair once"),
        (None, [["plain", ROWS[0], ROWS[1]]], "two different rows"),
        (["plain"], [["plain", ROWS[0]]], "leave one out"),
    ],
)
def test_pairs_that_are_none_are_refused(candidates: Candidates, rows: Any, pairs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        chosen_pairs(candidates, "pairs", rows, pairs)


def test_questions_are_known_ones_or_have_a_text() -> None:
    own = chosen_questions("pairs", {"formal": "Which is more formal?", "fluent": None}, "")
    assert [(question.name, question.words) for question in own] == [("formal", "formal"), ("fluent", "more fluent")]
    assert [question.name for question in chosen_questions("pairs", None, "formality")] == [
        "formality",
        "fluent",
        "topic",
    ]
    for chosen in (["formal"], {"Formal!": "Which?"}, []):
        with pytest.raises(InputError, match="questions"):
            chosen_questions("pairs", chosen, "")


def test_qualification_items_of_ones_own_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"prompt": "p", "texts": ["x", "y"], "expected": {"toxic": "a"}}\n')
    (item,) = qualification_items(str(path), "pairs", ["toxic"])
    assert (item.texts, item.expected) == (("x", "y"), {"toxic": "a"})
    for line in (
        '{"prompt": "p"}',
        '{"prompt": "p", "texts": ["x"], "expected": {}}',
        '{"prompt": "p", "texts": ["x", "y"], "expected": {"toxic": "c"}}',
    ):
        path.write_text(line)
        with pytest.raises(InputError, match=r"q\.jsonl, line 1"):
            qualification_items(str(path), "pairs", ["toxic"])


def test_a_key_of_another_questionnaire_is_refused(candidates: Candidates, tmp_path: Path) -> None:
    write_study(tmp_path, Study(draw(candidates).questionnaire, draw(candidates, seed=1).key))
    with pytest.raises(InputError, match="not the key"):
        read_study(tmp_path)
    (tmp_path / "key.json").write_text("{}")
    with pytest.raises(InputError, match=r"key\.json, questionnaire: Field required"):
        read_study(tmp_path)
