"""Promises of the experiment loggers."""

import csv
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from click.testing import CliRunner
from tests.fitting import GradientFit
from tests.handmade_commands import command_config
from tests.wandb_file import configs, exit_codes, history
from tests.wandb_login import forget_login
from wandb.cli import beta_sync
from wandb.cli.cli import cli as wandb_program

from lmsteer.cli.configuration import build
from lmsteer.data.corpus import Corpus
from lmsteer.errors import InputError
from lmsteer.evaluation.final_values import final_values
from lmsteer.evaluation.results import Result, ResultRow, Value
from lmsteer.models.random_models import tiny
from lmsteer.records import Row
from lmsteer.reporting.tracking import track
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.steering.steer_file import save_steer
from lmsteer.training.fit import FitEnvironment
from lmsteer.training.loggers import RunLabels, csv_logger, open_loggers, tensorboard_logger, wandb_logger

CONFIG: dict[str, Any] = {
    "seed": 3,
    "steer": {"name": "tone", "rank": 4},
    "strengths": [-5, 5],
    "perplexity_model": None,
}
KEY = "0123456789abcdef" * 2 + "deadbeef"


VARIABLES = ("MODE", "API_KEY", "BASE_URL", "IDENTITY_TOKEN_FILE", "CONFIG_DIR", "DIR")


@pytest.fixture(autouse=True)
def _no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("NETRC", *(f"WANDB_{name}" for name in VARIABLES)):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)  # W&B reads settings of the folder it is started in
    forget_login()
    yield
    forget_login()


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


def offline_runs(folder: Path) -> list[Path]:
    return sorted((folder / "wandb").glob("offline-run-*"))


def result() -> Result:
    value = Value(value=0.25, low=0.1, high=0.5, n=4, scorer="tfidf")
    rows = [
        ResultRow(model="m", method=method, seed=0, prompts="p", strength=strength, metrics={"tone": value})
        for method, strength in (("plain", {}), ("lm-steer", {"tone": 5.0}))
    ]
    return Result(protocol={"name": "p", "metric": "tone"}, rows=rows)


def fitted(logger: Any = None) -> tuple[Steer, Provenance]:
    """The steer of a fit of 4 steps."""
    rows = tuple(
        Row(f"story {n} is {tone}", label) for n in range(8) for tone, label in (("warm", 1.0), ("dull", -1.0))
    )
    corpus = Corpus("toy", rows[:12], rows[12:])
    return GradientFit(steps=4, batch_size=4, dev_every=2)(
        tiny(),
        corpus,
        SteerConfig(name="tone", rank=2),
        environment=FitEnvironment(loggers=[logger] if logger else []),
    )


def test_without_a_key_a_run_is_offline_asks_nothing_and_says_in_one_line_how_to_sync(
    run_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "lmsteer")
    monkeypatch.setattr("builtins.input", None)
    monkeypatch.setattr("getpass.getpass", None)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    with wandb_logger(run_folder, CONFIG):
        pass
    (run,) = offline_runs(run_folder)
    assert capfd.readouterr() == ("", "")
    messages = [record.message for record in caplog.records if record.name.startswith("lmsteer")]
    assert messages == [f"W&B: logged offline; upload with: wandb sync {run}"]


def test_the_line_that_says_how_to_sync_can_be_pasted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "lmsteer")
    with wandb_logger(tmp_path / "my (first) run's", CONFIG):
        pass
    (run,) = offline_runs(tmp_path / "my (first) run's")
    (message,) = [record.message for record in caplog.records if record.name.startswith("lmsteer")]
    assert shlex.split(message.partition("upload with: ")[2]) == ["wandb", "sync", str(run)]


def test_a_run_is_finished_also_when_something_fails_inside(run_folder: Path) -> None:
    with pytest.raises(RuntimeError, match="broken"), wandb_logger(run_folder, CONFIG, RunLabels("first")):
        raise RuntimeError("broken")
    assert wandb.run is None
    with wandb_logger(run_folder, CONFIG, RunLabels("second")):
        pass
    assert sorted(code for run in offline_runs(run_folder) for code in exit_codes(run)) == [0, 1]


def test_runs_one_after_another_do_not_merge(run_folder: Path) -> None:
    for number in range(2):
        with wandb_logger(run_folder / str(number), {"number": number}) as logger:
            logger.log_metrics({"value": float(number)}, step=number)
    for number in range(2):
        (run,) = offline_runs(run_folder / str(number))
        assert configs(run) == [{"number": number}]
        assert [entry["value"] for entry in history(run)] == [number]


class Opened(Exception):
    """Stops ``wandb.init`` once its options are known."""


def opened_as(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> dict[str, Any]:
    """What ``wandb.init`` is called with."""
    arguments: dict[str, Any] = {}

    def init(**keywords: object) -> None:
        arguments.update(keywords)
        raise Opened

    with monkeypatch.context() as patch:
        patch.setattr("wandb.init", init)
        with pytest.raises(Opened), wandb_logger(folder, CONFIG, **options):
            pass
    return arguments


def test_a_run_goes_on_under_the_id_of_its_settings_sweep_and_folder_wherever_that_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def id_of(folder: Path, **options: Any) -> object:
        return opened_as(folder, monkeypatch, **options)["id"]

    first = id_of(tmp_path / "a/seed-0", labels=RunLabels("rank: 4", "grid"))
    assert id_of(tmp_path / "moved/seed-0", labels=RunLabels("rank: 4", "grid")) == first
    others = [
        id_of(tmp_path / "a/seed-1", labels=RunLabels("rank: 4", "grid")),
        id_of(tmp_path / "a/seed-0", labels=RunLabels("rank: 8", "grid")),
        id_of(tmp_path / "a/seed-0", labels=RunLabels("rank: 4", "other")),
        id_of(tmp_path / "a/seed-0"),
        id_of(tmp_path / "b/seed-0"),
    ]
    assert len({first, *others}) == 6
    assert opened_as(tmp_path / "a", monkeypatch)["resume"] == "allow"


def test_a_job_has_its_folders_name_in_the_sweeps_group_and_a_single_run_that_of_its_tags(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = ("gpt2-large", "detox", "x" * 80, "detox")
    alone = opened_as(run_folder, monkeypatch, labels=RunLabels(tags=tags))
    assert (alone["group"], alone["name"]) == (None, " ".join(tags))
    assert alone["tags"] == ["gpt2-large", "detox", "x" * 64]
    job = opened_as(run_folder, monkeypatch, labels=RunLabels(sweep="seeds", tags=tags))
    assert (job["group"], job["name"]) == ("seeds", "run")
    assert opened_as(run_folder, monkeypatch, labels=RunLabels(sweep="seeds"), name="mine")["name"] == "mine"


def test_files_are_written_in_the_run_folder_and_wandbs_own_cache_only(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with wandb_logger(run_folder, CONFIG) as logger:
        fitted(logger)
    assert {path.name for path in run_folder.iterdir()} == {"wandb"}
    assert list(elsewhere.iterdir()) == []
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("setting", "key", "mode"),
    [
        (None, None, "offline"),
        (None, KEY, "online"),
        ("online", KEY, "online"),
        ("online", None, "online"),
        ("run", None, "online"),
        ("run", KEY, "online"),
        ("offline", KEY, "offline"),
        ("dryrun", KEY, "offline"),
        ("disabled", None, "disabled"),
        ("shared", KEY, "shared"),
        ("shared", None, "shared"),
        ("offline", None, "offline"),
    ],
)
def test_the_mode_is_as_told_else_online_with_a_key_and_offline_without(
    setting: str | None, key: str | None, mode: str, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WANDB_MODE", setting), ("WANDB_API_KEY", key)):
        if value is not None:
            monkeypatch.setenv(name, value)
    assert opened_as(run_folder, monkeypatch)["mode"] == mode


@pytest.mark.parametrize(
    ("machine", "server", "password", "mode"),
    [
        ("api.wandb.ai", None, KEY, "online"),
        ("api.wandb.ai", "https://wandb.example.org", KEY, "offline"),
        ("wandb.example.org:8080", "http://wandb.example.org:8080/", KEY, "online"),
        ("other.example.org", None, KEY, "offline"),
        ("api.wandb.ai", None, '""', "offline"),
        ("api.wandb.ai", None, "short", "online"),  # W&B says that it is too short
    ],
)
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("configured", ["variable", "own file", "file of the folder"])
def test_a_key_in_netrc_counts_for_its_own_server(
    machine: str,
    server: str | None,
    password: str,
    mode: str,
    named: bool,
    configured: str,
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "home" / ("keys" if named else ".netrc")
    path.write_text(f"machine {machine}\n  login user\n  password {password}\n")
    path.chmod(0o600)
    if named:
        monkeypatch.setenv("NETRC", "~/keys")
    if server and configured == "variable":
        monkeypatch.setenv("WANDB_BASE_URL", server)
    elif server:
        write_settings(tmp_path / "home", local=configured != "own file", base_url=server)
    assert opened_as(run_folder, monkeypatch)["mode"] == mode


def write_settings(home: Path, *, local: bool = False, **settings: str) -> None:
    """Write a file of settings: the user's own, or that of the folder, where ``wandb init`` puts it."""
    path = home / ("wandb/settings" if local else ".config/wandb/settings")
    path.parent.mkdir(parents=True)
    path.write_text("[default]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize(
    ("settings", "key", "mode"),
    [
        ({"mode": "offline"}, KEY, "offline"),  # as `wandb offline` writes it
        ({"mode": "online"}, KEY, "online"),
        ({"mode": "online"}, None, "offline"),
        ({"mode": "disabled"}, None, "disabled"),
        ({"api_key": KEY}, None, "online"),
        ({"api_key": KEY, "base_url": "https://wandb.example.org"}, None, "online"),
        ({"project": "mine"}, None, "offline"),
    ],
)
def test_files_of_settings_count(
    settings: dict[str, str],
    key: str | None,
    mode: str,
    local: bool,
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_settings(tmp_path / "home", local=local, **settings)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    assert opened_as(run_folder, monkeypatch)["mode"] == mode


def test_online_without_a_login_and_a_terminal_is_refused_in_one_line(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    message = "^logger=wandb: No API key configured.*; set WANDB_MODE=offline, or logger=csv or none$"
    with pytest.raises(InputError, match=message), wandb_logger(run_folder, CONFIG):
        pass


def test_an_interrupted_offline_run_that_was_resumed_is_uploaded_whole_by_the_line_that_is_printed(
    run_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lmsteer")
    mine = wandb_logger(run_folder, CONFIG, RunLabels("mine"))
    mine.__enter__().log_metrics({"value": 1.0}, step=1)
    assert not mine.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None), "the interruption goes on"
    with wandb_logger(run_folder, CONFIG, RunLabels("another")):
        pass
    with wandb_logger(run_folder, CONFIG, RunLabels("mine")) as logger:
        logger.log_metrics({"value": 2.0}, step=2)
    last = [record.getMessage() for record in caplog.records if record.name.startswith("lmsteer")][-1]
    program, command, *folders = shlex.split(last.partition("upload with: ")[2])
    assert (program, command) == ("wandb", "sync")
    values = [[row["value"] for row in history(Path(folder)) if "value" in row] for folder in folders]
    assert values == [[1.0], [2.0]], "the first session first, and none of the other run"
    done = CliRunner().invoke(wandb_program, [command, "--dry-run", "--verbose", *folders])
    assert done.exit_code == 0, done.output
    files = {file for folder in folders for file in Path(folder).glob("*.wandb")}
    chosen = beta_sync._find_wandb_files(map(Path, folders), skip_synced=True, skip_online=True, verbose=False)
    assert chosen == files
    assert len(files) == 2


def test_disabled_writes_nothing_and_says_nothing(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    steer, provenance = fitted()
    path = tmp_path / "steer.safetensors"
    save_steer(path, steer, provenance)
    capfd.readouterr()
    with wandb_logger(run_folder, CONFIG) as logger:
        logger.log_metrics({"value": 1.0}, step=1)
        track([logger], path, provenance, None, step=4)
    assert [path for path in run_folder.rglob("*") if path.is_file()] == []
    assert capfd.readouterr() == ("", "")


def test_an_unknown_mode_is_refused_by_name(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with (
        pytest.raises(InputError, match="WANDB_MODE=sometimes: allowed are online, offline"),
        wandb_logger(run_folder, {}),
    ):
        pass


def test_a_server_that_refuses_is_one_line_with_the_way_out(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise wandb.errors.CommError("no answer\nmore of it")

    monkeypatch.setattr("wandb.init", refuse)
    message = "^logger=wandb: no answer; set WANDB_MODE=offline, or logger=csv or none$"
    with pytest.raises(InputError, match=message), wandb_logger(run_folder, CONFIG):
        pass


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_holds_the_curve_and_the_final_values_at_their_steps(run_folder: Path) -> None:
    with csv_logger(run_folder, CONFIG) as logger:
        curve = fitted(logger)[1].training["curve"]["train"]
        logger.log_metrics(final_values(result()), step=4)
    rows = csv_rows(run_folder / "csv/version_0/metrics.csv")
    logged = [[int(row["step"]) + 1, float(row["train/loss"])] for row in rows if row["train/loss"]]
    assert [step for step, _ in logged] == [step for step, _ in curve]
    assert [loss for _, loss in logged] == pytest.approx([loss for _, loss in curve], rel=1e-6)
    assert (rows[-1]["step"], rows[-1]["tone/tone+5"]) == ("4", "0.25")


def test_csv_keeps_what_an_earlier_session_logged(run_folder: Path) -> None:
    with csv_logger(run_folder, CONFIG) as logger:
        logger.log_metrics({"value": 1.0}, step=0)
    with csv_logger(run_folder, CONFIG) as logger:
        logger.log_metrics({"value": 2.0}, step=1)
    values = [csv_rows(run_folder / f"csv/version_{n}/metrics.csv")[0]["value"] for n in range(2)]
    assert values == ["1.0", "2.0"]


def test_several_loggers_are_open_at_once_and_each_has_the_values(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    nodes = command_config("train", "model=tiny", "logger=[wandb,csv]", "run_dir=x").logger
    with open_loggers([build(node) for node in nodes.values()], run_folder, CONFIG) as loggers:
        for logger in loggers:
            logger.log_metrics({"value": 1.0}, step=1)
    (run,) = offline_runs(run_folder)
    assert [row["value"] for row in history(run) if "value" in row] == [1.0]
    assert [row["value"] for row in csv_rows(run_folder / "csv/version_0/metrics.csv")] == ["1.0"]


def test_a_logger_that_is_not_installed_is_named(run_folder: Path) -> None:
    message = re.escape("logger=tensorboard needs tensorboard; pip install 'lmsteer[tensorboard]'")
    with pytest.raises(InputError, match=message), tensorboard_logger(run_folder, CONFIG):
        pass
