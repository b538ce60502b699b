"""A model from elsewhere is data: none of its code runs, nobody is asked to run it, and nobody hears of it."""

import ast
import builtins
import json
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import _http
from tests.hub_cache import write_folder
from transformers import BertConfig, BertForSequenceClassification, modeling_utils

from lmsteer.errors import InputError
from lmsteer.export.exporter import base_of
from lmsteer.models.load import load_model
from lmsteer.models.random_models import tiny
from lmsteer.scoring.hub_classifier import HubClassifierScorer

VARIABLE = "DISABLE_SAFETENSORS_CONVERSION"
LOADERS: dict[str, Callable[[str], object]] = {
    "language model": lambda id: load_model(id, device="cpu"),
    "classifier": lambda id: HubClassifierScorer(id=id, label="LABEL_1", device="cpu"),
}
ROOT = Path(__file__).parents[2]


@pytest.fixture(params=list(LOADERS))
def load(request: pytest.FixtureRequest) -> Callable[[str], object]:
    return LOADERS[request.param]


def save(load: Callable[[str], object], folder: Path) -> None:
    """Write a small model of the kind that ``load`` loads."""
    tiny().tokenizer.save_pretrained(folder)
    if load is LOADERS["language model"]:
        tiny().lm.save_pretrained(folder)
    else:
        config = BertConfig(
            vocab_size=384, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
        )
        BertForSequenceClassification(config).save_pretrained(folder)


def add_code(folder: Path, marker: Path, changed: dict[str, str]) -> None:
    """Let configuration and tokenizer name classes in a file of the folder that leaves a mark."""
    (folder / "code.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    classes = ("AutoConfig", "AutoModelForCausalLM", "AutoModelForSequenceClassification", "AutoModel")
    changes = {
        "config.json": {**changed, "auto_map": dict.fromkeys(classes, "code.Any")},
        "tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["code.Any", None]}},
    }
    for name, values in changes.items():
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, **values}))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Questions on the terminal, each of which is answered with yes."""
    asked: list[str] = []

    def answer(question: str = "") -> str:
        asked.append(question)
        return "y"

    monkeypatch.setattr(builtins, "input", answer)
    return asked


def test_code_of_an_unknown_kind_of_model_is_refused_in_one_line_and_no_question_is_asked(
    load: Callable[[str], object], asked: list[str], tmp_path: Path
) -> None:
    save(load, tmp_path / "model")
    add_code(tmp_path / "model", tmp_path / "code-has-run", {"model_type": "of-nobody"})
    with pytest.raises(InputError, match="contains custom code") as caught:
        load(str(tmp_path / "model"))
    assert "\n" not in str(caught.value)
    assert asked == []
    assert not (tmp_path / "code-has-run").exists()


def test_code_of_a_known_kind_of_model_is_ignored(
    load: Callable[[str], object], asked: list[str], tmp_path: Path
) -> None:
    save(load, tmp_path / "model")
    add_code(tmp_path / "model", tmp_path / "code-has-run", {})
    assert load(str(tmp_path / "model"))
    assert asked == []
    assert not (tmp_path / "code-has-run").exists()


def test_code_of_a_kind_that_is_known_but_no_language_model_is_refused_and_no_question_is_asked(
    asked: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    save(LOADERS["language model"], folder)
    add_code(folder, tmp_path / "code-has-run", {"model_type": "vit"})
    with pytest.raises(InputError, match="contains custom code"):
        load_model(str(folder), device="cpu")
    assert asked == []
    assert not (tmp_path / "code-has-run").exists()


def test_every_call_of_transformers_that_could_run_code_refuses_to() -> None:
    calls = [
        (path.name, node)
        for part in ("src", "experiments")
        for path in (ROOT / part).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("from_pretrained", "from_config")
        and ast.unparse(node.func.value) != "PeftModel"  # adapters hold no code
    ]
    assert len(calls) > 10
    for name, call in calls:
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert given.get("trust_remote_code") == "False", f"{name}, line {call.lineno}"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, while the hub is not marked as offline and no request may be made."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def refuse(request: httpx2.Request) -> None:
        raise AssertionError(f"{request.url} was asked for")

    monkeypatch.setattr(_http, "hf_request_event_hook", refuse)
    return tmp_path / "hub"


@pytest.mark.parametrize("variable", [None, "0", "1"])
def test_a_cached_model_of_any_format_is_loaded_and_its_id_is_sent_to_nobody(
    load: Callable[[str], object], cache: Path, variable: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if variable is not None:
        monkeypatch.setenv(VARIABLE, variable)
    converted: list[str] = []
    monkeypatch.setattr(modeling_utils, "auto_conversion", lambda id, **_: converted.append(id))
    save(load, tmp_path / "model")
    state = modeling_utils.load_state_dict(str(tmp_path / "model" / "model.safetensors"))
    torch.save({name: tensor.clone() for name, tensor in state.items()}, tmp_path / "model" / "pytorch_model.bin")
    write_folder(cache, "org/both", tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    write_folder(cache, "org/pickled", tmp_path / "model")
    assert load("org/both")
    assert load("org/pickled")
    assert converted == []


def test_the_commit_of_a_model_of_the_hub_is_known_and_reaches_the_card(tmp_path: Path, cache: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    save(LOADERS["language model"], tmp_path / "model")
    snapshot = write_folder(cache, "org/name", tmp_path / "model", commit=commit)
    model = load_model("org/name")
    assert model.commit == commit
    assert (base_of(model).hub_id, base_of(model).revision) == ("org/name", commit)
    assert load_model(str(snapshot)).commit == "", "a folder has no commit"
