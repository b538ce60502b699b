"""Every documented command that names a model of the hub runs, and its second run needs no request."""

import json
import math
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.hub.data_sets import sst5, toxicity_prompts
from tests.hub.made_up_text import sentences
from tests.hub.reduced import COMMANDS, EXPERIMENTS, FETCHES, PROCESSES, documented
from tests.hub.user import Ended, Machine, User

Measured = Callable[[str, Ended, Ended], None]
DETOX_SCORERS = {"deberta-rtp", "detoxify-original", "detoxify-unbiased", "alt-profanity-check", "word-list"}
SENTIMENT_SCORERS = {"distilbert-sst2", "tfidf-snippets"}


def test_every_documented_command_is_among_them() -> None:
    assert documented() <= COMMANDS.keys() | EXPERIMENTS.keys() | PROCESSES.keys() | set(FETCHES)
    assert len(documented()) >= 14


@pytest.fixture(scope="session")
def files(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What stands for the placeholders and the files of the documented commands."""
    folder = tmp_path_factory.mktemp("files")
    head = {repository.id: repository.commits[repository.head] for repository in (sst5(), toxicity_prompts())}
    (folder / "nontoxic.jsonl").write_bytes(
        b"".join(head["allenai/real-toxicity-prompts"]["prompts.jsonl"].content.splitlines(keepends=True)[:12])
    )
    (folder / "sst5.jsonl").write_bytes(head["SetFit/sst5"]["train.jsonl"].content)
    (folder / "texts.txt").write_text("\n".join(sentences(60, seed=70)))
    for name, width in (("large", 48), ("medium", 40)):
        state = {f"projector{n}": torch.randn(2, width, 4) for n in (1, 2)}
        torch.save(state if name == "medium" else [_reference_options(), state, 1000], folder / f"{name}.pt")
    short = ["logger=none", "trainer.max_steps=2", "data.rows=50", "data.dev_rows=20"]
    User(machine, folder / "user").run("train", "protocol=none", *short, *_run(folder / "run")).succeeded()
    return {
        "ORG/NAME-or-folder": "EleutherAI/pythia-410m",
        "FILE-or-folder": str(folder / "sst5.jsonl"),
        "nontoxic_prompts-10k.jsonl": str(folder / "nontoxic.jsonl"),
        "FILE.txt": str(folder / "texts.txt"),
        "FILE.pt": str(folder / "{size}.pt"),
        "RUN/": f"{folder}/run/",
    }


def _reference_options() -> Namespace:
    """The options that the reference implementation writes into a checkpoint."""
    options = {"model_name": "gpt2-large", "adaptor_class": "multiply", "adapted_component": "final_layer"}
    numbers = {"epsilon": 0.05, "rank": 4, "num_steers": 2, "n_steps": 1000, "batch_size": 32, "lr": 1e-2, "seed": 3}
    others = {"dataset_name": "toxicity", "data_dir": "there", "training_steer": 0, "dummy_steer": 1, "cuda": True}
    return Namespace(**options, **numbers, **others, steer_values=[5.0, 1.0])


def _run(folder: Path) -> list[str]:
    return [f"hydra.run.dir={folder}"]


def words_of(command: str, files: dict[str, str]) -> list[str]:
    """The words of a command, with files for its placeholders."""
    for placeholder, path in files.items():
        command = command.replace(placeholder, path)
    return command.replace("{size}", "medium" if "gpt2-medium" in command else "large").split(" ")


def without(words: list[str], options: list[str]) -> list[str]:
    """The words but those that an option sets again."""
    again = {option.partition("=")[0] for option in options}
    return [word for word in words if word.partition("=")[0] not in again or "=" not in word]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs_and_its_second_run_makes_no_request(
    command: str, user: User, files: dict[str, str], tmp_path: Path, measured: Measured
) -> None:
    name, *words = words_of(command, files)
    words = [*without(words, COMMANDS[command]), *COMMANDS[command]]
    first = user.run(name, *words, *_run(tmp_path / "first")).succeeded()
    second = user.run(name, *words, *_run(tmp_path / "second")).succeeded()
    measured(command, first, second)
    assert first.requests
    assert not second.requests
    assert (tmp_path / "first" / "steer.safetensors").is_file()
    same(tmp_path / "first", tmp_path / "second")


def same(first: Path, second: Path) -> None:
    """Both folders have the same steer, and the same result if they have one."""
    steers = [load_file(folder / "steer.safetensors") for folder in (first, second)]
    assert steers[0].keys() == steers[1].keys()
    assert all(torch.equal(steers[0][name], steers[1][name]) for name in steers[0])
    results = [folder / "metrics.json" for folder in (first, second)]
    assert results[0].is_file() == results[1].is_file()
    if results[0].is_file():
        assert rows(results[0].parent) == rows(results[1].parent)


def rows(folder: Path) -> list[Any]:
    """The rows of a result."""
    return list(json.loads((folder / "metrics.json").read_text())["rows"])


def scorers(folder: Path) -> set[str]:
    """Names of the scorers in a result."""
    return set(json.loads((folder / "metrics.json").read_text())["protocol"]["scorers"])


@pytest.mark.parametrize("command", EXPERIMENTS)
def test_an_experiment_ends_in_a_table_and_its_second_run_makes_no_request(
    command: str, user: User, files: dict[str, str], tmp_path: Path, measured: Measured
) -> None:
    name, *words = words_of(command, files)
    words = [*without(words, EXPERIMENTS[command]), *EXPERIMENTS[command]]
    first = user.run(name, *words, f"hydra.sweep.dir={tmp_path / 'first'}").succeeded()
    again = user.run(name, *words, f"hydra.sweep.dir={tmp_path / 'first'}").succeeded()
    measured(command, first, again)
    assert first.requests
    assert not again.requests
    runs = [path.parent for path in (tmp_path / "first").rglob("metrics.json")]
    lists = [word.partition("=")[2].split(",") for word in words if "," in word and "[" not in word]
    assert len(runs) == math.prod(map(len, lists))
    expected = SENTIMENT_SCORERS if "positivity" in json.dumps(rows(runs[0])) else DETOX_SCORERS
    assert all(scorers(run) == expected for run in runs)
    table = (tmp_path / "first" / "table.md").read_text()
    assert "plain" in table
