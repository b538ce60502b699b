"""Promises of a search by Optuna, as a user starts it, on a tiny model and a corpus of their own."""

import json
import re
from pathlib import Path

import optuna
import pytest
import yaml
from tests.handmade_commands import run_command
from tests.tone import write_tone

from lmsteer.steering.steer_file import load_steer

OPTUNA = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_jobs=1", "hydra.sweeper.sampler.seed=0"]
RANGES = ["steer.rank=int(interval(1, 8))", "optimizer.lr=tag(log, interval(1e-3, 1e-1))"]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """Its handler holds the standard error of the test that imported it."""
    optuna.logging.disable_default_handler()


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    run = ["model=tiny", "corpus=file", f"corpus.path={write_tone(tmp_path, rows=200)}", "steer.name=tone", "cache=off"]
    fit = ["trainer.max_steps=2", "trainer.val_check_interval=2", "data.batch_size=4", "logger=none"]
    return [*OPTUNA, *run, *fit, f"hydra.sweep.dir={tmp_path / 'study'}"]


def dev_loss(job: Path) -> float:
    return min(loss for _, loss in load_steer(job / "steer.safetensors")[1].training["curve"]["dev"])


def jobs(tmp_path: Path) -> list[Path]:
    return sorted(path.parent for path in (tmp_path / "study").glob("*/steer.safetensors"))


def test_the_best_of_the_trials_is_found_and_printed(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = ["hydra.sweeper.n_trials=4", "hydra.sweeper.direction=minimize", "objective=dev/loss", "protocol=none"]
    assert run_command("train", *options, *search, *RANGES) == 0
    losses = {job: dev_loss(job) for job in jobs(tmp_path)}
    assert len(losses) == 4
    best = min(losses, key=lambda job: losses[job])
    steer, provenance = load_steer(best / "steer.safetensors")
    results = yaml.safe_load((tmp_path / "study" / "optimization_results.yaml").read_text())
    assert results["best_value"] == losses[best]
    assert results["best_params"] == {"steer.rank": steer.rank, "optimizer.lr": provenance.training["lr"]}
    last = capsys.readouterr().out.splitlines()[-1]
    rate = provenance.training["lr"]
    assert last == f"best: steer.rank={steer.rank} optimizer.lr={rate}: dev/loss {losses[best]:.4g}"


def test_a_study_with_the_seed_of_its_sampler_goes_on_where_it_was(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = ["hydra.sweeper.direction=minimize", "objective=dev/loss", "protocol=none", *RANGES]
    assert run_command("train", *options, "hydra.sweeper.n_trials=2", *search) == 0
    first = jobs(tmp_path)
    capsys.readouterr()
    assert run_command("train", *options, "hydra.sweeper.n_trials=3", *search) == 0
    assert [f"finished already: {job}" in capsys.readouterr().err for job in first[:1]] == [True]
    assert len(jobs(tmp_path)) == 3
    assert set(first) < set(jobs(tmp_path))


def test_several_objectives_have_all_settings_that_no_other_surpasses(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = ["protocol.samples=2", "protocol.prompts.own.n=3", "decoding.max_new_tokens=4", "protocol.strengths=[5]"]
    search = ["hydra.sweeper.n_trials=3", "hydra.sweeper.direction=[minimize,minimize]", "steer.rank=1,2,4"]
    objective = "objective=[perplexity/+5,cost/kl/+5]"
    assert run_command("train", *options, *measured, *search, objective) == 0
    points = set()
    for job in jobs(tmp_path):
        rows = json.loads((job / "metrics.json").read_text())["rows"]
        (row,) = (row for row in rows if row["strength"])
        points.add((row["metrics"]["perplexity"]["value"], row["cost"]["kl"]))
    front = {p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)}
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("best: ")]
    pattern = r"best: steer\.rank=\d: perplexity/\+5 (\S+), cost/kl/\+5 (\S+)"
    printed = {tuple(match.groups()) for match in (re.fullmatch(pattern, line) for line in lines) if match}
    assert printed == {(f"{x:.4g}", f"{y:.4g}") for x, y in front}


@pytest.mark.parametrize(
    ("search", "line"),
    [
        ([], "objective=null: the sweeper optimizes a value; objective=METRIC/SETTING expected"),
        (["objective=dev/loss", "hydra.sweeper.direction=maximize"],
         "objective=dev/loss: hydra.sweeper.direction=maximize looks for the worst; minimize expected"),
        (["objective=[dev/loss,dev/control]", "module.stop=control"],
         "objective=dev/loss, dev/control: hydra.sweeper.direction has 1; one for each expected"),
        (["objective=tone"], "objective=tone: a protocol and trainer=single are needed to return a value"),
        (["objective=dev/loss", "data.batch_size=0"], "data.batch_size=0: an integer from 1 to 65536 expected"),
    ],
)  # fmt: skip
def test_a_search_that_cannot_work_ends_at_its_first_job_in_one_line(
    search: list[str], line: str, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("train", *options, "protocol=none", "steer.rank=1,2", *search) == 1
    error = capsys.readouterr().err
    assert error.splitlines()[-1] == f"Error: {line}"
    assert "Traceback" not in error
    assert not jobs(tmp_path)


def test_failed_trials_are_left_out_of_a_study_that_allows_them_and_named_at_its_end(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = ["hydra.sweeper.n_trials=6", "hydra.sweeper.max_failure_rate=1", "objective=dev/loss", "protocol=none"]
    assert run_command("train", *options, *search, "steer.rank=4,99") == 1
    printed = capsys.readouterr()
    assert "best: steer.rank=4: dev/loss" in printed.out
    failures = [line for line in printed.err.splitlines() if line.startswith("failed: ")]
    assert failures
    assert all(line.endswith("steer.rank=99: an integer in [1, 32] or 'full' expected") for line in failures)
