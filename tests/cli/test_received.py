"""Promises of the configuration of a run folder from somebody else: it is data."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from tests.handmade_commands import run_command

from lmsteer.cli.app import CONF
from lmsteer.cli.received import ALLOWED, check_received, read_received_config
from lmsteer.errors import InputError

RECORDED_GROUPS = ("behaviour", "corpus", "model", "prompts", "protocol", "scorer")


def test_what_a_run_records_may_be_built_and_nothing_else() -> None:
    files = [path for group in RECORDED_GROUPS for path in (Path(CONF) / group).glob("*.yaml")]
    named = {target for path in files for target in re.findall(r"_target_: (\S+)", path.read_text(encoding="utf-8"))}
    assert named <= ALLOWED
    assert named | {"lmsteer.models.random_models.gpt2_shaped"} == ALLOWED


@pytest.mark.parametrize(
    ("node", "entry"),
    [
        ({"_target_": "os.system", "command": "touch ran"}, r"protocol\._target_=os\.system: not built"),
        ({"_target_": "joblib.load", "filename": "x"}, r"protocol\._target_=joblib\.load"),
        ({"scorers": {"a": {"_target_": "lmsteer.cli.app.command"}}}, r"protocol\.scorers\.a\._target_=lmsteer\.cli"),
        ({"scorers": [{"_target_": "subprocess.run"}]}, r"protocol\.scorers\.0\._target_=subprocess\.run"),
        ({"_target_": ["os.system"]}, r"protocol\._target_"),
        ({"_args_": ["x"]}, r"protocol\._args_: not read"),
        ({"name": "${oc.env:HOME}"}, r"protocol\.name=.*no interpolation is resolved"),
        ({"scorers": {"a": {"checkpoint": "weights.ckpt"}}}, r"protocol\.scorers\.a\.checkpoint=.*may hold a pickle"),
    ],
)
def test_what_could_run_code_or_read_the_environment_is_refused_by_name(node: object, entry: str) -> None:
    with pytest.raises(InputError, match=rf"config\.yaml: {entry}"):
        check_received({"protocol": node}, Path("config.yaml"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &x [1, 1]\nb: [*x, *x]\n", "aliases, which no run writes"),
        ("x: y\n" * 300_000, "more than 262144 bytes"),
        ("!!python/object/apply:os.system [touch ran]", "could not determine a constructor"),
        ("[" * 100_000, "more than 1000 brackets"),
        ("- 1\n", "the configuration of a run is expected"),
        ("a: [\n", "cannot be read"),
    ],
)
def test_a_configuration_that_no_run_writes_is_refused_in_one_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=reason) as caught:
        read_received_config(path)
    assert "\n" not in str(caught.value)


def test_rescoring_by_a_hostile_run_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], hostile_run: Path
) -> None:
    others = hostile_run / "generations.jsonl"
    options = [
        f"runs={hostile_run}",
        f"rescore={{others: {others}}}",
        "wandb=none",
        f"hydra.run.dir={tmp_path / 'out'}",
    ]
    assert run_command("report", *options) == 1
    assert "_target_=os.system: not built from a run folder" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def hostile_run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    shutil.copytree(Path(__file__).parents[1] / "fixtures" / "version_1" / "run", folder)
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    config["protocol"] = {"_target_": "os.system", "command": f"touch {tmp_path / 'ran'}"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder
