"""Promises of the commands of all studies: their options are checked, and wrong values end in one line."""

import json
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from tests.handmade_commands import STUDIES, study_config, write_steer

from experiments.behaviours import run as behaviours
from experiments.composition import run as composition
from experiments.export import run as export
from experiments.highlighting import run as highlighting
from experiments.one_pass import run as one_pass
from experiments.scorers import run as scorers
from experiments.speed import run as speed
from experiments.transfer import run as transfer
from lmsteer.cli.app import CONF
from lmsteer.cli.configuration import OBJECTS, check_config
from lmsteer.cli.options import COMMON, OF_COMMAND
from lmsteer.data.corpus import Corpus
from lmsteer.steering.steer import Steer

COMMANDS: dict[str, Any] = {
    "behaviours": (behaviours.compare_rules, behaviours.TYPES),
    "composition": (composition.measure_composition, composition.TYPES),
    "export": (export.compare_export, export.TYPES),
    "highlighting": (highlighting.highlighting, highlighting.TYPES),
    "one_pass": (one_pass.one_pass, one_pass.TYPES),
    "scorers": (scorers.compare_scorers, scorers.TYPES),
    "speed": (speed.speed, speed.TYPES),
    "transfer": (transfer.compare_steers, transfer.TYPES),
}
NEEDED = {
    "behaviours": ["answers=a"],
    "composition": ["steer_files=[a,b]"],
    "export": ["steer_file=a", "strength=5"],
    "highlighting": ["steer_file=a"],
    "one_pass": [],
    "scorers": ["path=a"],
    "speed": ["model=gpt2-large-shaped"],
    "transfer": ["steers={states: a}"],
}
EXPERIMENTS = sorted(STUDIES.glob("*/experiment/*.yaml"))


def test_every_study_with_a_configuration_is_here() -> None:
    assert set(COMMANDS) == {path.parent.name for path in STUDIES.glob("*/config.yaml")}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_options_of_the_configuration_are_those_that_the_command_reads(name: str) -> None:
    _, types = COMMANDS[name]
    config = check_config(study_config(name, "run_dir=x", *NEEDED[name]), types)
    assert set(config) == {*types, *({*COMMON, *OBJECTS} & {*config})}


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_of_a_study_is_a_sweep_of_train_that_composes(path: Path) -> None:
    with initialize_config_dir(CONF, version_base="1.3"):
        chosen = [f"hydra.searchpath=[file://{path.parents[1]}]", f"experiment={path.stem}", "run_dir=x"]
        settings = compose("train", overrides=chosen, return_hydra_config=True).hydra
        assert settings.mode is not None
        for index in (0, -1):
            values = [f"{name}={values.split(',')[index]}" for name, values in settings.sweeper.params.items()]
            check_config(compose("train", overrides=[*chosen, *values]), OF_COMMAND["train"])


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Two steers of the tiny model and stored scores, by the names in the overrides below."""
    for name in ("JOY", "CALM"):
        write_steer(tmp_path / f"{name}.safetensors", Steer(32, dimensions=[name.lower()], rank=4))
    lines = [{"prompt": {"text": f"text {n}", "toxicity": n / 9}} for n in range(10)]
    (tmp_path / "SCORES.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return {path.stem: str(path) for path in tmp_path.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("composition", ["steer_files=[JOY]"], "steer_files=['JOY']: List should have at least 2 items"),
        ("composition", ["steer_files=[a.safetensors,b]"], "a.safetensors: no such steer file"),
        ("composition", ["steer_files=[JOY,CALM]", "toxicity=5"], "toxicity=5: Input should be an object"),
        ("composition", ["steer_files=[JOY,CALM]", "protocol.strengths=[0]"], "protocol.strengths=[0]"),
        ("composition", ["steer_files=[JOY,CALM]", "rank=9"], "rank=9: an integer in [1, 4]"),
        (
            "composition",
            ["steer_files=[JOY,CALM]", "model.seed=1"],
            "fitted for model tiny-0 (width 32), not for tiny-1",
        ),
        ("behaviours", [], "answers: a value is needed"),
        ("behaviours", ["answers=nowhere"], "answers: cannot read nowhere/questions.json (FileNotFoundError)"),
        ("behaviours", ["answers=x", "rules=[sums]"], "rules=['sums']: Input should be 'sum', 'added factors'"),
        ("behaviours", ["answers=x", "strengths.sum=[]"], "List should have at least 1 item"),
        ("behaviours", ["answers=x", "strengths.sum=[0]"], "Input should be greater than 0"),
        ("behaviours", ["answers=x", "density=2"], "density=2: Input should be less than or equal to 1"),
        ("behaviours", ["answers=x", "combinations.pairs=0"], "Input should be greater than or equal to 1"),
        ("transfer", [], "steers: a value is needed"),
        ("transfer", ["steers={}"], "steers={}: Dictionary should have at least 1 item"),
        ("transfer", ["steers={states: nowhere}"], "nowhere: no such steer file"),
        ("highlighting", [], "steer_file: a value is needed"),
        ("highlighting", ["steer_file=none.safetensors"], "none.safetensors: no such steer file"),
        ("highlighting", ["steer_file=JOY", "draws=0"], "draws=0: Input should be greater than or equal to 1"),
        ("highlighting", ["steer_file=JOY", "strength=0"], "strength=0: Input should be greater than 0"),
        ("scorers", [], "path: a value is needed"),
        ("scorers", ["path=nowhere.jsonl"], "cannot read nowhere.jsonl"),
        ("scorers", ["path=SCORES", "scorer@scorers=[perspective]"], "Could not load 'scorer/perspective'"),
        ("scorers", ["path=SCORES", "scorers=5"], "scorers=5: Input should be an object"),
        ("scorers", ["path=SCORES", "+scorers.mine=5"], "'mine': 5}: choices in conf/scorer expected"),
        ("scorers", ["path=SCORES", "scorers.word-list.nmae=x"], "Could not override 'scorers.word-list.nmae'"),
        ("scorers", ["path=SCORES", "scorer@scorers=[replay]"], "scorers.replay.path: a value is needed"),
    ],
)
def test_wrong_values_end_in_one_line_and_leave_nothing(
    name: str, overrides: list[str], message: str, files: dict[str, str], refusal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(highlighting, "snippets", lambda: Corpus("snippets", ()))
    defaults = ["cache=off"]
    if name == "behaviours":
        defaults += ["model=tiny"]
    elif name != "scorers":
        option = "scorers" if name == "highlighting" else "protocol.scorers"
        defaults += ["model=tiny", f"scorer@{option}=[alt-profanity-check]"]
    error = refusal(f"experiments/{name}", COMMANDS[name][0], *defaults, *overrides, **files)
    assert message.replace("JOY", files["JOY"]) in error
