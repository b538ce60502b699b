"""Promises of a sweep over methods and seeds: what does not depend on the seed, or was fitted before, is done once."""

import json
from pathlib import Path

import pytest
import yaml
from tests.handmade_commands import run_command
from tests.tone import write_tone

from lmsteer.evaluation.results import ResultRow, read_result
from lmsteer.storage.timing import read_seconds

FILES = ("method.safetensors", "generations.jsonl", "metrics.json", "values.safetensors")


def options(folder: Path) -> list[str]:
    small = ["trainer.max_steps=2", "data.batch_size=8", "data.dev_rows=8", "protocol.samples=2", "logger=none"]
    small += ["protocol.prompts.own.n=3", "protocol.strengths=[1]", "decoding.max_new_tokens=4"]
    corpus = ["model=tiny", "corpus=file", f"corpus.path={folder / 'tone.tsv'}", "steer.name=sentiment"]
    return [*corpus, *small, f"cache={folder / 'cache'}"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep over three methods and two seeds."""
    folder = tmp_path_factory.mktemp("methods")
    write_tone(folder, rows=200).rename(folder / "tone.tsv")
    grid = ["method=prompt,lora,dexperts", "seed=1,0", f"hydra.sweep.dir={folder / 'sweep'}"]
    assert run_command("train", "-m", *options(folder), *grid) == 0
    return folder


def jobs(folder: Path, method: str) -> dict[int, Path]:
    """The folders of a method's jobs, by seed."""
    found = {path.parent: yaml.safe_load(path.read_text()) for path in (folder / "sweep").glob("*/config.yaml")}
    of_method = {config["seed"]: job for job, config in found.items() if config["method"]["_target_"].endswith(method)}
    return dict(sorted(of_method.items()))


def steered(folder: Path) -> ResultRow:
    (row,) = (row for row in read_result(folder / "metrics.json").rows if row.strength)
    return row


def test_a_method_without_a_training_seed_is_measured_once_by_the_smallest(folder: Path) -> None:
    assert list(jobs(folder, "Prompt")) == [0]
    assert list(jobs(folder, "Lora")) == [0, 1]
    assert steered(jobs(folder, "Prompt")[0]).seed is None
    assert [steered(job).seed for job in jobs(folder, "Lora").values()] == [0, 1]


def test_the_table_says_so_and_gives_no_deviation(folder: Path) -> None:
    table = (folder / "sweep" / "table.md").read_text(encoding="utf-8")
    first = {line.split("|")[1].split(",")[0].strip(): line for line in reversed(table.split("\n")) if "+1" in line}
    assert "±" not in first["prompt"]
    assert first["prompt"].split("|")[2].strip() == "–"
    assert "±" in first["lora"]
    assert first["lora"].split("|")[2].strip() == "2"
    assert "One fit, without a standard deviation: the method has no training seed" in table


def test_another_seed_outside_of_the_sweep_gives_the_same_files_and_counts_as_the_same_fit(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (swept,), alone = jobs(folder, "Prompt").values(), tmp_path / "alone"
    assert run_command("train", *options(folder), "method=prompt", "seed=7", f"hydra.run.dir={alone}") == 0
    for name in FILES:
        assert (alone / name).read_bytes() == (swept / name).read_bytes(), name
    capfd.readouterr()
    assert run_command("report", f"runs=[{swept},{alone}]", "wandb=none", f"hydra.run.dir={tmp_path / 'report'}") == 0
    assert "seeds" not in capfd.readouterr().out.split("\n\n")[1]


def test_dexperts_reads_the_adapters_of_lora_and_counts_their_seconds(folder: Path, tmp_path: Path) -> None:
    assert len(list((folder / "cache").rglob("fits/*.safetensors"))) == 4  # two classes, two seeds
    for seed, job in jobs(folder, "DExperts").items():
        fit = [*options(folder)[:-1], "cache=off", "method=dexperts", f"seed={seed}"]
        assert run_command("train", *fit, f"hydra.run.dir={tmp_path / str(seed)}") == 0
        for name in FILES:
            assert (job / name).read_bytes() == (tmp_path / str(seed) / name).read_bytes(), name
        assert read_seconds(job)["fit"] > 0.5 * read_seconds(jobs(folder, "Lora")[seed])["fit"]


def test_a_second_start_measures_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    grid = ["method=prompt,lora,dexperts", "seed=1,0", f"hydra.sweep.dir={folder / 'sweep'}"]
    assert run_command("train", "-m", *options(folder), *grid) == 0
    said = capfd.readouterr().err
    assert said.count("finished already") == 5
    assert said.count("prompt has no training seed; seed=0 measures it") == 1
    assert not [path for path in (folder / "sweep").iterdir() if path.is_dir() and not any(path.iterdir())]


def test_a_choice_of_rows_by_the_seed_is_measured_for_each(folder: Path, tmp_path: Path) -> None:
    few = ["method=blacklist", "method.min_count=1", "seed=0,1", "data.rows=40,null"]
    assert run_command("train", "-m", *options(folder), *few, f"hydra.sweep.dir={tmp_path}") == 0
    results = [job / "metrics.json" for job in tmp_path.iterdir() if job.is_dir()]
    seeds = [(json.loads(path.read_text())["rows"][1]["seed"]) for path in results]
    assert sorted(map(str, seeds)) == ["0", "1", "None"]
