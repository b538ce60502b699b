"""Promises of bad input to a method: one clear line, and nothing is written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.handmade_commands import write_prompts
from tests.methods.conftest import METHODS, fit
from tests.tone import write_tone

from lmsteer.commands.calibrate import calibrate
from lmsteer.commands.compose import compose
from lmsteer.commands.export import export
from lmsteer.commands.generate import generate
from lmsteer.commands.highlight import highlight
from lmsteer.commands.interpret import interpret
from lmsteer.commands.train import train
from lmsteer.commands.transfer import transfer
from lmsteer.methods.method_file import METHODS as CLASSES
from lmsteer.methods.method_file import save_method
from lmsteer.models.random_models import tiny
from lmsteer.steering.provenance import METHOD_KEY, Provenance

Refusal = Callable[..., str]
PREFIXES = ["method.positive='warm '", "method.negative='dull '"]
LONG = "very " * 29
"""116 tokens of the tiny model, whose context is 128."""


@pytest.fixture(scope="module")
def corpus_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tone(tmp_path_factory.mktemp("corpus"), rows=300)


@pytest.fixture(scope="module")
def method_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of every method, fitted for the tiny model."""
    folder, model = tmp_path_factory.mktemp("methods"), tiny()
    provenance = Provenance(model=model.name, fingerprint=model.head.fingerprint())
    for name, method in METHODS.items():
        save_method(folder / f"{name}.safetensors", fit(method, model), provenance)
    return folder


def options(corpus_file: Path) -> list[str]:
    return ["model=tiny", "corpus=file", f"corpus.path={corpus_file}", "steer.name=tone", "logger=none", "cache=off"]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["method=nonsense"], "'method/nonsense'"),
        (["method=lora", "method.rank=0"], "method.rank=0: a finite number above 0 expected"),
        (["method=lora", "method.rank=1.5"], "method.rank=1.5: Input should be a valid integer"),
        (["method=lora", "method.rank=99"], "method.rank=99: an integer in [1, 32] expected for tiny-0"),
        (["method=lora", "method.alpha=-1"], "method.alpha=-1: a finite number above 0 expected"),
        (["method=lora", "method.lr=nan"], "method.lr=nan: a finite number above 0 expected"),
        (["method=lora", "+method.layer=1"], "method.layer: unknown option; allowed are rank, alpha, lr"),
        (["method=dexperts", "method.form=half"], "method.form='half': Input should be 'lora', 'anti_only' or 'full'"),
        (["method=diffmean", "method.layer=2"], "method.layer=2: model tiny-0 has layers 0 to 1"),
        (["method=diffmean", "method.layer=middle"], "method.layer='middle': Input should be a valid integer"),
        (["method=residual_vector", "method.layer=-1"], "method.layer=-1: model tiny-0 has layers 0 to 1"),
        (["method=residual_vector", "method.lr=0"], "method.lr=0: a finite number above 0 expected"),
        (["method=blacklist", "method.words=0"], "method.words=0: an integer of 1 or more expected"),
        (["method=blacklist", "method.min_count=9999"], "no words of positive rows is in so many"),
        (["method=constant_vector", "method.epsilon=inf"], "method.epsilon=inf: a finite number above 0 expected"),
        (["method=logit_offset", "method.epsilon=0"], "method.epsilon=0: a finite number above 0 expected"),
        (["method=prompt"], "method.positive: a prefix expected; detox, sentiment have one, tone has not"),
        (["method=prompt", "method.positive=5"], "method.positive=5: Input should be a valid string"),
        (["method=lora", "data=padded"], "method=lora with data=padded: its loss counts no padding; set data=packed"),
        (["method=diffmean", "data=padded"], "method=diffmean with data=padded"),
        (["method=contrast", PREFIXES[0]], "method.negative: a prefix expected"),
        (["method=prompt", PREFIXES[0], f"method.negative='{LONG * 2}'"], "exceeds the context of tiny-0, 128"),
        (["method=contrast", PREFIXES[1], f"method.positive='{LONG}'"], "exceeds the context of tiny-0, 128"),
    ],
)
def test_options_of_a_method_that_are_wrong(
    refusal: Refusal, corpus_file: Path, overrides: list[str], line: str
) -> None:
    assert line in refusal("train", train, *options(corpus_file), *overrides)


@pytest.mark.parametrize("name", list(CLASSES))
def test_the_one_pass_solver_with_a_rival(refusal: Refusal, corpus_file: Path, name: str) -> None:
    prefixes = PREFIXES if name in ("prompt", "contrast") else []
    error = refusal("train", train, *options(corpus_file), "solver=one_pass", f"method={name}", *prefixes)
    assert f"method={name} with another solver than gradient: set solver=gradient" in error


@pytest.mark.parametrize("name", ["blacklist", "lora", "dexperts", "diffmean", "residual_vector"])
def test_a_corpus_without_one_of_the_classes(refusal: Refusal, tmp_path: Path, name: str) -> None:
    path = tmp_path / "one.tsv"
    path.write_text("text\tlabel\n" + "".join(f"a warm film number {n}\t{0.5 + n % 2 / 4}\n" for n in range(60)))
    error = refusal("train", train, *options(path), "protocol=none", f"method={name}")
    assert f"method={name}: " in error
    assert "train rows with a label above 0 and 0 below; rows of both classes expected" in error


def test_prompts_that_find_no_room_after_the_prefix(refusal: Refusal, method_files: Path, tmp_path: Path) -> None:
    prompts = write_prompts(tmp_path / "p.jsonl", ["The film is", LONG])
    common = ["model=tiny", f"prompts.path={prompts}", "decoding.max_new_tokens=9"]
    steer_file = f"steer_file={method_files / 'prompt.safetensors'}"
    for strength in (1, -0.5):
        error = refusal("generate", generate, *common, steer_file, f"strength={strength}")
        assert "after the prefix" in error
        assert "exceeds the context of tiny-0, 128" in error


def test_files_that_do_not_fit(refusal: Refusal, method_files: Path, corpus_file: Path, tmp_path: Path) -> None:
    lora = method_files / "lora.safetensors"
    with safe_open(lora, framework="pt") as file:
        metadata = json.loads(file.metadata()[METHOD_KEY])
    wider = tmp_path / "wider.safetensors"
    metadata["fingerprint"] = tiny(width=64).head.fingerprint()
    save_file(load_file(lora), wider, metadata={METHOD_KEY: json.dumps(metadata)})
    cases = {
        ("model=tiny", "model.seed=1", f"steer_file={lora}"): "fitted for model tiny-0, whose weights are not those of",
        ("model=tiny", "+model.width=64", f"steer_file={wider}"): "an expert without positive.",
        ("model=tiny", f"steer_file={lora}", "strength={joy: 1}"): "strength joy=1.0: the lora is of tone",
        ("model=tiny", f"steer_file={lora}", "strength=high"): "strength=high: a number or",
        ("model=tiny", f"steer_file={tmp_path / 'none.safetensors'}"): "no such steer file",
    }
    for given, line in cases.items():
        assert line in refusal("generate", generate, *given)
    copied = shutil.copy(lora, tmp_path / "lora.safetensors")
    before = copied.read_bytes()
    calibrated = ["model=tiny", "corpus=file", f"corpus.path={corpus_file}", f"steer_file={copied}", "cache=off"]
    error = refusal("calibrate", calibrate, *calibrated, "steer.name=joy", "protocol.kl=0.1")
    assert "of tone, but the protocol is for joy" in error
    assert copied.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "command", "overrides"),
    [
        ("compose", compose, ["steer_files=[FILE]"]),
        ("export", export, ["steer_file=FILE", "model=tiny", "strength=1"]),
        ("interpret", interpret, ["steer_file=FILE", "model=tiny"]),
        ("highlight", highlight, ["steer_file=FILE", "model=tiny", "file=TEXTS"]),
        ("transfer", transfer, ["steer_file=FILE", "model=tiny", "model@to=tiny"]),
    ],
)
def test_commands_for_steers_name_the_file_of_another_method(
    refusal: Refusal, method_files: Path, tmp_path: Path, name: str, command: object, overrides: list[str]
) -> None:
    texts = write_prompts(tmp_path / "texts.txt", ["The film is"])
    error = refusal(name, command, *overrides, FILE=method_files / "diffmean.safetensors", TEXTS=texts)
    assert "diffmean.safetensors: the file of another method; the steer file of an LM-Steer expected" in error
