"""The load test counts answers that are the same, and says where others begin to differ."""

import json
from pathlib import Path

import pytest
from tests.handmade_commands import study_config, write_prompts
from tests.serving.served import serving, write_files

from experiments.export.load_test import Answer, Request, differences, load_test, same


@pytest.mark.slow
def test_answers_of_a_server_under_load_are_those_of_requests_alone(tmp_path: Path) -> None:
    steer, gguf = write_files(tmp_path)
    prompts = write_prompts(tmp_path / "prompts.jsonl", ["The film is", "I would like to know", "a storm"])
    with serving(tmp_path, f"steer_file={steer}", f"gguf={gguf}") as served:
        options = [f"url={served.url}", f"prompts.path={prompts}", "requests=24", "at_once=8", "max_tokens=6"]
        results = load_test(
            study_config(
                "export",
                f"run_dir={tmp_path / 'run'}",
                *options,
                "drawn_strengths=[-2,0,2]",
                name="load_test",
            )
        )
    assert results["same"] == {"greedy": [12, 12], "seeded": [12, 12]}
    assert results["different"] == []
    assert results["strengths"] > 5
    assert results["answers"] > 12
    assert "| 12 of 12" in (tmp_path / "run/load_test.md").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "run/load_test.json").read_text(encoding="utf-8")) == results


def test_an_answer_that_changes_is_counted_with_its_first_token_and_how_near_the_second_was() -> None:
    requests = [Request("/v1/completions", {}, kind) for kind in ("greedy", "seeded", "greedy", "greedy")]
    alone = [Answer([1, 2, 3], [0.5, 0.25, 0.125]), Answer([4]), Answer([5, 6], [1.0, 2.0]), Answer([7], [3.0])]
    at_once = [Answer([1, 9, 3]), Answer([4]), Answer([5, 6]), Answer([7, 8])]
    assert same(requests, alone, at_once, "greedy") == [1, 3]
    assert same(requests, alone, at_once, "seeded") == [1, 1]
    assert differences(requests, alone, at_once) == [
        {"request": 0, "kind": "greedy", "token": 1, "gap": 0.25},
        {"request": 3, "kind": "greedy", "token": 1, "gap": None},
    ]
