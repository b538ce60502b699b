"""Promises of the transfer command, between tiny models of other widths and vocabularies."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.handmade_commands import command_config, write_steer
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lmsteer.commands.transfer import transfer
from lmsteer.errors import InputError
from lmsteer.models.load import load_model
from lmsteer.models.random_models import tiny
from lmsteer.reference.descent_map import descent_map
from lmsteer.reporting.text import number
from lmsteer.reporting.transfer_report import maps_figure, markdown
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer, save_steer
from lmsteer.transfer.shared_vocabulary import shared_tokens

TEXT = "the film is a warm and funny story about people who learn to live with what they have lost then"
WORDS = TEXT.split()
LINES = [" ".join(WORDS[(3 * n + k * k * (1 + n // 20)) % 20] for k in range(9)) for n in range(40)]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is wider than the source, and whose words begin with another mark."""
    tokenizer = Tokenizer(BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(
        LINES, BpeTrainer(vocab_size=150, special_tokens=["<unk>", "<s>"], show_progress=False)
    )
    folder = tmp_path_factory.mktemp("models") / "target"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>").save_pretrained(folder)
    sizes = {"hidden_size": 48, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2}
    torch.manual_seed(5)
    config = LlamaConfig(vocab_size=tokenizer.get_vocab_size(), num_hidden_layers=1, initializer_range=0.2, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def steer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    steer = Steer(32, dimensions=["mood", "dummy"], rank=4, epsilon=0.1, init_std=0.5, seed=1)
    path = tmp_path_factory.mktemp("steer") / "steer.safetensors"
    return write_steer(path, steer, meaning={"mood": "a good mood"}, corpus={"name": "moods"}, seed=7)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "lines.txt"
    path.write_text("\n".join([*LINES, "", LINES[0]]))
    return path


def ran(folder: Path, steer_file: Path, target: Path, texts: Path, *overrides: str) -> Steer:
    options = [f"run_dir={folder}", f"steer_file={steer_file}", f"texts={texts}", "device=cpu", "dtype=float32"]
    return transfer(command_config("transfer", "model=tiny", "model@to=hf", f"to.id={target}", *options, *overrides))


@pytest.fixture(scope="module")
def is_complete(tmp_path_factory: pytest.TempPathFactory, steer_file: Path, target: Path, texts: Path) -> Path:
    folder = tmp_path_factory.mktemp("run") / "transfer"
    ran(folder, steer_file, target, texts, "compared_kinds=[procrustes,ridge,legacy]")
    return folder


def test_it_leaves_a_steer_of_the_target_and_a_report(is_complete: Path, target: Path) -> None:
    names = {".lock", "config.yaml", "steer.safetensors", "timing.json", "transfer.md", "transfer.png"}
    assert {path.name for path in is_complete.iterdir()} == names
    model = load_model(str(target), device="cpu", dtype="float32")
    steer, provenance = load_steer(is_complete / "steer.safetensors", model)
    assert (steer.width, steer.rank, steer.dimensions) == (48, 4, ("mood",))
    assert (provenance.meaning, provenance.corpus, provenance.seed) == ({"mood": "a good mood"}, {"name": "moods"}, 7)
    assert (is_complete / "transfer.png").read_bytes().startswith(b"\x89PNG")


def test_the_file_says_how_it_was_made(is_complete: Path, target: Path) -> None:
    derivation = load_steer(is_complete / "steer.safetensors")[1].derivation
    model = load_model(str(target), device="cpu", dtype="float32")
    assert (derivation["kind"], derivation["map"], derivation["damping"]) == ("transfer", "states", 1e-3)
    assert derivation["source"]["model"] == "tiny-0"
    assert derivation["source"]["fingerprint"] == tiny().head.fingerprint()
    assert derivation["texts"]["n"] == 40
    assert derivation["shared_tokens"] == len(shared_tokens(tiny(), model)[0]) > 20
    assert set(derivation["held_out"]) == {"states", "procrustes", "ridge", "legacy"}
    for result in derivation["held_out"].values():
        assert -1 <= result["effect"]["mood"]["correlation"] <= 1
        assert result["r2"]["states"] <= 1


def test_the_same_command_gives_the_same_bytes(
    is_complete: Path, steer_file: Path, target: Path, texts: Path, tmp_path: Path
) -> None:
    ran(tmp_path / "again", steer_file, target, texts, "compared_kinds=[procrustes,ridge,legacy]")
    for name in ("steer.safetensors", "transfer.md", "transfer.png"):
        assert (tmp_path / "again" / name).read_bytes() == (is_complete / name).read_bytes()


def test_a_finished_run_is_not_made_again(
    is_complete: Path, steer_file: Path, target: Path, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmsteer.commands.transfer.compute", None)
    ran(is_complete, steer_file, target, texts, "compared_kinds=[procrustes,ridge,legacy]")
    with pytest.raises(InputError, match="another configuration"):
        ran(is_complete, steer_file, target, texts)


def test_the_report_and_the_picture_tell_every_kind(is_complete: Path) -> None:
    derivation = load_steer(is_complete / "steer.safetensors")[1].derivation
    text = markdown("target", derivation)
    for kind, result in derivation["held_out"].items():
        assert re.search(rf"\| {kind} +\| mood +\| {re.escape(number(result['r2']['states']))} ", text)
    kinds = ("states", "procrustes", "ridge", "legacy")
    indices = [text.index(f"| {kind} ") for kind in kinds]
    assert indices == sorted(indices)
    (axes,) = maps_figure(derivation).axes
    (line,) = axes.lines
    drawn = [derivation["held_out"][kind]["effect"]["mood"]["correlation"] for kind in kinds]
    assert np.allclose(np.asarray(line.get_ydata()), drawn)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model@to=tiny", "texts=TEXTS"], "Error: steer_file: a value is needed"),
        (["steer_file=STEER", "texts=TEXTS"], "Error: You must specify 'model@to'"),
        (["steer_file=STEER", "model@to=tiny", "texts=nowhere.txt"], "Error: texts=nowhere.txt: cannot be read"),
        (["steer_file=STEER", "model@to=tiny", "texts=TEXTS"], "Error: models tiny-0 and tiny-0 are the same"),
        (["steer_file=STEER", "model@to=tiny", "to.seed=1", "texts=TEXTS", "rows=5"], "Error: texts lines.txt: 5; 20"),
        (["steer_file=STEER", "model@to=tiny", "to.sed=1", "texts=TEXTS"], "Error: Could not override 'to.sed'"),
        (["steer_file=STEER", "model@to=tiny", "texts=TEXTS", "kind=magic"], "Error: kind='magic': Input should be"),
        (["steer_file=STEER", "model@to=tiny", "texts=TEXTS", "damping=-1"], "Error: damping=-1: Input should be"),
        (["steer_file=STEER", "model.seed=1", "model@to=tiny", "texts=TEXTS"], "Error: STEER: fitted for model tiny-0"),
    ],
)
def test_wrong_values_end_in_one_line_and_leave_nothing(
    overrides: list[str], message: str, steer_file: Path, texts: Path, refusal: Any
) -> None:
    error = refusal("transfer", transfer, "model=tiny", *overrides, STEER=steer_file, TEXTS=texts)
    assert error.startswith(message.replace("STEER", str(steer_file)))


def test_a_derived_steer_keeps_its_own_derivation(steer_file: Path, target: Path, texts: Path, tmp_path: Path) -> None:
    steer, provenance = load_steer(steer_file)
    fields: dict[str, Any] = json.loads(json.dumps(provenance.__dict__))
    save_steer(tmp_path / "s.safetensors", steer, Provenance(**fields | {"derivation": {"kind": "composition"}}))
    ran(tmp_path / "run", tmp_path / "s.safetensors", target, texts, "compared_kinds=[]")
    derivation = load_steer(tmp_path / "run" / "steer.safetensors")[1].derivation
    assert derivation["derivation"] == {"kind": "composition"}


def test_the_papers_transfer_is_used_at_a_tenth_of_the_strength(
    steer_file: Path, target: Path, texts: Path, tmp_path: Path
) -> None:
    model = load_model(str(target), device="cpu", dtype="float32")
    transferred = ran(tmp_path / "run", steer_file, target, texts, "kind=legacy", "compared_kinds=[]")
    assert list(load_steer(tmp_path / "run" / "steer.safetensors")[1].derivation["held_out"]) == ["legacy"]
    ours, theirs = shared_tokens(tiny(), model)
    h = descent_map(model.head.weight[theirs], tiny().head.weight[ours]).T
    w = load_steer(steer_file)[0].matrix(0).T.detach().double()
    torch.testing.assert_close(transferred.matrix(0).T.detach().double(), 0.1 * h.T @ w @ h, rtol=1e-3, atol=1e-6)
