"""``generate`` of transformers alone, by the code in an exported folder, writes what the steered model writes."""

import re
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.handmade_commands import write_steer
from tests.processors.test_logit_steer import STEERS, make

import lmsteer
from lmsteer.export.exporter import CUSTOM_GENERATE, Export
from lmsteer.generation.sampling import Greedy
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.schedule import CountSchedule, with_schedules
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import save_steer

INPUTS = {"input_ids": torch.tensor([[0, 0, 5, 17, 3], [7, 301, 12, 9, 44]])}
INPUTS["attention_mask"] = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
GREEDY = {"max_new_tokens": 12, "do_sample": False}


@pytest.fixture(autouse=True)
def _modules_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))


def exported(model: LanguageModel, steer: Steer, folder: Path) -> Path:
    folder.mkdir()
    path = folder / "steer.safetensors"
    save_steer(path, steer, Provenance(model=model.name, fingerprint=model.head.fingerprint()))
    Export(model, path).factors(folder / "out")
    return folder / "out"


def generated(model: LanguageModel, folder: Path, **options: Any) -> torch.Tensor:
    named = {"custom_generate": str(folder), "trust_remote_code": True}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        output: torch.Tensor = model.lm.generate(**INPUTS, **GREEDY, **named, **options)
    return output


@pytest.mark.parametrize("kind", list(STEERS))
def test_tokens_are_those_of_the_hooked_model(model: LanguageModel, kind: str, tmp_path: Path) -> None:
    steer = make(kind)
    folder = exported(model, steer, tmp_path / "run")
    plain = model.lm.generate(**INPUTS, **GREEDY)
    for strength in (20, {"sentiment": -20, "dummy": 5}):
        with steer.apply(model, strength) as lm:
            expected = lm.generate(**INPUTS, **GREEDY)
        assert not torch.equal(expected, plain)
        assert torch.equal(generated(model, folder, steer_strength=strength), expected)
    assert torch.equal(generated(model, folder, steer_strength=0), plain)
    assert torch.equal(model.lm.generate(**INPUTS, **GREEDY), plain), "it is plain again"


def test_tokens_are_the_same_in_bfloat16(tiny_model: LanguageModel, steer: Steer, tmp_path: Path) -> None:
    half = LanguageModel(deepcopy(tiny_model.lm).to(torch.bfloat16), tiny_model.tokenizer, name="half")
    folder = exported(half, steer, tmp_path / "run")
    with steer.apply(half, 3) as lm:
        expected = lm.generate(**INPUTS, **GREEDY)
    assert not torch.equal(expected, half.lm.generate(**INPUTS, **GREEDY))
    assert torch.equal(generated(half, folder, steer_strength=3), expected)


def test_texts_are_those_of_our_own_loop(tiny_model: LanguageModel, steer: Steer, tmp_path: Path) -> None:
    folder = exported(tiny_model, steer, tmp_path / "run")
    (generation,) = lmsteer.generate(
        tiny_model,
        ["I think that"],
        steer=steer,
        strength={"sentiment": 3},
        decoding=Greedy(max_new_tokens=15),
        samples=1,
    )
    inputs = tiny_model.tokenizer("I think that", return_tensors="pt")
    special = tiny_model.tokenizer.all_special_ids
    output = tiny_model.lm.generate(
        **inputs,
        **{"custom_generate": str(folder), "trust_remote_code": True, "steer_strength": 3},
        **{"do_sample": False, "max_new_tokens": 15, "min_new_tokens": 15, "suppress_tokens": special},
    )
    assert tiny_model.tokenizer.decode(output[0, inputs["input_ids"].shape[1] :]) == generation.texts[0]


def test_another_folder_may_be_named(tiny_model: LanguageModel, steer: Steer, tmp_path: Path) -> None:
    other = make("full")
    code, factors = exported(tiny_model, steer, tmp_path / "a"), exported(tiny_model, other, tmp_path / "b")
    with other.apply(tiny_model, 3) as lm:
        expected = lm.generate(**INPUTS, **GREEDY)
    assert torch.equal(generated(tiny_model, code, steer_strength=3, steer_from=str(factors)), expected)


@pytest.mark.parametrize(
    ("strength", "message"),
    [
        (None, r"steer_strength=None: a number, or numbers by name of sentiment, dummy expected"),
        ({"mood": 3}, r"steer_strength=\{'mood': 3\}: a number, or numbers by name"),
        (float("nan"), r"steer_strength=nan"),
        ("3", r"steer_strength=3: a number"),
        (True, r"steer_strength=True: a number"),
    ],
)
def test_a_wrong_strength_is_refused_and_leaves_the_model_plain(
    strength: Any, message: str, tiny_model: LanguageModel, steer: Steer, tmp_path: Path
) -> None:
    folder = exported(tiny_model, steer, tmp_path / "run")
    with pytest.raises(ValueError, match=message):
        generated(tiny_model, folder, steer_strength=strength)
    assert not tiny_model.lm.get_output_embeddings()._forward_pre_hooks


def test_an_error_on_the_way_leaves_the_model_plain(tiny_model: LanguageModel, steer: Steer, tmp_path: Path) -> None:
    folder = exported(tiny_model, steer, tmp_path / "run")
    with pytest.raises(ValueError, match="wrong_option"):
        generated(tiny_model, folder, steer_strength=3, wrong_option=1)
    assert not tiny_model.lm.get_output_embeddings()._forward_pre_hooks


def test_another_model_is_warned_of_and_one_of_another_width_refused(
    tiny_model: LanguageModel, steer: Steer, tmp_path: Path
) -> None:
    folder = exported(tiny_model, steer, tmp_path / "run")
    options: dict[str, Any] = {"custom_generate": str(folder), "trust_remote_code": True, "steer_strength": 3}
    with pytest.warns(UserWarning, match=r"fitted on tiny.*not quite those of this model"):
        tiny(seed=1).lm.generate(**INPUTS, **GREEDY, **options)
    with pytest.raises(ValueError, match=r"width 32; this model has 64"):
        tiny(width=64).lm.generate(**INPUTS, **GREEDY, **options)


def test_without_trust_nothing_is_run(tiny_model: LanguageModel, steer: Steer, tmp_path: Path) -> None:
    folder = exported(tiny_model, steer, tmp_path / "run")
    with pytest.raises(ValueError, match="trust_remote_code"):
        tiny_model.lm.generate(
            **INPUTS, **GREEDY, custom_generate=str(folder), trust_remote_code=False, steer_strength=3
        )


@pytest.mark.parametrize("scheduled", [True, False])
def test_a_scheduled_steer_has_no_such_code(
    scheduled: bool, tiny_model: LanguageModel, steer: Steer, tmp_path: Path
) -> None:
    if scheduled:
        steer = with_schedules(steer, {"sentiment": CountSchedule(unit="tokens", begin=3)})
    folder = exported(tiny_model, steer, tmp_path / "run")
    assert (folder / CUSTOM_GENERATE).is_file() != scheduled
    assert ("custom_generate" in (folder / "README.md").read_text()) != scheduled


def test_the_code_imports_nothing_of_this_library() -> None:
    source = (Path(lmsteer.__file__).parent / "export" / "custom_generate.py").read_text()
    assert set(re.findall(r"^(?:import|from) (\w+)", source, re.MULTILINE)) == {
        *("collections", "hashlib", "inspect", "json", "math", "typing", "warnings", "weakref"),
        *("torch", "safetensors", "transformers"),
    }


def test_its_card_runs(
    tiny_model: LanguageModel, steer: Steer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_steer(tmp_path / "steer.safetensors", steer)
    Export(tiny_model, tmp_path / "steer.safetensors").factors(tmp_path / "out")
    tiny_model.lm.save_pretrained(tmp_path / "base")
    tiny_model.tokenizer.save_pretrained(tmp_path / "base")
    monkeypatch.chdir(tmp_path / "out")
    _, code = re.findall(r"```python\n(.*?)```", (tmp_path / "out" / "README.md").read_text(), re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(code.replace('"ORG/NAME"', repr(str(tmp_path / "base"))), namespace)
    with steer.apply(tiny_model, 3) as lm:
        expected = lm.generate(**tiny_model.tokenizer("I think that", return_tensors="pt"), max_new_tokens=20)
    assert torch.equal(namespace["output"], expected)
