"""Promises of files that version 1 wrote: each means today what it meant then.

The files in ``fixtures/version_1`` were written by version 1 and are never written again.
"""

import json
import shutil
from pathlib import Path

import hydra.utils
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file
from tests.reporting.test_interpretation_report import handmade

from lmsteer import old_files
from lmsteer.analysis.interpretation_file import read_interpretation
from lmsteer.errors import InputError
from lmsteer.evaluation.results import read_result
from lmsteer.records import read_generations
from lmsteer.runs.run import Run
from lmsteer.steering.steer_file import load_steer, save_steer

VERSION_1 = Path(__file__).parent / "fixtures" / "version_1"
RUNS = ("run", "run_one_pass")


@pytest.mark.parametrize("name", [*RUNS, "full"])
def test_an_old_steer_moves_hidden_states_as_its_tensors_say(name: str) -> None:
    path = VERSION_1 / name / "steer.safetensors"
    tensors, (steer, _) = load_file(path), load_steer(path)
    hidden_ND = torch.randn(5, steer.width, generator=torch.Generator().manual_seed(0))
    strength_1K = torch.tensor([[2.0, *[1.0] * (len(steer.dimensions) - 1)]])
    first = tensors["first"]
    matrix_KDD = first @ tensors["second"].mT if "second" in tensors else first  # a full steer has one factor
    move_KND = hidden_ND @ matrix_KDD
    if "constant" in tensors:
        move_KND = move_KND + tensors["constant"][:, None]
    expected_ND = hidden_ND + steer.epsilon * (strength_1K[0][:, None, None] * move_KND).sum(0)
    torch.testing.assert_close(steer(hidden_ND, strength_1K), expected_ND, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [*RUNS, "full"])
def test_an_old_steer_saved_anew_is_the_same_steer(name: str, tmp_path: Path) -> None:
    steer, provenance = load_steer(VERSION_1 / name / "steer.safetensors")
    save_steer(tmp_path / "steer.safetensors", steer, provenance)
    again, told = load_steer(tmp_path / "steer.safetensors")
    assert told == provenance
    assert set(load_file(tmp_path / "steer.safetensors")) <= {"p1", "p2", "bias"}
    for key, value in steer.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])


@pytest.mark.parametrize("name", RUNS)
def test_old_texts_keep_their_likelihoods(name: str) -> None:
    path = VERSION_1 / name / "generations.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for line, read in zip(lines, read_generations(path), strict=True):
        assert read.perplexity_model == line["judge"]
        nlls = [None if likelihood is None else likelihood.nll for likelihood in read.likelihoods]
        assert [one.get("nats") for one in line["generations"]] == nlls


@pytest.mark.parametrize("name", RUNS)
def test_an_old_result_keeps_its_numbers(name: str) -> None:
    path = VERSION_1 / name / "metrics.json"
    stored, result = json.loads(path.read_text(encoding="utf-8")), read_result(path)
    assert len(result.rows) == len(stored["rows"])
    assert result.protocol["perplexity_model"] == stored["protocol"]["judge"]
    assert not {"judge", "judge_revision", "judge_is_the_unsteered_model"} & set(result.protocol)


@pytest.mark.parametrize("name", [*RUNS, "full"])
def test_every_target_of_an_old_configuration_exists_that_is_still_read(name: str) -> None:
    """How a finished steer was to be fitted, nobody reads there: its own file says how it was."""
    text = old_files.config((VERSION_1 / name / "config.yaml").read_text(encoding="utf-8"))
    config = OmegaConf.to_container(OmegaConf.create(text))
    assert isinstance(config, dict)
    read = OmegaConf.to_yaml({key: config[key] for key in ("model", "protocol", "decoding") if key in config})
    targets = [line.split(": ")[1] for line in read.splitlines() if "_target_: " in line]
    assert len(targets) > 1
    for target in targets:
        hydra.utils.get_object(target)
    assert "judge" not in str(OmegaConf.to_container(OmegaConf.create(text)))


@pytest.mark.parametrize(("name", "solver"), [("run", "gradient"), ("run_one_pass", "one_pass")])
def test_an_old_solver_has_its_present_name_in_steers_and_results(name: str, solver: str) -> None:
    assert load_steer(VERSION_1 / name / "steer.safetensors")[1].settings()["solver"] == solver
    steered = [row for row in read_result(VERSION_1 / name / "metrics.json").rows if not row.is_plain]
    assert {row.settings["solver"] for row in steered} == {solver}


def test_every_renamed_target_leads_to_an_object() -> None:
    for target in old_files.TARGETS.values():
        assert callable(hydra.utils.get_object(target))


def test_a_folder_of_version_1_is_recognized_by_its_own_configuration_alone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(VERSION_1 / "run", folder)
    config = old_files.config((folder / "config.yaml").read_text(encoding="utf-8"))
    assert Run(folder, config).config == config
    with pytest.raises(InputError, match="another configuration"):
        Run(folder, config.replace("epsilon: 0.05", "epsilon: 0.06"))


def test_a_configuration_of_today_stays_as_it_is() -> None:
    config = "model:\n  _target_: lmsteer.models.load.smollm2\nprotocol:\n  perplexity_model: null\n"
    assert old_files.config(config) == config


def test_an_old_interpretation_has_the_values_of_todays(tmp_path: Path) -> None:
    interpretation = handmade().model_dump(mode="json")
    record = json.dumps(interpretation)
    (tmp_path / "old.json").write_text(record.replace('"cumulative_auc"', '"kept"').replace('"as_constant"', '"alike"'))
    assert read_interpretation(tmp_path / "old.json").model_dump(mode="json") == interpretation
