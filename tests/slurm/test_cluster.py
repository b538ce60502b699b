"""Promises of runs on a SLURM cluster, kept on a real one: ``make test-slurm``."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.slurm.conftest import (
    ENVIRONMENT,
    PATIENCE,
    ROOT,
    SMALL,
    Job,
    assert_same_run,
    call,
    submitted,
    train,
    until,
)

pytestmark = pytest.mark.slurm
LAUNCHER = ["hydra/launcher=slurm", "hydra.launcher.mem_gb=1", "hydra.launcher.cpus_per_task=1"]


def counts(log: str, *bars: str) -> list[int]:
    """The counts that progress bars showed, such as 6 of "| 6/?"; less the first look, 0 of an unknown number."""
    return [int(count) for count in re.findall(rf"(?:{'|'.join(bars)}):[^\r\n]*?\| (\d+)/(?!\? \[00:00<\?)", log)]


def test_a_submitted_job_does_the_whole_run(unbroken: list[Path], options: list[str], tmp_path: Path) -> None:
    said = call("slurm/submit.sh", *SMALL, "slurm/job.sbatch", "train", *options, f"hydra.run.dir={tmp_path / 'run'}")
    assert str(tmp_path / "run") in said.stdout
    found = re.search(r"Submitted batch job (\d+)", said.stdout)
    assert found
    job = Job(found[1])
    job.ends_as("COMPLETED")
    assert_same_run(tmp_path / "run", unbroken[0])
    assert f"report: {tmp_path / 'run' / 'report.html'}" in job.log()


@pytest.mark.parametrize("template", ["array", "pack"])
def test_a_grid_is_one_run_for_each_line(
    template: str, unbroken: list[Path], options: list[str], tmp_path: Path
) -> None:
    grid = tmp_path / "seeds.grid"
    grid.write_text("# two seeds\n" + "".join(f"seed={n} hydra.run.dir={tmp_path}/{n}\n\n" for n in (0, 1)))
    said = call("slurm/submit.sh", *SMALL, f"slurm/{template}.sbatch", grid, "train", *options)
    number = said.stdout.split("Submitted batch job ")[1].split()[0]
    grid.write_text("edited while the job waits\n")
    for job in [Job(f"{number}_0"), Job(f"{number}_1")] if template == "array" else [Job(number)]:
        job.ends_as("COMPLETED")
    for seed in (0, 1):
        assert_same_run(tmp_path / str(seed), unbroken[seed])


def test_hydras_multirun_on_the_cluster_gives_the_numbers_of_one_on_this_machine(
    unbroken: list[Path], options: list[str], tmp_path: Path
) -> None:
    where = [f"hydra.sweep.dir={tmp_path / 'sweep'}", "hydra.sweep.subdir=seed-${seed}"]
    train("-m", *options, "seed=0,1", *LAUNCHER, *where)
    for seed in (0, 1):
        assert_same_run(tmp_path / "sweep" / f"seed-{seed}", unbroken[seed])


def test_a_killed_job_goes_on_when_it_is_requeued_and_nothing_is_lost_or_doubled(
    unbroken: list[Path], options: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    job = submitted("slurm/job.sbatch", "train", *options, f"hydra.run.dir={run}")
    job.frozen(at=run / "checkpoints/last.ckpt", unfinished=run / "steer.safetensors").kill()
    job.ends_as("FAILED")
    before = len(job.log())
    call("scontrol", "requeue", job.number)
    job.frozen(at=run / "steered.0.jsonl.batches/000000.jsonl", unfinished=run / "generations.jsonl").kill()
    job.ends_as("FAILED")
    assert min(counts(job.log()[before:], "Training", "Epoch 0")) > 5, "the fit did not begin anew"
    call("scontrol", "requeue", job.number)
    job.ends_as("COMPLETED")
    assert job["Restarts"] == "2"
    assert_same_run(run, unbroken[0])


def test_a_preempted_job_comes_back_by_itself_and_goes_on(
    unbroken: list[Path], options: list[str], tmp_path: Path
) -> None:
    run, first = tmp_path / "run", tmp_path / "run/steered.0.jsonl.batches/000000.jsonl"
    job = submitted("--partition=low", "slurm/job.sbatch", "train", *options, f"hydra.run.dir={run}")
    until(first.exists, "the first batch", every=0.005)
    job.frozen(at=first, unfinished=run / "generations.jsonl")
    finished, before = len(list(first.parent.glob("*.jsonl"))), len(job.log())
    high = submitted("--partition=high", "--exclusive", f"--output={tmp_path}/high.log", "--wrap=sleep 1")
    high.ends_as("COMPLETED")
    job.ends_as("COMPLETED")
    assert job["Restarts"] == "1"
    assert min(counts(job.log()[before:], "generate")) == finished
    assert_same_run(run, unbroken[0])


def test_a_job_at_its_time_limit_requeues_itself_and_goes_on(
    unbroken: list[Path], options: list[str], tmp_path: Path
) -> None:
    """SLURM looks at the limits every 30 seconds only; so both routes, the template's and submitit's, wait together."""
    run, sweep = tmp_path / "run", tmp_path / "sweep"
    job = submitted("--time=9", "slurm/job.sbatch", "train", *options, f"hydra.run.dir={run}")
    where = [f"hydra.sweep.dir={sweep}/${{now:%f}}", "hydra.sweep.subdir=run", "hydra.launcher.timeout_min=9"]
    command = [sys.executable, "-m", "src.train", "-m", *options, "seed=1", *LAUNCHER, *where]
    launcher = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdin=subprocess.DEVNULL)
    job.frozen(at=run / "checkpoints/last.ckpt", unfinished=run / "steer.safetensors")
    until(lambda: any(sweep.glob("*/run/checkpoints/last.ckpt")), "a checkpoint of the multirun", every=0.005)
    (folder,) = sweep.glob("*/run")
    (pickled,) = (folder.parent / ".submitit").glob("*/*_submitted.pkl")
    task = Job(pickled.parent.name)
    task.frozen(at=folder / "checkpoints/last.ckpt", unfinished=folder / "steer.safetensors")
    for each in (job, task):
        each.limited_to(minutes=1)
    for each in (job, task):
        each.comes_back()
        each.limited_to(minutes=9)
    for each in (job, task):
        each.ends_as("COMPLETED")
    assert launcher.wait(PATIENCE) == 0
    assert "time limit is near" in job.log()
    assert_same_run(run, unbroken[0])
    assert [path.name for path in sweep.iterdir()] == [folder.parent.name], "the time is not read again"
    assert_same_run(folder, unbroken[1])


def test_a_job_of_a_multirun_that_dies_at_once_is_reported_and_not_waited_for(
    cluster: None, options: list[str], tmp_path: Path
) -> None:
    dying = ["hydra.launcher.setup=[exit 3]", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    done = train("-m", *options, "seed=0,1", *LAUNCHER, *dying, expect=1)
    assert re.search(r"^Error: Job \d+_0 .*state: FAILED", done.stderr, re.MULTILINE), done.stderr
    assert "Traceback" not in done.stderr


def test_a_refused_option_of_a_multirun_is_the_one_line_that_it_is_elsewhere(
    cluster: None, options: list[str], tmp_path: Path
) -> None:
    where = f"hydra.sweep.dir={tmp_path / 'sweep'}"
    done = train("-m", *options, "seed=0", "data.rows=1", *LAUNCHER, where, expect=1)
    assert len(re.findall("data.rows=1: an integer of 2 or more expected", done.stderr)) == 1
    assert "Traceback" not in done.stderr


def test_two_tasks_do_one_run_and_a_killed_one_ends_both_which_go_on_when_requeued(
    unbroken: list[Path], options: list[str], tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    said = call("slurm/submit.sh", *SMALL, "slurm/ddp.sbatch", "train", *options, f"hydra.run.dir={whole}")
    Job(said.stdout.split("Submitted batch job ")[1].split()[0]).ends_as("COMPLETED")
    job = submitted("slurm/ddp.sbatch", "train", *options, f"hydra.run.dir={broken}")
    job.frozen(at=broken / "checkpoints/last.ckpt", unfinished=broken / "steer.safetensors").kill()
    job.ends_as("FAILED")
    before = len(job.log())
    call("scontrol", "requeue", job.number)
    job.ends_as("COMPLETED")
    assert min(counts(job.log()[before:], "Training", "Epoch 0")) > 5, "the fit did not begin anew"
    assert job.log()[before:].count("report: ") == 1, "one of them prints"
    assert_same_run(broken, whole)
    alone, together = (load_file(folder / "steer.safetensors") for folder in (unbroken[0], whole))
    for name, weights in alone.items():
        torch.testing.assert_close(together[name], weights, rtol=0, atol=1e-4)
    lines = [[json.loads(line) for line in (run / "generations.jsonl").open()] for run in (unbroken[0], whole)]
    places = [[(line["prompts"], line["id"], line["strength"]) for line in own] for own in lines]
    assert places[0] == places[1], "none is lost or doubled"
