"""Promises of the scripts in slurm/ that need no cluster."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from slurm.check import check, main

from lmsteer.cli.app import CONF

ROOT = Path(__file__).parents[2]
TINY = ["model=tiny", "corpus=file", "corpus.path=mine.tsv", "steer.name=tone"]
TEMPLATES = sorted((ROOT / "slurm").glob("*.sbatch"))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The scripts, with a Python and a SLURM beside them that only write down how they were called."""
    shutil.copytree(ROOT / "slurm", tmp_path / "slurm")
    for name in (".venv/bin/python", "bin/sbatch", "bin/scontrol"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        ends = 'case "$*" in *status-*) words=$*; exit "${words##*status-}" ;; esac'
        path.write_text(f'#!/bin/bash\necho "$(basename "$0")" "$@" >>"{tmp_path}/calls"\n{ends}\n')
        path.chmod(0o755)
    return tmp_path


def call(repository: Path, *command: str, expect: int = 0, **environment: str) -> str:
    path = f"{repository}/bin:{os.environ['PATH']}"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    done = subprocess.run(
        command, cwd=repository, capture_output=True, text=True, env={**clean, "PATH": path, **environment}
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


def calls(repository: Path) -> list[str]:
    path = repository / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_the_check_names_the_folder_of_a_run_and_of_an_experiment(tmp_path: Path) -> None:
    assert check("train", [*TINY, f"hydra.run.dir={tmp_path}/new"]) == tmp_path / "new"
    assert check("train", ["experiment=detox", f"hydra.sweep.dir={tmp_path}"]) == tmp_path
    methods = ["sweep=methods", "steer=detox", "strengths=equal", "hydra/launcher=slurm"]
    assert check("train", methods) == Path("runs/train/methods_steer-detox_strengths-equal")
    assert check("generate", ["strength={tone:-3}", f"hydra.run.dir={tmp_path}"]) == tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", *TINY], r"Error: hydra.run.dir=runs/.*\$\{now:.*: a job that is requeued "),
        (
            ["train", *TINY, "hydra.run.dir={tmp}/file/run"],
            r"Error: hydra.run.dir=.*/file/run: .*/file cannot",
        ),
        (
            ["train", *TINY, "hydra.run.dir={tmp}", "trainer.max_steps=x"],
            r"Error: trainer.max_steps='x': Input should be",
        ),
        (
            ["train", *TINY, "hydra.run.dir={tmp}", "trainer.max_stpes=1"],
            r"Error: Could not override 'trainer.max_stpes'",
        ),
        (["train", "corpus=file", "hydra.run.dir={tmp}"], r"Error: corpus.path: a value is needed"),
        (["tables", "hydra.run.dir={tmp}"], r"Error: tables: no such command; allowed are .*train"),
        (["train", "-m", "seed=0,1"], r"Error: -m: one run is expected"),
        (["--grid={tmp}/same", "train", *TINY], r"Error: lines 1 and 2: both write to .*/one"),
        (["--grid={tmp}/bad", "train", *TINY], r"Error: line 2 \(seed=x hydra.run.dir=.*\): seed='x': "),
        (["--grid={tmp}/none", "train", *TINY], r"Error: .*No such file"),
        (["--grid={tmp}/latin", "train", *TINY], r"Error: .*/latin: not UTF-8"),
        (
            ["train", *TINY, "hydra.run.dir={tmp}", "trainer.max_steps=0"],
            r"Error: trainer.max_steps=0: an integer of 1 or more",
        ),
        (["train", *TINY, "hydra.run.dir={tmp}", "solver=one_pass", "solver.damping=0"], r"Error: solver.damping=0"),
        (
            ["train", "experiment=detox", "hydra.sweep.dir={tmp}", "trainer=ddp", "trainer.devices=1"],
            r"Error: tasks of srun do one run",
        ),
    ],
)
def test_what_a_command_would_refuse_is_refused_before_it_waits(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "same").write_text(f"seed=0 hydra.run.dir={tmp_path}/one\nseed=1 hydra.run.dir={tmp_path}/one\n")
    (tmp_path / "latin").write_bytes(b"seed=0 steer.name=\xe9")
    (tmp_path / "bad").write_text(f"seed=0 hydra.run.dir={tmp_path}/0\nseed=x hydra.run.dir={tmp_path}/1\n")
    with pytest.raises(SystemExit, match=message):
        main([part.replace("{tmp}", str(tmp_path)) for part in arguments])


def test_a_dry_run_prints_what_would_be_submitted_and_submits_nothing(repository: Path) -> None:
    said = call(repository, "slurm/submit.sh", "--dry-run", "--time=10", "slurm/job.sbatch", "train", "strength={a:-3}")
    assert rf"sbatch --chdir={repository} --time=10 slurm/job.sbatch train strength=\{{a:-3\}}" in said
    assert (ROOT / "slurm/job.sbatch").read_text() in said
    assert calls(repository) == ["python -m slurm.check train strength={a:-3}"]


def test_a_grid_is_submitted_as_it_is_now_less_comments_with_a_task_for_each_line(repository: Path) -> None:
    (repository / "my.grid").write_text("# seeds\nseed=0\n\n  seed=1  \nseed=2\n")
    call(repository, "slurm/submit.sh", "--array=0-1", "slurm/array.sbatch", "my.grid", "train", "steer=detox")
    (kept,) = (repository / "runs/slurm").iterdir()
    assert kept.read_text() == "seed=0\nseed=1\nseed=2\n"
    grid = f"runs/slurm/{kept.name}"
    assert calls(repository) == [
        f"python -m slurm.check --grid={grid} train steer=detox",
        f"sbatch --chdir={repository} --array=0-2 --array=0-1 slurm/array.sbatch {grid} train steer=detox",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["slurm/job.sbatch"], "Error: usage: "),
        (["slurm/mine.sbatch", "train"], "Error: slurm/mine.sbatch: no such template"),
        (["slurm/array.sbatch", "my.grid", "train"], "Error: my.grid: no such file"),
        (["slurm/array.sbatch", "empty.grid", "train"], "Error: empty.grid: no line with overrides"),
        (["slurm/array.sbatch", "empty.grid"], "Error: a command such as train expected"),
        (["slurm/job.sbatch", "train", "status-1"], ""),
    ],
)
def test_what_cannot_be_submitted_is_not(arguments: list[str], message: str, repository: Path) -> None:
    (repository / "empty.grid").write_text("# nothing\n")
    assert message in call(repository, "slurm/submit.sh", *arguments, expect=1)
    assert not [line for line in calls(repository) if line.startswith("sbatch")]


def test_a_machine_without_environment_or_slurm_is_told_so(repository: Path) -> None:
    for program in ("bash", "dirname"):
        (repository / "bin" / program).symlink_to(str(shutil.which(program)))
    (repository / "bin/sbatch").unlink()
    submit = ["slurm/submit.sh", "slurm/job.sbatch", "train"]
    assert "Error: sbatch is missing" in call(repository, *submit, expect=1, PATH=str(repository / "bin"))
    (repository / ".venv/bin/python").unlink()
    assert "Error: .venv/bin/python is missing: run make setup" in call(repository, *submit, expect=1)


def test_tasks_share_the_lines_of_a_grid_and_a_failed_line_stops_no_other(repository: Path) -> None:
    (repository / "my.grid").write_text("seed=0\nseed=1 x=status-3\nseed=2\nseed=3\n")
    lines = ["slurm/lines.sh", "my.grid", "train", "a=b c"]
    call(repository, *lines, SLURM_ARRAY_TASK_ID="2", SLURM_PROCID="0", SLURM_NTASKS="1")
    assert calls(repository) == ["python -m src.train a=b c seed=2"]
    (repository / "calls").unlink()
    assert "line 2 failed with status 3: seed=1 x=status-3" in call(
        repository, *lines, expect=1, SLURM_PROCID="1", SLURM_NTASKS="2"
    )
    call(repository, *lines, SLURM_PROCID="0", SLURM_NTASKS="2")
    expected = ["seed=1 x=status-3", "seed=3", "seed=0", "seed=2"]
    assert calls(repository) == [f"python -m src.train a=b c {line}" for line in expected]


@pytest.mark.parametrize(("restarts", "requeued"), [("", True), ("49", True), ("50", False)])
def test_the_signal_before_the_time_limit_requeues_so_often_and_the_status_is_the_commands(
    restarts: str, requeued: bool, repository: Path
) -> None:
    script = "source slurm/resumable.sh; resumable bash -c 'touch running; sleep 0.5; exit 7'"
    environment = {**os.environ, "PATH": f"{repository}/bin:{os.environ['PATH']}", "SLURM_JOB_ID": "12"}
    environment["SLURM_RESTART_COUNT"] = restarts
    job = subprocess.Popen(["bash", "-c", script], cwd=repository, env=environment, stderr=subprocess.PIPE, text=True)
    while not (repository / "running").exists():
        time.sleep(0.01)
    job.send_signal(signal.SIGUSR1)
    _, said = job.communicate(timeout=20)
    assert job.returncode == 7
    assert "time limit is near" in said
    assert calls(repository) == (["scontrol requeue 12"] if requeued else [])


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_every_template_comes_back_and_keeps_its_log(template: Path) -> None:
    text = template.read_text()
    for option in ("--requeue", "--signal=B:USR1@", "--open-mode=append", "--output=runs/slurm/", "--time="):
        assert f"\n#SBATCH {option}" in text
    assert "\nresumable " in text
    assert "\n##SBATCH --gres=gpu:" in text or "\n##SBATCH --gpus-per-task=1 " in text


def test_the_launcher_is_submitits_with_requeues() -> None:
    with initialize_config_dir(CONF, version_base="1.3"):
        launcher = compose("train", overrides=["hydra/launcher=slurm"], return_hydra_config=True).hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert launcher.max_num_timeout > 0
    assert launcher.additional_parameters == {"requeue": True}


def test_a_machine_with_a_slurm_of_its_own_is_left_alone(tmp_path: Path) -> None:
    """The script is run with another folder in the place of /etc."""
    conf = tmp_path / "etc/slurm/slurm.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text("ClusterName=theirs\n")
    script = (ROOT / "tests/slurm/cluster.sh").read_text().replace("/etc/", f"{tmp_path}/etc/")
    for verb, status in (("up", 1), ("down", 0)):
        done = subprocess.run(["bash", "-c", script, "cluster.sh", verb], capture_output=True, text=True)
        assert done.returncode == status
        if verb == "up" and os.geteuid() == 0:
            assert f"{conf} is there and not ours" in done.stderr
    assert [path.name for path in (tmp_path / "etc").rglob("*")] == ["slurm", "slurm.conf"]
    assert conf.read_text() == "ClusterName=theirs\n"
