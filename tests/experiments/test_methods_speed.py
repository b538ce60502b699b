"""Promises of the study of the methods' speed, on a tiny model; no test checks how long anything took."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.handmade_commands import study_config, write_prompts, write_steer

from experiments.speed import methods as study
from experiments.speed.methods import decode_in_turns, load_methods, methods, methods_table
from lmsteer.cli.configuration import OBJECTS, check_config
from lmsteer.cli.options import COMMON
from lmsteer.embedded.archives import ARCHIVES
from lmsteer.errors import InputError
from lmsteer.generation.generator import Generator
from lmsteer.generation.sampling import Greedy
from lmsteer.methods.learned_method import FittedMethod, Learned
from lmsteer.methods.method_file import METHODS, save_method
from lmsteer.methods.prompt import Prompt
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Prompt as Text
from lmsteer.reporting.measured_speed import read_speed
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer

PROMPTED = FittedMethod(Prompt(), "tone", Learned(values={"positive": "warm ", "negative": "dull "}))
TEXTS = ("the film is", "I would like to know", "people who")
PASSES = {"contrast": 2, "dexperts": 3, "anti_only": 2}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Every method of the configuration, fitted for a step and measured twice."""
    folder, name = tmp_path_factory.mktemp("methods"), "movieReviewSnippets_GroundTruth.txt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMSTEER_CACHE", str(folder / "cache"))
        (archive,) = (archive for archive in ARCHIVES if name in archive.members)
        archive.folder().mkdir(parents=True)
        lines = (
            f"{n}\t{rating}\tThe story number {n} is {word} and I would like to know why\n"
            for n in range(200)
            for rating, word in ((3.0, "warm"), (-3.0, "dull"))
        )
        (archive.folder() / name).write_text("".join(lines), encoding="utf-8")
        prompts = write_prompts(folder / "prompts.jsonl", TEXTS)
        sizes = ["samples=2", "batch_size=4", "rounds=2", "steps=1", "steer.rank=4", "methods.lora.rank=2"]
        options = ["model=tiny", "dtype=float32", "prompts=any", f"prompts.path={prompts}", *sizes]
        run_dir = folder / "run"
        results = methods(study_config("speed", f"run_dir={run_dir}", *options, name="methods"))
        assert {path.name for path in run_dir.iterdir()} == {".lock", "config.yaml", "methods.json", "methods.md"}
        assert json.loads((run_dir / "methods.json").read_text()) == results
        yield results


def test_every_method_of_the_library_is_measured(measured: dict[str, Any]) -> None:
    assert set(measured["methods"]) == {"lm-steer", "constant_vector", "anti_only", *METHODS}
    assert len(measured["plain"]["seconds"]) == 2 * (len(measured["methods"]) + 1)
    assert measured["work"] == {"texts": 6, "tokens": 120, "strength": 1.0}
    for method in measured["methods"].values():
        assert len(method["seconds"]) == len(method["ratios"]) == 2
        assert method["median"] == pytest.approx(sum(method["ratios"]) / 2)
        assert 0 < method["min"] == min(method["ratios"]) <= max(method["ratios"]) == method["max"]


def test_passes_and_parameters_are_those_of_the_formulas(measured: dict[str, Any]) -> None:
    rows = measured["methods"]
    assert {name: row["passes"] for name, row in rows.items()} == {name: PASSES.get(name, 1) for name in rows}
    counts = {name: (row["trained_parameters"], row["inference_parameters"]) for name, row in rows.items()}
    width, rank, vocabulary = 32, 4, 384
    assert counts["lm-steer"] == (2 * 2 * width * rank, 2 * width * rank)  # attribute and dummy; the dummy is off
    assert counts["constant_vector"] == (2 * width, width)
    assert counts["logit_offset"] == (2 * vocabulary, vocabulary)
    assert counts["prompt"] == counts["contrast"] == counts["blacklist"] == (0, 0)
    assert counts["diffmean"] == counts["residual_vector"] == (width, width)
    trained, held = counts["lora"]
    assert trained == 2 * held > 0  # an adapter for each class, of which one writes
    assert counts["dexperts"] == (8 * trained, 8 * trained)  # of rank 16
    assert counts["anti_only"] == (8 * trained, 4 * trained)


def test_tables_of_costs_take_the_times_of_rows_with_the_same_costs(measured: dict[str, Any], tmp_path: Path) -> None:
    (path := tmp_path / "methods.json").write_text(json.dumps(measured))
    speed = read_speed(path)
    assert {name: one.method for name, one in speed.methods.items() if name != one.method} == {"anti_only": "dexperts"}
    assert {name: one.median for name, one in speed.methods.items()} == {
        name: method["median"] for name, method in measured["methods"].items()
    }


def test_the_table_holds_the_figures(measured: dict[str, Any]) -> None:
    lines = methods_table(measured).split("\n")
    for name, method in measured["methods"].items():
        (line,) = (line for line in lines if line.startswith(f"| {name} "))
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        parameters = [f"{method[key]:,}" for key in ("trained_parameters", "inference_parameters")]
        spread = f"{method['min']:.3f} to {method['max']:.3f}"
        assert cells == [name, f"**{method['median']:.3f}**", spread, str(method["passes"]), *parameters]


def test_each_method_is_decoded_between_plain_runs_and_every_other_round_backwards(tiny_model: LanguageModel) -> None:
    order: list[str] = []
    taken = {"plain": iter([100.0, *(1.0, 3.0, 5.0), *(1.0, 1.0, 3.0)]), "a": iter([100.0, 4.0, 6.0])}
    taken["b"] = iter([100.0, 2.0, 3.0])

    def clock(name: str, work: Callable[[], object]) -> float:
        assert work()
        order.append(name)
        return next(taken[name])

    generator = Generator(tiny_model, [Text("1", "the film")], decoding=Greedy(max_new_tokens=2))
    steer = Steer(32, dimensions=["joy"], rank=4)
    results = decode_in_turns(generator, {"a": PROMPTED, "b": steer}, 1.0, 2, clock)
    rounds = ["plain", "a", "plain", "b", "plain"], ["plain", "b", "plain", "a", "plain"]
    assert order == ["plain", "a", "b", *rounds[0], *rounds[1]]
    assert results["methods"]["a"]["ratios"] == [4 / 2, 6 / 2]
    assert results["methods"]["b"]["ratios"] == [2 / 4, 3 / 1]
    assert [results["methods"]["b"][key] for key in ("min", "median", "max")] == [0.5, 1.75, 3.0]
    assert results["plain"]["seconds"] == [1.0, 3.0, 5.0, 1.0, 1.0, 3.0]


def test_methods_are_read_from_run_folders(tiny_model: LanguageModel, tmp_path: Path) -> None:
    one, two, three = (tmp_path / name for name in "123")
    for folder in (one, two, three):
        folder.mkdir()
    write_steer(one / "steer.safetensors", Steer(32, dimensions=["joy"], rank=4))
    for folder in (two, three):
        fingerprint = tiny_model.head.fingerprint()
        save_method(folder / "method.safetensors", PROMPTED, Provenance(model="tiny-0", fingerprint=fingerprint))
    read = load_methods([one, two, three], tiny_model)
    assert list(read) == ["lm-steer", "prompt", f"prompt {three}"]
    assert read["prompt"] == PROMPTED
    with pytest.raises(InputError, match=r"steer\.safetensors or .*method\.safetensors of a run expected"):
        load_methods([tmp_path], tiny_model)


def test_the_options_of_the_configuration_are_those_that_the_command_reads() -> None:
    config = check_config(study_config("speed", "run_dir=x", name="methods"), study.TYPES)
    assert set(config) == {*study.TYPES, *({*COMMON, *OBJECTS} & {*config})}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rounds=0", "rounds=0: Input should be greater than or equal to 1"),
        ("strength=0", "strength=0: Input should be greater than 0"),
        ("methods.lora.rnak=3", "Could not override 'methods.lora.rnak'"),
        ("+methods.mine=5", "'mine': 5}: choices in conf/method expected"),
        ("runs=[nowhere]", "runs: nowhere: steer.safetensors or method.safetensors of a run expected"),
    ],
)
def test_wrong_values_end_in_one_line_and_leave_nothing(
    override: str, message: str, refusal: Any, tmp_path: Path
) -> None:
    prompts = write_prompts(tmp_path / "prompts.jsonl", TEXTS)
    options = ["model=tiny", "prompts=any", f"prompts.path={prompts}", override]
    assert message in refusal("experiments/speed:methods", methods, *options)
