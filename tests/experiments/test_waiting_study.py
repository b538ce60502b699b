"""Promises of the study of waiting, with workers that do nothing; no test checks how long anything took."""

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.handmade_commands import study_config

from experiments.speed import waiting as study
from experiments.speed import worker
from experiments.speed.waiting import POLICIES, busy_processes, measure, waiting, waiting_table
from lmsteer.cli.configuration import check_config
from lmsteer.data.corpus import Corpus
from lmsteer.models.random_models import tiny
from lmsteer.records import Row

MACHINE = {"date": "2026-11-29", "cpu": "a processor", "torch": "2.13.0"}
STUB = f"""
import json, os, sys
print(json.dumps({MACHINE!r}), flush=True)
for line in sys.stdin:
    count = os.environ.get("GOMP_SPINCOUNT", os.environ.get("OMP_WAIT_POLICY"))
    print(json.dumps({{"fit": {{"300000": 1.0, "passive": 2.0}}.get(count) or float(count)}}), flush=True)
"""
STUB_COMMAND = (sys.executable, "-c", STUB)
SECONDS = {
    "default": {"quiet": [2.0, 1.0, 3.0], "busy": [8.0]},
    "passive": {"quiet": [2.5], "busy": [4.0]},
    "7": {"quiet": [2.0], "busy": [5.0]},
}


def children() -> set[psutil.Process]:
    """Processes that this one has started; those of earlier tests of the same pytest may still be there."""
    return set(psutil.Process().children())


def test_every_policy_works_in_its_own_environment_as_often_as_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMP_BLOCKTIME", "0")
    monkeypatch.setenv("GOMP_SPINCOUNT", "99")
    before = children()
    measured = measure(STUB_COMMAND, POLICIES | {"7": {"GOMP_SPINCOUNT": "7"}}, rounds=2, busy=1)
    assert measured["machine"] == MACHINE
    expected = {"default": 1.0, "passive": 2.0, "7": 7.0}
    assert measured["seconds"] == {
        "fit": {policy: {"quiet": [value] * 2, "busy": [value] * 2} for policy, value in expected.items()}
    }
    assert children() == before


def test_other_processes_compute_only_while_the_work_is_done() -> None:
    before = children()
    with busy_processes(2):
        busy = children() - before
        assert len(busy) == 2
        while not all(process.cpu_times().user > 0.01 for process in busy):
            pass
    assert children() == before


def test_a_worker_that_ends_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"-c .*: ended with status 3"):
        measure([sys.executable, "-c", "raise SystemExit(3)"], POLICIES, rounds=1, busy=1)


def test_a_worker_answers_each_line_by_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Row(f"the story number {n} is long and I would like to know why", (-1.0) ** n) for n in range(300)]
    monkeypatch.setattr(worker, "snippets", lambda: Corpus("toy", tuple(rows), test=tuple(rows)))
    answers = io.StringIO()
    worker.work(tiny(width=64), io.StringIO("\n\n"), answers)
    machine, *rounds = (json.loads(line) for line in answers.getvalue().splitlines())
    assert machine["device"] == "cpu"
    assert [list(seconds) for seconds in rounds] == [["fit", "generate", "score"]] * 2
    assert all(value > 0 for seconds in rounds for value in seconds.values())


def test_the_table_holds_medians_over_the_default_and_over_the_fair_share() -> None:
    table = waiting_table({"machine": MACHINE, "cores": 2, "busy": 2, "seconds": {"fit": SECONDS}})
    text = " ".join(table.split())
    # Alone the default takes 2 s; with four runnable threads on two cores 4 s would be fair.
    assert "| fit | default | 2.00 | **1.000** | 8.00 | **2.00** |" in text
    assert "| fit | passive | 2.50 | **1.250** | 4.00 | **1.00** |" in text
    assert "| fit | 7 | 2.00 | **1.000** | 5.00 | **1.25** |" in text


def test_the_run_leaves_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "WORKER", STUB_COMMAND)
    config = study_config("speed", f"run_dir={tmp_path}", "spin_counts=[7]", "rounds=1", name="waiting")
    results = waiting(config)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "config.yaml", "waiting.json", "waiting.md"}
    assert json.loads((tmp_path / "waiting.json").read_text()) == results
    assert results["busy"] == results["cores"] == os.cpu_count()
    assert list(results["seconds"]["fit"]) == ["default", "passive", "7"]


def test_the_options_of_the_configuration_are_those_that_the_command_reads() -> None:
    config = check_config(study_config("speed", "run_dir=x", name="waiting"), study.TYPES)
    assert set(config) == {*study.TYPES, "run_dir"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rounds=0", "rounds=0: Input should be greater than or equal to 1"),
        ("spin_counts=[0]", "spin_counts=[0]: Input should be greater than or equal to 1"),
        ("busy=many", "busy='many': Input should be a valid integer"),
    ],
)
def test_wrong_values_end_in_one_line(override: str, message: str, refusal: Any) -> None:
    assert message in refusal("experiments/speed:waiting", waiting, override)
