"""Promises of sweeps over choices: options that only the swept models' protocol has are taken, refused and recorded."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from lmsteer.cli.app import entry_point
from lmsteer.errors import InputError

Job = tuple[str, Any]


def swept(folder: Path, option: str, *overrides: str) -> list[Job]:
    """Start a sweep of ``train`` whose jobs do nothing; return the model and the value of an option of each."""
    jobs: list[Job] = []

    def record(cfg: DictConfig) -> None:
        jobs.append((cfg.model.name, OmegaConf.select(cfg, option)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", *overrides, *([f"hydra.sweep.dir={folder}"] if folder.name else [])])
        entry_point("train")(record)()
    return jobs


@pytest.mark.parametrize(
    ("overrides", "models"),
    [
        (["-m", "model=gpt2,gpt2-medium"], ["gpt2", "gpt2-medium"]),
        (["-m", "model=choice(gpt2-xl,gpt2)"], ["gpt2-xl", "gpt2"]),
        (["-m", "model=glob(gpt2*)"], ["gpt2", "gpt2-large", "gpt2-medium", "gpt2-xl"]),
        (["-m", "sweep=model-size"], ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"]),
        (["sweep=model-size"], ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"]),
        (["-m", "sweep=model-size", "model=gpt2,pythia-1b"], ["gpt2", "pythia-1b"]),
        (["-m", "sweep=model-size", "model=gpt2-large"], ["gpt2-large"]),
        (["-m", "sweep=seeds", "model=gpt2"], ["gpt2"] * 3),
    ],
)
def test_a_sweep_over_models_takes_options_of_their_protocol(
    overrides: list[str], models: list[str], tmp_path: Path
) -> None:
    option = "protocol.prompts.nontoxic.n"  # the default model's protocol has no prompts of this name
    assert swept(tmp_path, option, *overrides, "steer=detox", f"{option}=10") == [(model, 10) for model in models]


def test_a_sweep_over_sizes_takes_options_of_their_protocol(tmp_path: Path) -> None:
    option = "protocol.prompts.nontoxic.n"
    jobs = swept(tmp_path, option, "-m", "size=quick,paper", "steer=detox", f"{option}=7", "model=gpt2")
    assert jobs == [("gpt2", 7)] * 2


def test_an_option_that_no_choice_has_is_refused_before_the_first_job(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as end:
        swept(tmp_path / "sweep", "seed", "-m", "model=gpt2,gpt2-medium", "protocol.prompts.nosuch.n=10")
    assert str(end.value).startswith("Error: Could not override 'protocol.prompts.nosuch.n'.")
    assert not (tmp_path / "sweep").exists()


def test_the_record_of_a_sweep_has_its_choices_as_they_were_given(tmp_path: Path) -> None:
    swept(tmp_path, "seed", "-m", "model=gpt2,gpt2-medium", "steer=detox", "protocol.prompts.nontoxic.n=10")
    overrides = yaml.safe_load((tmp_path / "multirun.yaml").read_text())["hydra"]["overrides"]["task"]
    assert overrides == ["model=gpt2,gpt2-medium", "steer=detox", "protocol.prompts.nontoxic.n=10"]


def test_the_folder_of_a_study_is_that_of_its_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of the hub choose ``size=quick``, which the name of the folder has."""
    monkeypatch.chdir(tmp_path)
    jobs = swept(Path(), "run_dir", "-m", "experiment=detox", "model=gpt2,gpt2-medium", "seed=0")
    assert [Path(folder).parent for _, folder in jobs] == [tmp_path / "runs/detox-quick"] * 2
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["detox-quick"]
    assert (tmp_path / "runs/detox-quick/multirun.yaml").is_file()


def test_failed_jobs_are_named_whatever_folders_they_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(cfg: DictConfig) -> None:
        raise InputError("no such luck")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train", "-m", "experiment=detox", "model=gpt2", "size=quick,paper", "seed=0"])
    with pytest.raises(SystemExit) as end:
        entry_point("train")(fail)()
    assert end.value.code == "Error: 2 of 2 jobs failed; the same command starts these again"
    failures = [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed: ")]
    assert [Path(line.split(": ")[1]).parent.name for line in failures] == ["detox-quick", "detox-paper"]
    assert not list((tmp_path / "runs").rglob(".jobs"))
