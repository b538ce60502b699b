"""Promises of sweeps, as a user starts them, on a tiny model and a corpus of their own."""

import functools
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from tests.handmade_commands import command_config
from tests.tone import write_tone
from tests.wandb_file import configs, exit_codes, history, records

from lmsteer.cli.app import CONF, INTERRUPTED, entry_point
from lmsteer.cli.configuration import check_config
from lmsteer.cli.folders import sweep_folder
from lmsteer.cli.options import OF_COMMAND
from lmsteer.cli.sweep_callback import LOCK
from lmsteer.commands.train import train
from lmsteer.data.datamodule import SteerDataModule
from lmsteer.evaluation.final_values import final_values
from lmsteer.evaluation.results import read_result
from lmsteer.models.random_models import tiny
from lmsteer.runs.run import Run
from lmsteer.steering.steer_file import load_steer

ROOT = Path(__file__).parents[2]
GRID = ["steer.rank=4,16", "steer.epsilon=1e-3,1e-2", "seed=0,1"]
QUICK = [
    "trainer.max_steps=4",
    "data.batch_size=4",
    "trainer.val_check_interval=2",
    "protocol.samples=2",
    "protocol.prompts.own.n=3",
]
KEY = "0123456789abcdef" * 2 + "deadbeef"
RESULTS = ("steer.safetensors", "generations.jsonl", "metrics.json", "values.safetensors", "config.yaml")


@dataclass
class Started:
    """What a command left behind."""

    folder: Path
    status: int | str | None
    out: str
    err: str

    @property
    def jobs(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tone(tmp_path_factory.mktemp("corpus"), rows=200)


@pytest.fixture(autouse=True, scope="module")
def _offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_API_KEY", KEY)
        for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            patch.setenv(name, str(tmp_path_factory.getbasetemp() / "wandb"))
        yield


def arguments(corpus: Path, folder: Path, *overrides: str, grid: list[str] = GRID) -> list[str]:
    """A sweep over ``grid``."""
    run = ["model=tiny", "corpus=file", f"corpus.path={corpus}", "steer.name=tone", *QUICK, f"hydra.sweep.dir={folder}"]
    return ["-m", *run, f"cache={corpus.parent / 'cache'}", *grid, *overrides]


def start(command_line: list[str], folder: Path, capfd: pytest.CaptureFixture[str]) -> Started:
    """Run the command in this process, which saves loading everything once more."""
    status: int | str | None = 0
    capfd.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", *command_line])
        try:
            entry_point("train")(train)()
        except SystemExit as end:
            status = end.code
    printed = capfd.readouterr()
    return Started(folder, status, printed.out, printed.err)


@pytest.fixture(scope="module")
def grid_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweep") / "grid"


@pytest.fixture
def sweep(grid_folder: Path, corpus: Path, capfd: pytest.CaptureFixture[str]) -> Started:
    """Eight jobs, logged to W&B; started by the first test that asks for it."""
    if not grid_folder.exists():
        done = start(arguments(corpus, grid_folder, "logger=wandb"), grid_folder, capfd)
        assert done.status == 0, done.err
    return Started(grid_folder, 0, "", "")


def logged(job: Path) -> Path:
    """The W&B run of a job, which is one."""
    (run,) = (job / "wandb").glob("offline-run-*")
    return run


def test_every_setting_has_a_finished_run_in_a_subfolder_and_the_sweep_has_tables(sweep: Started) -> None:
    assert len(sweep.jobs) == 8
    settings = set()
    for job in sweep.jobs:
        steer, provenance = load_steer(job / "steer.safetensors")
        settings.add((steer.rank, steer.epsilon, provenance.seed))
    assert settings == {(rank, epsilon, seed) for rank in (4, 16) for epsilon in (1e-3, 1e-2) for seed in (0, 1)}
    files = {"multirun.yaml", "table.md", "table.tex", "table.csv", "pareto.png", "report.html"}
    assert {path.name for path in sweep.folder.iterdir() if path.is_file()} == files
    assert "±" in (sweep.folder / "table.md").read_text()


def test_names_of_runs_can_be_given_to_a_command_as_they_are(sweep: Started) -> None:
    for job in sweep.jobs:
        config = command_config("generate", "run_dir=x", f"steer_file={job}/steer.safetensors")
        assert config.steer_file == f"{job}/steer.safetensors"


def test_each_job_is_one_wandb_run_of_the_sweeps_group_with_a_name_and_tags_of_its_own(sweep: Started) -> None:
    runs = {job: records(logged(job)) for job in sweep.jobs}
    heads = {job: next(r.run for r in entries if r.WhichOneof("record_type") == "run") for job, entries in runs.items()}
    assert {head.run_group for head in heads.values()} == {"grid"}
    assert {job: head.display_name for job, head in heads.items()} == {job: job.name for job in sweep.jobs}
    assert {tuple(head.tags) for head in heads.values()} == {("tiny-0", "tone", "lm-steer")}
    assert len({head.run_id for head in heads.values()}) == 8
    assert [exit_codes(logged(job)) for job in sweep.jobs] == [[0]] * 8


def test_each_wandb_run_has_its_config_once_its_curve_and_its_final_values(sweep: Started) -> None:
    for job in sweep.jobs:
        (config,) = configs(logged(job))
        steer, provenance = load_steer(job / "steer.safetensors")
        assert (config["steer"]["rank"], config["steer"]["epsilon"], config["seed"]) == (
            steer.rank,
            steer.epsilon,
            provenance.seed,
        )
        entries = history(logged(job))
        curve = [(row["trainer/global_step"] + 1, row["train/loss"]) for row in entries if "train/loss" in row]
        assert curve == [pytest.approx(point, rel=1e-6) for point in provenance.training["curve"]["train"]]
        assert len([entry for entry in entries if "dev/loss" in entry]) == 2
        assert entries[-1]["trainer/global_step"] == 4
        logged_values = {name: value for entry in entries for name, value in entry.items()}
        expected = final_values(read_result(job / "metrics.json"))
        assert expected.keys() > {"tone/plain", "tone/tone-5", "perplexity/tone+5"}
        assert {name: logged_values[name] for name in expected} == expected


def test_each_wandb_run_has_its_texts_and_pictures(sweep: Started) -> None:
    for job in sweep.jobs:
        files = logged(job) / "files/media"
        table = json.loads(next(files.glob("table/generations*.json")).read_text())
        lines = [json.loads(line) for line in (job / "generations.jsonl").read_text().split("\n") if line]
        assert table["columns"] == ["prompt", "plain", "tone -5", "tone +5"]
        for prompt, *texts in table["data"]:
            written = [line["generations"][0]["text"] for line in lines if line["prompt"]["text"] == prompt]
            assert texts == written
        assert len(table["data"]) == 3
        for name in ("loss", "strength"):
            assert next(files.glob(f"images/{name}*.png")).read_bytes().startswith(b"\x89PNG")


def artifact(job: Path) -> Any:
    """The artifact of the steer."""
    artifacts = [r.artifact for r in records(logged(job)) if r.WhichOneof("record_type") == "artifact"]
    (steer,) = (artifact for artifact in artifacts if artifact.type == "steer")
    return steer


def test_each_wandb_run_has_its_steer_with_the_digests_of_what_it_came_from(sweep: Started) -> None:
    for job in sweep.jobs:
        stored, path = artifact(job), job / "steer.safetensors"
        _, provenance = load_steer(path)
        metadata = json.loads(stored.metadata)
        assert metadata["steer"] == {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "seed": provenance.seed}
        assert metadata["model"] == {"name": "tiny-0", "fingerprint": provenance.fingerprint}
        assert metadata["corpus"]["digest"] == provenance.corpus["digest"]
        assert [(entry.path, entry.size) for entry in stored.manifest.contents] == [(path.name, path.stat().st_size)]


def test_a_key_stands_in_no_file_of_the_sweep(sweep: Started) -> None:
    files = [path for path in sweep.folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_a_second_start_runs_nothing_and_does_not_even_read_the_corpus(
    sweep: Started, corpus: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def files() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for job in sweep.jobs for path in job.rglob("*")}

    before, away = files(), corpus.with_suffix(".away")
    corpus.rename(away)
    try:
        again = start(arguments(corpus, sweep.folder, "logger=wandb"), sweep.folder, capfd)
    finally:
        away.rename(corpus)
    assert again.status == 0, again.err
    assert files() == before
    assert sorted(line for line in again.err.splitlines() if line.startswith("finished already")) == [
        f"finished already: {job}" for job in sweep.jobs
    ]


def test_a_sweep_killed_in_the_middle_and_started_again_ends_as_an_unbroken_one(
    sweep: Started, corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "grid"
    command_line = arguments(corpus, folder, "logger=wandb")
    # Not the W&B service of this process, which would live on when the child is killed.
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    child = subprocess.Popen(
        [sys.executable, "-m", "src.train", *command_line],
        cwd=ROOT,
        env=environment | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=-3,
    )
    try:
        while len(list(folder.glob("*/steer.safetensors"))) < 3:
            assert child.poll() is None
            time.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    finished = len(list(folder.glob("*/report.html")))
    assert 0 < finished < 8
    again = start(command_line, folder, capfd)
    assert again.status == 0, again.err
    assert again.err.count("finished already") == finished
    for job in sweep.jobs:
        for name in RESULTS:
            assert (folder / job.name / name).read_bytes() == (job / name).read_bytes(), f"{job.name}/{name}"
        sessions = (folder / job.name / "wandb").glob("offline-run-*")
        ids = {path.name.rpartition("-")[2] for path in sessions}
        assert ids == {logged(job).name.rpartition("-")[2]}, "a job that is resumed goes on with its W&B run"
    assert {path.name for path in folder.iterdir()} == {path.name for path in sweep.folder.iterdir()}


def test_failed_jobs_are_named_at_the_end_and_the_others_are_finished_and_in_tables(
    corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    grid = ["steer.rank=99,4,77"]
    done = start(arguments(corpus, tmp_path, "logger=none", grid=grid), tmp_path, capfd)
    assert done.status == "Error: 2 of 3 jobs failed; the same command starts these again"
    failures = [line for line in done.err.splitlines() if line.startswith("failed: ")]
    reason = "an integer in [1, 32] or 'full' expected"
    assert [line.split(": ", 2)[2] for line in failures] == [f"steer.rank={rank}: {reason}" for rank in (99, 77)]
    assert {Path(line.split(": ")[1]).parent for line in failures} == {tmp_path}
    assert "Traceback" not in done.err
    (finished,) = (job for job in done.jobs if (job / "report.html").is_file())
    assert load_steer(finished / "steer.safetensors")[0].rank == 4
    assert "lm-steer, tone +5" in (tmp_path / "table.md").read_text()
    assert not (tmp_path / ".jobs").exists()


def test_an_error_of_ours_is_shown_in_full_and_does_not_stop_the_others(
    corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(run: Run, method: object, datamodule: SteerDataModule, *_: object) -> None:
        if datamodule.seed == 0:
            raise ZeroDivisionError("by nothing")
        raise KeyboardInterrupt  # reached: the first job's error did not stop the sweep

    monkeypatch.setattr("lmsteer.runs.stages.fit_stage", broken)
    done = start(arguments(corpus, tmp_path, "logger=none", grid=["seed=0,1", "steer.rank=4"]), tmp_path, capfd)
    assert done.status == INTERRUPTED
    printed = done.err
    assert "Traceback" in printed
    assert "ZeroDivisionError: by nothing" in printed
    notes = [json.loads(path.read_text())["error"] for path in sorted((tmp_path / ".jobs").iterdir())]
    assert notes == ["ZeroDivisionError: by nothing", "stopped before its end"]


def test_a_sweep_of_fits_alone_shares_the_model_has_no_tables_and_misses_none(
    corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[int] = []

    @functools.wraps(tiny)
    def counted(*args: Any, **options: Any) -> Any:
        built.append(1)
        return tiny(*args, **options)

    monkeypatch.setattr("lmsteer.models.random_models.tiny", counted)
    command_line = arguments(corpus, tmp_path, "protocol=none", "logger=none", grid=["seed=0,1,2", "steer.rank=4"])
    done = start([item for item in command_line if not item.startswith("protocol.")], tmp_path, capfd)
    assert done.status == 0, done.err
    assert len(built) == 1
    files = [".lock", "config.yaml", "sources.json", "steer.safetensors", "timing.json"]
    assert [sorted(path.name for path in job.iterdir()) for job in done.jobs] == [files] * 3
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"multirun.yaml"}


def in_sweep(*overrides: str) -> Any:
    """Hydra's own settings of a sweep."""
    with initialize_config_dir(CONF, version_base="1.3"):
        config = compose("train", overrides=[*overrides], return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    return config.hydra


@pytest.mark.parametrize(
    ("overrides", "folder"),
    [
        (["sweep=seeds"], "runs/train/seeds"),
        (["sweep=seeds", "model=tiny", "logger=csv"], "runs/train/seeds_model-tiny"),
        (["experiment=detox"], "runs/detox-offline"),
        (["experiment=detox", "size=paper"], "runs/detox-paper"),
        (["experiment=sentiment", "model=gpt2"], "runs/sentiment-quick"),
        (["experiment=rank-epsilon", "model=tiny"], "runs/rank-epsilon-offline"),
        (["model=tiny"], "runs/train/model-tiny"),
        ([], "runs/train/sweep"),
    ],
)
def test_the_folder_of_a_sweep_is_fixed_by_its_settings(overrides: list[str], folder: str) -> None:
    assert in_sweep(*overrides).sweep.dir == folder


def test_comma_lists_are_part_of_the_folders_name_and_told_apart() -> None:
    names = {sweep_folder(None, f"seed-{seeds}") for seeds in ("0,1", "0,1,2", "0-1")}
    assert len(names) == 3
    assert all("," not in name for name in names)


def test_a_second_start_of_a_running_sweep_is_refused_and_forgets_nothing(
    corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sweep"
    (folder / ".jobs").mkdir(parents=True)
    (folder / ".jobs" / "0.json").write_text('{"folder": "x", "error": "failed"}')
    with FileLock(folder / LOCK):
        second = start(arguments(corpus, folder, "logger=none"), folder, capfd)
    assert second.status == f"Error: {folder}: another start of this sweep is running; wait for its end"
    assert (folder / ".jobs" / "0.json").read_text() == '{"folder": "x", "error": "failed"}'
    assert {path.name for path in folder.iterdir()} == {".jobs", LOCK}


@pytest.mark.parametrize("sweep", sorted(path.stem for path in (Path(CONF) / "sweep").glob("*.yaml")))
def test_every_sweep_is_a_grid_of_options_that_compose(sweep: str) -> None:
    settings = in_sweep(f"sweep={sweep}")
    assert settings.mode is not None
    grid = dict(settings.sweeper.params)
    expected = {"rank-epsilon": 15, "seeds": 3, "model-size": 4, "methods": 30}
    assert math.prod(len(values.split(",")) for values in grid.values()) == expected[sweep]
    for index in (0, -1):
        values = [f"{name}={values.split(',')[index]}" for name, values in grid.items()]
        command_config("train", "run_dir=x", f"sweep={sweep}", *values)


def test_without_a_sweep_there_is_one_run() -> None:
    settings = in_sweep()
    assert settings.mode is None
    assert not settings.sweeper.params


@pytest.mark.parametrize("experiment", sorted(path.stem for path in (Path(CONF) / "experiment").glob("*.yaml")))
@pytest.mark.parametrize("size", sorted(path.stem for path in (Path(CONF) / "size").glob("*.yaml")))
def test_every_experiment_is_a_sweep_of_options_that_compose_at_every_size(experiment: str, size: str) -> None:
    settings = in_sweep(f"experiment={experiment}", f"size={size}")
    assert settings.mode is not None
    assert settings.sweep.dir == f"runs/{experiment}-{size}"
    for index in (0, -1):
        values = [f"{name}={values.split(',')[index]}" for name, values in settings.sweeper.params.items()]
        config = command_config("train", "run_dir=x", f"experiment={experiment}", f"size={size}", *values)
        check_config(config, OF_COMMAND["train"])
