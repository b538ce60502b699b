"""Promises of the command that composes steer files, on a tiny model and random steers."""

from pathlib import Path
from typing import Any

import pytest
from tests.handmade_commands import command_config, run_command, write_steer

import lmsteer
from lmsteer.commands.compose import compose
from lmsteer.commands.generate import generate
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import read_generations
from lmsteer.reporting.interference_table import interference_table
from lmsteer.steering.composition import compose_files
from lmsteer.steering.interference import interference
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer, save_steer


@pytest.fixture
def files(tmp_path: Path) -> str:
    """Two files of one model as the option is written, and a third of another one beside them."""
    for seed, (name, attribute) in enumerate((("joy", "joy"), ("calm", "calm"), ("foreign", "joy"))):
        steer = Steer(32, dimensions=[attribute, "dummy"], rank=4, epsilon=0.1, init_std=0.5, seed=seed)
        provenance = {"model": f"model of {name}"} | ({"fingerprint": "f" * 64} if name == "foreign" else {})
        write_steer(tmp_path / f"{name}.safetensors", steer, **provenance)
    return f"{tmp_path / 'joy.safetensors'},{tmp_path / 'calm.safetensors'}"


def test_the_file_is_what_the_library_makes_and_the_table_is_shown(
    files: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compose(
        command_config("compose", f"run_dir={tmp_path / 'run'}", f"steer_files=[{files}]", "dummy=none", "energy=0.9")
    )
    assert {path.name for path in (tmp_path / "run").iterdir()} == {".lock", "config.yaml", "steer.safetensors"}
    expected, provenance = compose_files([Path(file) for file in files.split(",")], dummy="none", energy=0.9)
    save_steer(tmp_path / "expected.safetensors", expected, provenance)
    path = tmp_path / "run" / "steer.safetensors"
    assert path.read_bytes() == (tmp_path / "expected.safetensors").read_bytes()
    printed = capsys.readouterr().out
    assert interference_table(interference(load_steer(path)[0])) in printed
    for name, share in provenance.derivation["truncation"]["kept_energy"].items():
        assert f"{name} {share:.4f}" in printed
    assert "'strength={joy:3,calm:3}'" in printed


def test_a_finished_run_is_shown_again_without_its_sources_and_another_is_refused(
    files: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"hydra.run.dir={tmp_path / 'run'}", f"steer_files=[{files}]"]
    assert run_command("compose", *options) == 0
    before = capsys.readouterr().out
    for file in files.split(","):
        Path(file).unlink()
    assert run_command("compose", *options) == 0
    assert capsys.readouterr().out == before
    assert run_command("compose", *options, "dummy=none") == 1
    assert "another configuration" in capsys.readouterr().err


def test_generate_takes_the_composed_file_and_a_strength_of_each(
    files: str, tmp_path: Path, tiny_model: LanguageModel
) -> None:
    both = compose(command_config("compose", f"run_dir={tmp_path / 'run'}", f"steer_files=[{files}]"))
    (tmp_path / "prompts.jsonl").write_text('{"text": "the film is"}\n{"text": "nobody came"}\n')
    options = ["model=tiny", "decoding=greedy", "samples=1", f"prompts.path={tmp_path / 'prompts.jsonl'}"]
    options += [f"steer_file={tmp_path / 'run' / 'steer.safetensors'}", f"run_dir={tmp_path / 'texts'}"]
    generate(command_config("generate", *options, "strength={joy:3,calm:-2}"))
    written = [g.texts for g in read_generations(tmp_path / "texts" / "generations.jsonl")]
    strength = {"joy": 3.0, "calm": -2.0}
    prompts = ["the film is", "nobody came"]
    expected = lmsteer.generate(tiny_model, prompts, steer=both, strength=strength, decoding=lmsteer.Greedy())
    assert written == [g.texts for g in expected]
    alone = lmsteer.generate(tiny_model, prompts, steer=both, strength={"joy": 3.0}, decoding=lmsteer.Greedy())
    assert written != [g.texts for g in alone], "both are felt"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "steer_files: a value is needed"),
        (["steer_files=[]"], "steer_files=[]: List should have at least 1 item"),
        (["steer_files=a.safetensors"], "steer_files='a.safetensors': Input should be a valid"),
        (["steer_files=[missing.safetensors]"], "missing.safetensors: no such steer file"),
        (["steer_files=[FILES]", "dummy=null"], "dummy=None: Input should be a valid string"),
        (["steer_files=[FILES]", "rank=9"], "rank=9: an integer in [1, 8] expected"),
        (["steer_files=[FILES]", "rank=1.5"], "rank=1.5: Input should be a valid integer"),
        (["steer_files=[FILES,FOREIGN]"], "was fitted for model model of joy"),
        (["steer_files=[FILES]", "+model=tiny"], "model: unknown option"),
    ],
)
def test_bad_input_gets_one_clear_line_and_leaves_nothing(
    overrides: list[str], message: str, files: str, tmp_path: Path, refusal: Any
) -> None:
    foreign = tmp_path / "foreign.safetensors"
    assert message in refusal("compose", compose, *overrides, FILES=files, FOREIGN=foreign)
