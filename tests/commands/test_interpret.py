"""Promises of ``python -m src.interpret``, on a tiny model and a corpus of its own."""

from pathlib import Path
from typing import Any

import pytest
from tests.handmade_commands import command_config, write_steer
from tests.tone import write_tone

import lmsteer.commands.interpret as command
from lmsteer.analysis.interpretation_file import Interpretation
from lmsteer.cli.configuration import check_config
from lmsteer.cli.options import OF_COMMAND
from lmsteer.commands.interpret import interpret
from lmsteer.errors import InputError
from lmsteer.steering.steer import Steer

FILES = {".lock", "config.yaml", *(f"interpretation.{ending}" for ending in ("json", "md", "html", "png"))}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A steer of two dimensions, one with a dimension of zeros, a corpus, and one with labels above 0 alone."""
    folder = tmp_path_factory.mktemp("files")
    steer = Steer(32, dimensions=["tone", "dummy"], rank=4, epsilon=0.05, init_std=0.5, seed=1)
    write_steer(folder / "steer.safetensors", steer, meaning={"tone": "warm"}, corpus={"name": "tone"})
    write_steer(folder / "other.safetensors", steer, model="gpt2", fingerprint="0" * 64)
    lines = write_tone(folder, rows=60).read_text().splitlines()
    (folder / "happy.tsv").write_text("\n".join(line for line in lines if "dull" not in line) + "\n")
    return {path.name: path for path in folder.iterdir()}


def options(files: dict[str, Path], *overrides: str) -> list[str]:
    defaults = ["model=tiny", "corpus=file", "steer.name=tone", "directions=2", "words=3", "contexts=2", "draws=2"]
    defaults += [f"steer_file={files['steer.safetensors']}", f"corpus.path={files['tone.tsv']}"]
    names = {item.split("=")[0] for item in overrides}
    return [*(item for item in defaults if item.split("=")[0] not in names), *overrides]


@pytest.fixture(scope="module")
def ran(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Interpretation]:
    folder = tmp_path_factory.mktemp("run")
    return folder, interpret(command_config("interpret", *options(files), f"run_dir={folder}"))


def test_the_run_leaves_its_files_and_nothing_else(ran: tuple[Path, Interpretation]) -> None:
    folder, interpretation = ran
    assert {path.name for path in folder.iterdir()} == FILES
    assert (folder / "interpretation.png").read_bytes().startswith(b"\x89PNG")
    facts, sizes, directions = interpretation.facts, interpretation.sizes, interpretation.directions
    assert (facts["meaning"], facts["corpus"], facts["part"], facts["fitted_on"]) == ("warm", "tone", "test", "tone")
    assert (len(sizes), len(directions), len(directions[0].output.plus)) == (4, 2, 3)
    assert "tone of tiny-0" in (folder / "interpretation.md").read_text(encoding="utf-8")


def test_another_run_on_the_folder_reads_nothing(
    ran: tuple[Path, Interpretation], files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, interpretation = ran
    monkeypatch.setattr(command, "compute", None)
    assert interpret(command_config("interpret", *options(files), f"run_dir={folder}")) == interpretation
    with pytest.raises(InputError, match="another configuration"):
        interpret(command_config("interpret", *options(files, "words=4"), f"run_dir={folder}"))


def test_every_dimension_and_part_can_be_read(files: dict[str, Path], tmp_path: Path) -> None:
    chosen = ["dimension=dummy", "part=dev", "rows=2", "vocabulary=all"]
    facts = interpret(command_config("interpret", *options(files, *chosen), f"run_dir={tmp_path}")).facts
    assert (facts["dimension"], facts["part"], facts["meaning"]) == ("dummy", "dev", "")
    assert (facts["plus"], facts["minus"]) == (1, 1)


def test_corpus_and_dimension_follow_attribute_and_model() -> None:
    for overrides, corpus, dimension in (
        ([], "snippets", "sentiment"),
        (["steer=detox"], "toxic_snippets", "detox"),
        (["model=gpt2", "steer=detox"], "jigsaw", "detox"),
        (["corpus=file", "corpus.path=x.tsv", "steer.name=tone"], "labeled_file", "tone"),
    ):
        composed = command_config("interpret", "run_dir=x", "steer_file=s", *overrides)
        config = check_config(composed, OF_COMMAND["interpret"])
        assert (config["corpus"]["_target_"].rpartition(".")[2], config["dimension"]) == (corpus, dimension)
        assert config["protocol"] is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["steer_file=OTHER"], "other.safetensors: fitted for model gpt2"),
        (["steer_file=none.safetensors"], "none.safetensors: no such steer file"),
        (["steer_file=null"], "steer_file=None"),
        (["steer=detox", "steer.name=detox"], "dimension=detox: the steer's dimensions are tone, dummy"),
        (["corpus.path=HAPPY"], "rows with a label above 0, 0 below; both are needed"),
        (["corpus.path=none.tsv"], "corpus.path: none.tsv does not exist"),
        (["rows=1"], "rows=1: Input should be greater than or equal to 2"),
        (["part=train"], "part='train': Input should be 'test' or 'dev'"),
        (["directions=0"], "directions=0: Input should be greater"),
        (["vocabulary=some"], "vocabulary='some': Input should be 'words' or 'all'"),
    ],
)
def test_wrong_values_end_in_one_line_and_leave_nothing(
    overrides: list[str], message: str, files: dict[str, Path], refusal: Any
) -> None:
    words = {"OTHER": files["other.safetensors"], "HAPPY": files["happy.tsv"]}
    assert message in refusal("interpret", interpret, *options(files, *overrides), **words)
