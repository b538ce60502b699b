"""Promises of exported folders and of the commands export and convert: whole or absent, and loadable."""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft.helpers import rescale_adapter_scale
from tests.handmade import row, value
from tests.handmade_commands import command_config, write_steer
from transformers import PreTrainedModel

import lmsteer
from lmsteer.cli.app import entry_point
from lmsteer.commands.convert import convert
from lmsteer.commands.export import export
from lmsteer.errors import InputError
from lmsteer.evaluation.results import Result, write_result
from lmsteer.export.exporter import CUSTOM_GENERATE, base_of, write_folder
from lmsteer.export.verification import PROMPTS
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.steering.logit_truncation import truncate_logits
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer, save_steer

IDS = torch.tensor([[5, 17, 3, 260, 99]])
CHECKPOINT = {
    *("README.md", "config.json", "config.yaml", "generation_config.json", "model.safetensors"),
    *("tokenizer.json", "tokenizer_config.json"),
}


@pytest.fixture
def steer_file(steer: Steer, tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return write_steer(tmp_path / "run/steer.safetensors", steer, meaning={"sentiment": "cheerful"})


def exported(*overrides: str) -> Path:
    """What ``python -m src.export model=tiny`` does."""
    return export(command_config("export", "model=tiny", "device=cpu", "dtype=float32", *overrides))


def logits(lm: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return lm(input_ids=IDS).logits


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def code_of(card: Path) -> str:
    match = re.search(r"```python\n(.*?)```", card.read_text(encoding="utf-8"), re.DOTALL)
    assert match
    return match[1]


def test_a_checkpoint_is_the_steered_model_and_its_card_loads_it(
    steer_file: Path, tiny_model: LanguageModel, steer: Steer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = exported(f"steer_file={steer_file}", "strength={sentiment:3,dummy:1}", f"run_dir={tmp_path / 'out'}")
    assert set(content(folder)) == CHECKPOINT
    monkeypatch.chdir(folder)
    namespace: dict[str, Any] = {}
    exec(code_of(folder / "README.md"), namespace)
    with steer.apply(tiny_model.lm, torch.tensor([[3.0, 1.0]])) as lm:
        torch.testing.assert_close(logits(namespace["model"]), logits(lm), rtol=0, atol=1e-4)
    assert namespace["tokenizer"]("The film")["input_ids"] == tiny_model.tokenizer("The film")["input_ids"]


@pytest.mark.parametrize("option", ["out", "hydra.run.dir"])
def test_the_command_takes_the_folder_by_either_name(
    steer_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    options = ["model=tiny", "device=cpu", f"steer_file={steer_file}", "form=factors", f"{option}={tmp_path / 'out'}"]
    monkeypatch.setattr(sys, "argv", ["export", *options])
    entry_point("export")(export)()
    assert set(content(tmp_path / "out")) == {"README.md", "config.yaml", "steer.safetensors", CUSTOM_GENERATE}
    monkeypatch.setattr(sys, "argv", ["export", *options, "form=checkpoint"])
    with pytest.raises(SystemExit, match=r"^Error: a checkpoint needs a strength other than 0[^\n]*$"):
        entry_point("export")(export)()


def test_two_folders_are_refused_before_either_is_made(
    steer_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["model=tiny", f"steer_file={steer_file}", "form=factors", f"out={tmp_path / 'a'}"]
    monkeypatch.setattr(sys, "argv", ["export", *options, f"hydra.run.dir={tmp_path / 'b'}"])
    with pytest.raises(SystemExit, match=r"^Error: out=[^\n]*/a, hydra.run.dir=[^\n]*/b: two folders; give one[^\n]*$"):
        entry_point("export")(export)()
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    monkeypatch.setattr(sys, "argv", ["export", *options, f"hydra.run.dir={tmp_path / 'a'}"])
    entry_point("export")(export)()
    assert (tmp_path / "a/README.md").is_file()


def test_an_adapter_has_a_folder_a_dimension_and_its_card_loads_it(
    steer_file: Path, tiny_model: LanguageModel, steer: Steer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = exported(f"steer_file={steer_file}", "form=adapter", f"run_dir={tmp_path / 'out'}")
    files = {f"{name}/adapter_{kind}" for name in steer.dimensions for kind in ("config.json", "model.safetensors")}
    assert set(content(folder)) == {"README.md", "config.yaml"} | files
    assert not any(str(tmp_path).encode() in file for file in content(folder).values())
    tiny_model.lm.save_pretrained(tmp_path / "base")
    tiny_model.tokenizer.save_pretrained(tmp_path / "base")
    monkeypatch.chdir(folder)
    namespace: dict[str, Any] = {}
    exec(code_of(folder / "README.md").replace('"ORG/NAME"', repr(str(tmp_path / "base"))), namespace)
    with rescale_adapter_scale(namespace["model"], 3.0), steer.apply(tiny_model.lm, 3) as lm:
        torch.testing.assert_close(logits(namespace["model"]), logits(lm), rtol=0, atol=1e-4)
        expected = lm.generate(**tiny_model.tokenizer("I think that", return_tensors="pt"), max_new_tokens=20)
    assert torch.equal(namespace["output"], expected)


def test_a_processors_card_steers_generate_of_transformers(
    steer_file: Path, tiny_model: LanguageModel, steer: Steer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = exported(f"steer_file={steer_file}", "form=processor", "strength=-3", f"run_dir={tmp_path / 'out'}")
    assert set(content(folder)) == {"README.md", "config.yaml", "processor.safetensors"}
    tiny_model.lm.save_pretrained(tmp_path / "base")
    tiny_model.tokenizer.save_pretrained(tmp_path / "base")
    monkeypatch.chdir(folder)
    namespace: dict[str, Any] = {}
    exec(code_of(folder / "README.md").replace('"ORG/NAME"', repr(str(tmp_path / "base"))), namespace)
    assert namespace["steered"].strength_BK.tolist() == [[-3.0, 0.0]]
    with steer.apply(tiny_model.lm, -3) as lm:
        expected = lm.generate(**tiny_model.tokenizer("I think that", return_tensors="pt"), max_new_tokens=20)
    assert torch.equal(namespace["output"], expected)


def test_the_table_of_the_card_is_that_of_the_steered_model(
    steer_file: Path, tiny_model: LanguageModel, steer: Steer, tmp_path: Path
) -> None:
    folder = exported(f"steer_file={steer_file}", "form=gguf", "strength=-2", f"run_dir={tmp_path / 'out'}")
    assert set(content(folder)) == {"README.md", "config.yaml", "sentiment.gguf"}
    pattern = r"\| `\"(.*)\"` \| ([\d ]+) \| `.*` \| (\d+) \| (\S+) \| (\S+) \| (\S+) \|"
    rows = re.findall(pattern, (folder / "README.md").read_text())
    assert len({prompt for prompt, *_ in rows}) == 3
    for prompt, ids, token, *values in rows:
        assert tiny_model.tokenizer(prompt)["input_ids"] == list(map(int, ids.split()))
        for strength, logprob in zip((2, 0, -2), values, strict=True):
            with torch.no_grad(), steer.apply(tiny_model.lm, strength) as lm:
                logprobs = lm(input_ids=torch.tensor([list(map(int, ids.split()))])).logits[0, -1].log_softmax(-1)
            assert float(logprob) == pytest.approx(float(logprobs[int(token)]), abs=0.006)


def test_a_cut_steer_says_what_it_has_lost(
    tiny_model: LanguageModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = Steer(32, dimensions=["sentiment"], rank="full", epsilon=0.1, init_std=0.3)
    path = write_steer(tmp_path / "full.safetensors", full)
    folder = exported(f"steer_file={path}", "form=adapter", "rank=8", "strength=2", f"run_dir={tmp_path / 'out'}")
    cut, kept = truncate_logits(full, tiny_model.head, 8)
    hidden = torch.cat([tiny_model.hidden(torch.tensor([ids]))[0] for ids in tiny_model.tokenize(PROMPTS)])
    with torch.no_grad():
        change = (full.delta_logits(tiny_model.head, hidden, 0) - cut.delta_logits(tiny_model.head, hidden, 0)).abs()
    card = (folder / "README.md").read_text()
    assert f"| sentiment | sentiment | 8 | 0.01 MB | {kept['sentiment']:.4f} | {2 * change.max():.2g} |" in card
    assert f"{kept['sentiment']:.4f}" in capsys.readouterr().out
    with pytest.raises(InputError, match="another configuration"):
        exported(f"steer_file={path}", "form=adapter", "rank=9", "strength=2", f"run_dir={tmp_path / 'out'}")


def test_a_dimension_whose_name_is_no_file_name_is_refused(tmp_path: Path) -> None:
    path = write_steer(tmp_path / "s.safetensors", Steer(32, dimensions=["../up"], rank=2))
    with pytest.raises(InputError, match=r"dimension '../up': not the name of a file; compose names"):
        exported(f"steer_file={path}", "form=adapter", f"run_dir={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


def test_factors_are_the_steer_file_itself_and_the_card_uses_it(
    steer_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = exported(f"steer_file={steer_file}", "form=factors", f"run_dir={tmp_path / 'out'}")
    assert set(content(folder)) == {"README.md", "config.yaml", "steer.safetensors", CUSTOM_GENERATE}
    assert content(folder)["steer.safetensors"] == steer_file.read_bytes()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(lmsteer, "load_model", lambda id: tiny())
    namespace: dict[str, Any] = {}
    exec(code_of(folder / "README.md"), namespace)
    plain = lmsteer.generate(tiny(), ["I think that"])
    assert namespace["generations"][0].prompt == plain[0].prompt
    assert namespace["generations"][0].texts != plain[0].texts


def test_the_card_has_what_was_measured_beside_the_steer(steer_file: Path, tmp_path: Path) -> None:
    rows = [row({"sentiment": 3.0}, {"tone": value(0.625, 0.5, 0.75, "perplexity_model")}, model="tiny-0")]
    write_result(steer_file.with_name("metrics.json"), Result(protocol={"name": "mine"}, rows=rows))
    out = f"run_dir={tmp_path / 'out'}"
    card = (exported(f"steer_file={steer_file}", "strength=3", out) / "README.md").read_text()
    assert ".62 [.50, .75]" in card
    assert "The row sentiment +3 was measured at the strength of this checkpoint." in card
    rows[0].metrics.clear()
    write_result(steer_file.with_name("metrics.json"), Result(protocol={"name": "mine"}, rows=rows))
    with pytest.raises(InputError, match="another configuration"):
        exported(f"steer_file={steer_file}", "strength=3", out)


def test_the_same_command_writes_the_same_bytes_once_and_no_path_of_the_machine(
    steer_file: Path, tmp_path: Path
) -> None:
    command = [f"steer_file={steer_file}", "strength=3"]
    first = exported(*command, f"run_dir={tmp_path / 'a'}")
    before = {path: path.stat().st_mtime_ns for path in first.iterdir()}
    exported(*command, f"run_dir={tmp_path / 'a'}")
    assert {path: path.stat().st_mtime_ns for path in first.iterdir()} == before
    assert content(exported(*command, f"run_dir={tmp_path / 'b'}")) == content(first)
    assert not any(str(tmp_path).encode() in file for file in content(first).values())
    assert len({path.stat().st_mode for path in first.iterdir()}) == 1, "who can read one of them can read all"
    with pytest.raises(InputError, match="another configuration"):
        exported(f"steer_file={steer_file}", "strength=4", f"run_dir={tmp_path / 'a'}")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "a checkpoint needs a strength other than 0.*of sentiment, dummy"),
        (["strength={mood:3}"], "strength mood=3.0: the steer's dimensions are sentiment, dummy"),
        (["strength=high"], "strength=high: a number"),
        (["strength=1e39"], "strength sentiment=1e\\+39: a finite float32 number"),
        (["strength=3", "form=factors"], "form=factors keeps every strength"),
        (["strength=3", "form=onnx"], "form='onnx': Input should be 'checkpoint', 'factors', 'adapter', 'gguf' or"),
        (["strength=0", "form=adapter"], "0 is the plain model; another number expected, or none"),
        (["form=adapter", "rank=33"], r"rank=33: an integer in \[1, 32\] expected"),
        (["form=adapter", "rank=0"], "rank=0: Input should be greater than or equal to 1"),
        (["strength=3", "rank=2"], "rank=2: only for form=adapter, gguf and processor"),
        (["form=adapter", "gguf_base=a.gguf"], "gguf_base=a.gguf: only for form=gguf"),
        (["form=gguf", "gguf_base=missing.gguf"], "missing.gguf: not a whole GGUF file"),
        (["strength=3", "dtype=float16"], "dtype='float16'"),
        (["strength=3", "model.seed=1"], "fitted for model tiny-0"),
        (["strength=3", "steer_file=missing.safetensors"], "missing.safetensors: no such steer file"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line_and_leaves_nothing(
    steer_file: Path, tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        exported(f"steer_file={steer_file}", f"run_dir={tmp_path / 'exports' / 'out'}", *overrides)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "exports").exists()


def test_a_head_beyond_float32_is_refused(steer_file: Path, tmp_path: Path) -> None:
    steer, provenance = load_steer(steer_file)
    with torch.no_grad():
        steer.p1.mul_(1e12)
    save_steer(tmp_path / "large.safetensors", steer, provenance)
    with pytest.raises(InputError, match="folded head is not finite"):
        exported(f"steer_file={tmp_path / 'large.safetensors'}", "strength=1e38", f"run_dir={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_stays_as_it_is(steer_file: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/letter.txt").write_text("dear")
    with pytest.raises(InputError, match=r"holds letter\.txt but no config\.yaml"):
        exported(f"steer_file={steer_file}", "strength=3", f"run_dir={tmp_path / 'out'}")
    assert content(tmp_path / "out") == {"letter.txt": b"dear"}
    assert {path.name for path in tmp_path.iterdir()} == {"out", "run"}


def stopped(folder: Path, error: type[BaseException] = InputError) -> None:
    """Begin to write a folder, and stop."""

    def write(unfinished: Path) -> None:
        (unfinished / "half").write_text("half")
        raise error("stop")

    with pytest.raises(error, match="stop"):
        write_folder(folder, "a: 1\n", write)


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError, OSError])
def test_what_is_interrupted_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "out").mkdir()
    stopped(tmp_path / "out", error)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert content(tmp_path / "out") == {}


def test_what_was_killed_is_done_again_from_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as killed:  # as by a signal, after which nobody clears up
        killed.setattr("shutil.rmtree", lambda *_, **__: None)
        stopped(tmp_path / "out")
    (abandoned,) = tmp_path.iterdir()
    assert abandoned.name.startswith(".out.unfinished-")
    write_folder(tmp_path / "out", "a: 2\n", lambda folder: (folder / "whole").write_text("whole"))  # type: ignore[arg-type,return-value]
    assert content(tmp_path) == {"out/config.yaml": b"a: 2\n", "out/whole": b"whole"}


def test_of_two_at_once_the_first_to_finish_counts_and_the_other_ends_well(tmp_path: Path) -> None:
    out, calls = tmp_path / "out", []

    def write(folder: Path) -> None:
        calls.append(folder)
        if len(calls) == 1:  # while the first one writes, another begins and finishes
            write_folder(out, "a: 1\n", write)
            assert folder.is_dir(), "the folder of a running export is not removed"
        (folder / "whole").write_text(f"whole {len(calls)}")

    write_folder(out, "a: 1\n", write)
    assert len(set(calls)) == 2
    assert content(tmp_path) == {"out/config.yaml": b"a: 1\n", "out/whole": b"whole 2"}


def test_another_export_that_finishes_first_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def write(folder: Path) -> None:
        write_folder(out, "a: 2\n", lambda other: (other / "whole").write_text("other"))  # type: ignore[arg-type,return-value]
        (folder / "whole").write_text("mine")

    with pytest.raises(InputError, match="another configuration"):
        write_folder(out, "a: 1\n", write)
    assert content(tmp_path) == {"out/config.yaml": b"a: 2\n", "out/whole": b"other"}


def test_the_base_model_is_named_by_its_id_on_the_hub_only_if_it_came_by_it(
    tiny_model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert base_of(tiny_model).hub_id == ""
    assert base_of(tiny_model, "org/own").hub_id == "org/own"
    monkeypatch.setattr(tiny_model, "commit", "c0ffee")
    monkeypatch.setattr(tiny_model.lm, "name_or_path", "org/name")
    assert (base_of(tiny_model).hub_id, base_of(tiny_model).revision) == ("org/name", "c0ffee")
    monkeypatch.setattr(tiny_model.lm, "name_or_path", str(tmp_path))
    assert (base_of(tiny_model).hub_id, base_of(tiny_model).revision) == ("", "")
    monkeypatch.setattr(tiny_model, "name", "smollm2")
    assert base_of(tiny_model).loading == "lmsteer.smollm2()"
    assert "Q4_1" in base_of(tiny_model).note


def test_the_options_of_the_card_reach_it(steer_file: Path, tmp_path: Path) -> None:
    options = ["strength=3", "base_model=org/name", "license=cc0-1.0", f"run_dir={tmp_path / 'out'}"]
    card = (exported(f"steer_file={steer_file}", *options) / "README.md").read_text()
    read = yaml.safe_load(card.split("---\n")[1])
    assert (read["base_model"], read["license"]) == ("org/name", "cc0-1.0")


def converted(*overrides: str) -> Path:
    return convert(command_config("convert", "model=tiny", "device=cpu", "dtype=float32", *overrides))


def test_a_reference_checkpoint_becomes_a_steer_file_that_can_be_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {name: torch.randn(2, 32, 4) for name in ("projector1", "projector2")}
    torch.save([argparse.Namespace(model_name="gpt2", epsilon=0.05), state, 9], tmp_path / "c.pt")
    path = converted(f"checkpoint={tmp_path / 'c.pt'}", "names=[detox,dummy]", f"run_dir={tmp_path / 'steer'}")
    steer, provenance = load_steer(path, tiny())
    assert steer.dimensions == ("detox", "dummy")
    assert torch.equal(steer.p1, state["projector1"])
    printed = capsys.readouterr().out
    assert "dimensions detox, dummy, rank 4, epsilon 0.05; its model: gpt2, taken for tiny-0" in printed
    card = exported(f"steer_file={path}", "strength=2", f"run_dir={tmp_path / 'out'}") / "README.md"
    assert f"derived: digest {provenance.derivation['digest']}; kind reference" in card.read_text()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["names=detox"], "names='detox'"),
        (["names=[a,b]", "epsilon=x"], "epsilon='x'"),
        (["names=[a,a]", "epsilon=1e-3"], "distinct non-empty names"),
        (["names=[a,b,c]", "epsilon=1e-3"], "a name for each expected"),
    ],
)
def test_what_cannot_be_converted_is_refused_in_one_line_and_leaves_nothing(
    tmp_path: Path, overrides: list[str], message: str
) -> None:
    torch.save([None, {name: torch.randn(2, 32, 4) for name in ("projector1", "projector2")}, 9], tmp_path / "c.pt")
    with pytest.raises(InputError, match=message) as caught:
        converted(f"checkpoint={tmp_path / 'c.pt'}", f"run_dir={tmp_path / 'steer'}", *overrides)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "steer").exists()
