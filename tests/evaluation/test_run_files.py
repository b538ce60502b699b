"""Promises of the files of a run: a result is believed only next to the files that it was made of."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tests.handmade_commands import command_config, write_prompts, write_steer
from tests.handmade_runs import run_row, write_run

from lmsteer.commands.evaluate import metadata_of
from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import read_run
from lmsteer.evaluation.results import read_result, write_result
from lmsteer.evaluation.run_files import digest_of
from lmsteer.export.exporter import Export
from lmsteer.methods.method_file import add_calibrations
from lmsteer.models.language_model import LanguageModel
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer

REFUSED = r"steer\.safetensors: not the file that metrics\.json next to it was made of; fit the run again"


@pytest.fixture
def folder(tmp_path: Path, steer: Steer) -> Path:
    """A finished run with its steer."""
    run = write_run(tmp_path / "run", [run_row({"expected_maximum_toxicity": [0.1, 0.2]}, n=2)])
    steer_file = write_steer(run / "steer.safetensors", steer)
    result = read_result(run / "metrics.json")
    files = {"steer.safetensors": digest_of(steer_file)}
    write_result(run / "metrics.json", result.model_copy(update={"files": files}))
    return run


def test_the_digest_of_a_steer_is_that_of_its_weights(folder: Path) -> None:
    path = folder / "steer.safetensors"
    with safe_open(path, framework="np") as file:
        expected = b"".join(file.get_tensor(name).tobytes() for name in file.offset_keys())
    assert digest_of(path) == hashlib.sha256(expected).hexdigest()


def test_a_steer_whose_metadata_changed_later_belongs_to_its_run(folder: Path, tiny_model: LanguageModel) -> None:
    path = folder / "steer.safetensors"
    before = path.read_bytes()
    add_calibrations(path, load_steer(path)[0], lambda provenance: replace(provenance, meaning={"sentiment": "new"}))
    assert path.read_bytes() != before
    assert read_run(folder).result.files == {"steer.safetensors": digest_of(path)}
    assert Export(tiny_model, path).result == read_result(folder / "metrics.json")


def test_a_replaced_steer_is_refused_by_tables_exports_and_evaluations(
    folder: Path, steer: Steer, tiny_model: LanguageModel
) -> None:
    path = folder / "steer.safetensors"
    with torch.no_grad():
        other = Steer(steer.width, dimensions=["joy"], rank=4, init_std=1.0, seed=9)
    write_steer(path, other)
    with pytest.raises(InputError, match=REFUSED):
        read_run(folder)
    with pytest.raises(InputError, match=REFUSED):
        Export(tiny_model, path)
    generations = write_prompts(folder / "generations.jsonl", [])
    with pytest.raises(InputError, match=REFUSED):
        metadata_of(generations, dict(command_config("evaluate", f"generations={generations}", "run_dir=x")))
