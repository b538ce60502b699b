"""Promises of ``python -m src.interpret``, on a tiny model and a corpus of its own."""

import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

import lmsteer.commands.interpret as command
from lmsteer.analysis.interpretation_file import Interpretation
from lmsteer.cli.app import CONF, entry_point
from lmsteer.cli.configuration import check_config
from lmsteer.commands.interpret import KEYS, TYPES, interpret
from lmsteer.errors import InputError
from lmsteer.models.random_models import tiny
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import Provenance, save_steer

FILES = {
    ".lock",
    "config.yaml",
    "interpretation.json",
    "interpretation.md",
    "interpretation.html",
    "interpretation.png",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A steer of two dimensions, one with a dimension of zeros, a corpus, and one with labels above 0 alone."""
    folder, model = tmp_path_factory.mktemp("files"), tiny()
    steer = Steer(32, dimensions=["tone", "dummy"], rank=4, epsilon=0.05, init_std=0.5, seed=1)
    provenance = Provenance(model.name, model.head.fingerprint(), meaning={"tone": "warm"}, corpus={"name": "tone"})
    save_steer(folder / "steer.safetensors", steer, provenance)
    save_steer(folder / "other.safetensors", steer, Provenance("gpt2", "0" * 64))
    rows = [
        f"The film number {n} is {tone}\t{label}"
        for n in range(60)
        for tone, label in (("warm and funny", 0.8), ("dull and slow", -0.8))
    ]
    for name, kept in (("tone", rows), ("happy", [row for row in rows if "warm" in row])):
        (folder / f"{name}.tsv").write_text("text\tlabel\n" + "\n".join(kept) + "\n", encoding="utf-8")
    return {path.name: path for path in folder.iterdir()}


def options(files: dict[str, Path], *overrides: str) -> list[str]:
    own = ["model=tiny", "data=file", "steer.name=tone", "directions=2", "words=3", "contexts=2", "draws=2"]
    named = [f"steer_file={files['steer.safetensors']}", f"data.path={files['tone.tsv']}"]
    given = {item.split("=")[0] for item in overrides}
    return [*(item for item in (*own, *named) if item.split("=")[0] not in given), *overrides]


def composed(*overrides: str) -> Any:
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose("interpret", overrides=list(overrides))


@pytest.fixture(scope="module")
def ran(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Interpretation]:
    folder = tmp_path_factory.mktemp("run")
    return folder, interpret(composed(*options(files), f"run_dir={folder}"))


def test_the_run_leaves_its_files_and_nothing_else(ran: tuple[Path, Interpretation]) -> None:
    folder, found = ran
    assert {path.name for path in folder.iterdir()} == FILES
    assert (folder / "interpretation.png").read_bytes().startswith(b"\x89PNG")
    assert found.facts["meaning"] == "warm"
    assert (found.facts["corpus"], found.facts["part"], found.facts["fitted_on"]) == ("tone", "test", "tone")
    assert (len(found.sizes), len(found.directions), len(found.directions[0].output.plus)) == (4, 2, 3)
    assert "tone of tiny-0" in (folder / "interpretation.md").read_text(encoding="utf-8")


def test_another_run_on_the_folder_reads_nothing(
    ran: tuple[Path, Interpretation], files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = ran
    monkeypatch.setattr(command, "compute", None)
    assert interpret(composed(*options(files), f"run_dir={folder}")) == found
    with pytest.raises(InputError, match="another configuration"):
        interpret(composed(*options(files, "words=4"), f"run_dir={folder}"))


def test_every_dimension_and_part_can_be_read(files: dict[str, Path], tmp_path: Path) -> None:
    chosen = ["dimension=dummy", "part=dev", "rows=2", "vocabulary=all"]
    found = interpret(composed(*options(files, *chosen), f"run_dir={tmp_path}"))
    assert (found.facts["dimension"], found.facts["part"], found.facts["meaning"]) == ("dummy", "dev", "")
    assert (found.facts["plus"], found.facts["minus"]) == (1, 1)


def test_corpus_and_dimension_follow_attribute_and_model() -> None:
    for overrides, corpus, dimension in (
        ([], "snippets", "sentiment"),
        (["steer=detox"], "toxic_snippets", "detox"),
        (["model=gpt2", "steer=detox"], "jigsaw", "detox"),
        (["data=file", "data.path=x.tsv", "steer.name=tone"], "labelled_file", "tone"),
    ):
        config = check_config(composed("run_dir=x", "steer_file=s", *overrides), KEYS, TYPES)
        assert (config["data"]["_target_"].rpartition(".")[2], config["dimension"]) == (corpus, dimension)
        assert config["protocol"] is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["steer_file=OTHER"], "other.safetensors: fitted for model gpt2"),
        (["steer_file=none.safetensors"], "none.safetensors: no such steer file"),
        (["steer_file=null"], "steer_file=None"),
        (["dimension=mood"], "dimension=mood: the steer's dimensions are tone, dummy"),
        (["steer=detox", "steer.name=detox"], "dimension=detox: the steer's dimensions are tone, dummy"),
        (["data.path=HAPPY"], "rows with a label above 0, 0 below; both are needed"),
        (["data.path=none.tsv"], "data.path: none.tsv does not exist"),
        (["rows=1"], "rows=1: Input should be greater than or equal to 2"),
        (["part=train"], "part='train': Input should be 'test' or 'dev'"),
        (["directions=0"], "directions=0: Input should be greater"),
        (["vocabulary=some"], "vocabulary='some': Input should be 'words' or 'all'"),
    ],
)
def test_wrong_values_end_in_one_line_and_leave_nothing(
    overrides: list[str], message: str, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {"OTHER": str(files["other.safetensors"]), "HAPPY": str(files["happy.tsv"])}
    named = [item.replace("OTHER", places["OTHER"]).replace("HAPPY", places["HAPPY"]) for item in overrides]
    monkeypatch.setattr(sys, "argv", ["interpret", *options(files, *named), f"hydra.run.dir={tmp_path / 'out'}"])
    with pytest.raises(SystemExit) as caught:
        entry_point("interpret")(interpret)()
    said = str(caught.value)
    assert said.startswith("Error: ")
    assert message in said
    assert "\n" not in said
    assert not list((tmp_path / "out").glob("*"))
