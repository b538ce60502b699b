"""Promises of the files of methods from strangers: they are data, and a wrong kind is refused in one line."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.conftest import build_lm
from tests.methods.conftest import METHODS, fit
from tests.steering.test_metadata import KINDS, places
from torch import Tensor

import lmsteer
from lmsteer.errors import InputError
from lmsteer.generation.decoding import decode
from lmsteer.generation.sampling import Greedy
from lmsteer.methods.layer_vector import DiffMean
from lmsteer.methods.learned_method import LearnedMethod
from lmsteer.methods.method_file import check_loadable, load_controller, save_method
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.runs.stages import settings_of
from lmsteer.steering.provenance import METHOD_KEY, Provenance
from lmsteer.steering.steer_file import load_steer

OWN = ("method", "attribute", "options", "values")
"""Entries that differ from method to method; the others are those of every file."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of every method, fitted for the tiny model."""
    folder, model = tmp_path_factory.mktemp("files"), tiny()
    entry = {"protocol": "p", "budget": "kl 0.3", "dimension": "tone", "direction": 1, "fixed_strengths": {}}
    provenance = Provenance(
        model=model.name,
        fingerprint=model.head.fingerprint(),
        corpus={"name": "toy"},
        versions={"torch": "2"},
        training={"curve": {"train": [[1, 2.0]]}, "curves": {"a": {"dev": [[1, 2.0]]}}, "seen": {"rows": 3}},
        calibration=[{**entry, "strength": 3.0}],
    )
    paths = {}
    for name, method in METHODS.items():
        paths[name] = folder / f"{name}.safetensors"
        save_method(paths[name], fit(method, model), provenance)
    return paths


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_library_generates_with_the_file_of_any_method(files: dict[str, Path], name: str) -> None:
    model = tiny()
    controller, _ = lmsteer.load_controller(files[name], model)
    options: dict[str, Any] = {"decoding": Greedy(max_new_tokens=4)}
    (written,) = lmsteer.generate(model, ["the film"], steer=controller, strength={"tone": 2.0}, **options)
    ids = decode(model, controller.at(model, {"tone": 2.0}), ["the film"], np.zeros(1, np.uint64), options["decoding"])
    assert list(written.texts) == model.tokenizer.batch_decode(ids.ids_BT)
    with pytest.raises(InputError, match="a strength for each prompt needs a steer"):
        lmsteer.generate(model, ["the film"], steer=controller, strength=[{"tone": 2.0}])


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(path, framework="pt") as file:
        return load_file(path), json.loads(file.metadata()[METHOD_KEY])


def write(path: Path, tensors: dict[str, Tensor], metadata: object) -> Path:
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    save_file(tensors, path, metadata={METHOD_KEY: text})
    return path


def use(path: Path, model: LanguageModel) -> None:
    """Read a file and do with it what commands do."""
    fitted, provenance = load_controller(path, model)
    settings_of(fitted, provenance)
    assert fitted.trained_parameters >= fitted.held_parameters({fitted.dimensions[0]: 1.0})
    for strength in (1.0, -2.0):
        mixture = fitted.at(model, {fitted.dimensions[0]: strength})
        decode(model, mixture, ["The film"], np.zeros(1, np.uint64), Greedy(max_new_tokens=2))


def forged(metadata: dict[str, Any], *, everything: bool) -> Iterator[dict[str, Any]]:
    """The metadata with one entry of every kind, or none, in place of each that there is."""
    for path in places(metadata):
        if not everything and path[0] not in OWN:
            continue
        for value in (*KINDS, KeyError):
            changed = copy.deepcopy(metadata)
            node: Any = changed
            for key in path[:-1]:
                node = node[key]
            if value is KeyError:
                del node[path[-1]]
            else:
                node[path[-1]] = value
            yield changed


@pytest.mark.parametrize("name", list(METHODS))
def test_entries_of_every_wrong_kind_are_read_or_refused_in_one_line(
    files: dict[str, Path], name: str, tmp_path: Path
) -> None:
    tensors, metadata = read(files[name])
    model, refused = tiny(), list[str]()
    cases = [*KINDS, *forged(metadata, everything=name == "prompt")]
    for case in cases:
        try:
            use(write(tmp_path / "method.safetensors", tensors, case), model)
        except InputError as error:
            refused.append(str(error))
    assert len(cases) > (400 if name == "prompt" else 60)
    assert len(refused) > len(cases) / 2
    assert not any("\n" in line for line in refused)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{", "its 'lmsteer-method' metadata is not JSON"),
        ("[" * 200_000, "its 'lmsteer-method' metadata is not JSON"),
        ("[1]", "its 'lmsteer-method' metadata is no object"),
        ('{"format": 1, "attribute": "\\ud800"}', "its 'lmsteer-method' metadata is not JSON"),
        ('{"format": 99}', "another format; this version reads format 1"),
        ('{"format": 1, "method": 3}', "method: str expected"),
    ],
)
def test_metadata_that_no_program_wrote_is_refused(text: str, line: str, tmp_path: Path) -> None:
    path = write(tmp_path / "method.safetensors", {"x": torch.zeros(1)}, text)
    with pytest.raises(InputError, match=rf"method\.safetensors: .*{line}"):
        load_controller(path, tiny())


@pytest.mark.parametrize(
    ("name", "change", "line"),
    [
        ("prompt", {"values": {"negative": "a "}}, "values: positive: str expected"),
        ("prompt", {"values": {"positive": "", "negative": "a "}}, "positive: a prefix expected"),
        ("contrast", {"values": {"positive": "a " * 200, "negative": "a "}}, "exceeds the context of tiny-0, 128"),
        (
            "blacklist",
            {"values": {"words of positive rows": [1, 2], "words of negative rows": ["a"]}},
            r"values: words of positive rows: list\[str\] expected",
        ),
        (
            "blacklist",
            {"values": {"words of positive rows": [], "words of negative rows": ["a"]}},
            "words of 1 to 128 tokens of tiny-0 expected",
        ),
        (
            "blacklist",
            {"values": {"words of positive rows": ["a"], "words of negative rows": ["a" * 3000]}},
            "words of 1 to 128 tokens of tiny-0 expected",
        ),
        ("diffmean", {"values": {"layer": -1}}, "a vector of width 32 for a layer from 0 to 1 expected"),
        ("diffmean", {"values": {"layer": 2}}, "a layer from 0 to 1 expected"),
        ("diffmean", {"values": {"layer": 1.0}}, "values: layer: int expected"),
        ("residual_vector", {"values": {}}, "values: layer: int expected"),
        (
            "lora",
            {"options": {"rank": 3}},
            r"an expert without positive\..* of shape \(3, 32",
        ),
        ("lora", {"options": {"rank": -1}}, r"options: method\.rank=-1: a finite number above 0 expected"),
        ("lora", {"options": {"rank": 10**12}}, r"method\.rank=10{12}: an integer in \[1, 32\] expected for tiny-0"),
        ("lora", {"options": {"alpha": 10**400}}, "options: int too large to convert to float"),
        ("lora", {"options": {"code": "x"}}, "options: method lora has no code"),
        ("lora", {"options": {"lr": "fast"}}, "options: lr: float \| None expected"),
        ("dexperts", {"options": {"form": "half"}}, r"options: form: Literal\['lora', 'anti_only', 'full'\] expected"),
        ("logit_offset", {"options": {"dummy": False}}, r"offsets of shape \(1, 384\) expected, which tiny-0 needs"),
        ("logit_offset", {"options": {"epsilon": 0}}, r"options: method\.epsilon=0\.0: a finite number above 0"),
        ("prompt", {"method": "os.system"}, "method 'os.system' is unknown; prompt, contrast, blacklist, "),
        ("prompt", {"method": "lm-steer"}, "method 'lm-steer' is unknown"),
        ("prompt", {"fingerprint": "f"}, "fitted for model tiny-0, whose weights are not those of tiny-0"),
    ],
)
def test_what_a_method_cannot_use_is_named(
    files: dict[str, Path], name: str, change: dict[str, Any], line: str, tmp_path: Path
) -> None:
    tensors, metadata = read(files[name])
    path = write(tmp_path / "method.safetensors", tensors, metadata | change)
    with pytest.raises(InputError, match=rf"^{tmp_path}/method\.safetensors: .*{line}") as caught:
        load_controller(path, tiny())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["logit_offset", "lora", "dexperts", "diffmean", "residual_vector"])
def test_weights_that_are_no_numbers_or_of_another_shape_are_refused(
    files: dict[str, Path], name: str, tmp_path: Path
) -> None:
    tensors, metadata = read(files[name])
    key = min(tensors)
    broken = {
        "no finite floating-point numbers": tensors[key].flatten().index_fill(0, torch.tensor([0]), torch.nan),
        "no finite floating-point": tensors[key].to(torch.int32),
        "expected|which tiny-0 needs": tensors[key].flatten()[:3],
    }
    for line, tensor in broken.items():
        with pytest.raises(InputError, match=line):
            load_controller(write(tmp_path / "method.safetensors", tensors | {key: tensor.clone()}, metadata), tiny())
    expected = "expected|which tiny-0 needs"
    others = {other: tensor for other, tensor in tensors.items() if other != key} or {"x": torch.zeros(1)}
    with pytest.raises(InputError, match=expected):
        load_controller(write(tmp_path / "method.safetensors", others, metadata), tiny())
    data = files[name].read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_controller(tmp_path / "cut.safetensors", tiny())


def test_files_of_another_model_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    wider = tiny(width=64)
    for path in files.values():
        with pytest.raises(InputError, match="fitted for model tiny-0, whose weights are not those of tiny-0"):
            load_controller(path, wider)
    for name in ("lora", "dexperts", "diffmean", "residual_vector"):  # and by its shapes, whatever it calls itself
        tensors, metadata = read(files[name])
        path = write(tmp_path / "a.safetensors", tensors, metadata | {"fingerprint": wider.head.fingerprint()})
        with pytest.raises(InputError, match=r"which tiny-0 needs|a vector of width 64"):
            load_controller(path, wider)


def test_an_adapter_for_modules_that_a_model_lacks_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    gpt2 = LanguageModel(build_lm("gpt2"), tiny().tokenizer, name="gpt2")
    for name in ("lora", "dexperts"):
        tensors, metadata = read(files[name])
        path = write(tmp_path / "a.safetensors", tensors, metadata | {"fingerprint": gpt2.head.fingerprint()})
        with pytest.raises(InputError, match=r"an expert without positive\.\S+ of shape .*, which gpt2 needs"):
            load_controller(path, gpt2)


def test_a_command_for_steers_says_that_a_file_is_of_another_method(files: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="the file of another method; the steer file of an LM-Steer expected"):
        load_steer(files["lora"])


def test_a_method_that_could_not_be_read_again_is_refused_before_the_work() -> None:
    class Unknown(DiffMean):
        name = "mine"

    class Taken(DiffMean):
        pass

    with pytest.raises(InputError, match=r"method 'mine' is unknown; .* or an entry point lmsteer\.methods expected"):
        check_loadable(Unknown())
    with pytest.raises(InputError, match=r"method 'diffmean' is lmsteer\.methods\.layer_vector\.DiffMean; another"):
        check_loadable(Taken())
    for method in METHODS.values():
        check_loadable(method)


@pytest.mark.parametrize("name", list(METHODS))
def test_every_value_that_a_method_stores_has_a_kind(files: dict[str, Path], name: str) -> None:
    method: LearnedMethod = METHODS[name]
    assert read(files[name])[1]["values"].keys() == method.value_kinds.keys()
