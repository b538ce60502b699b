"""Promises of ``python -m src.report rescore=…``: other people's texts beside ours."""

import json
import re
from pathlib import Path

import pytest
from tests.handmade_commands import run_command

from lmsteer.evaluation.comparable import read_run
from lmsteer.evaluation.evaluator import GenerationMetadata
from lmsteer.evaluation.protocol import Protocol
from lmsteer.evaluation.results import read_result
from lmsteer.models.random_models import tiny
from lmsteer.records import Generation, Prompt
from lmsteer.runs import stages
from lmsteer.runs.run import Run
from lmsteer.scoring.alt_profanity_check import ProfanityScorer
from lmsteer.storage.atomic_files import atomic_write_lines

CONFIG = """\
seed: 0
device: cpu
dtype: float32
model:
  _target_: lmsteer.models.random_models.tiny
protocol:
  _target_: lmsteer.evaluation.protocol.Protocol
  name: detox
  metric: toxicity
  scorers:
    alt-profanity-check:
      _target_: lmsteer.scoring.alt_profanity_check.ProfanityScorer
"""
PROMPTS = {"mild": ["The weather", "My friend", "A damn thing"], "rude": ["Shut", "You stupid"]}


def texts(prompt: str, seed: int) -> tuple[str, ...]:
    return (f" is {seed} idiot", f" was fine {len(prompt)} times {seed}")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = Run(tmp_path / "run", CONFIG)
    folder.begin()
    rows = [
        Generation(Prompt(f"{name}-{i}", text), texts(text, seed), strength, name)
        for seed, strength in enumerate(({}, {"detox": 5.0}))
        for name, prompts in PROMPTS.items()
        for i, text in enumerate(prompts)
    ]
    path = folder.path("generations.jsonl")
    atomic_write_lines(path, (row.to_json() for row in rows))
    model, protocol = tiny(), Protocol(name="detox", metric="toxicity", scorers={"a": ProfanityScorer()})
    labels = GenerationMetadata(model=model.name, decoding={"p": 0.9}, batch_size=8, noise_seed=0)
    stages.evaluate_stage(folder, path, protocol, lambda: model, labels)
    return folder.folder


QUIET = ["published=none", "wandb=none"]


def foreign(path: Path, prompts: list[str], seed: int = 0) -> Path:
    """A file as DExperts writes it, which knows no prompt sets."""
    lines = [{"prompt": {"text": p}, "generations": [{"text": t} for t in texts(p, seed)]} for p in prompts]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def arguments(run: Path, file: Path, name: str = "dexperts") -> list[str]:
    return [f"runs={run}", f"hydra.run.dir={run.parent}/out", f"rescore={{{name}: {file}}}", *QUIET]


def test_the_same_texts_from_elsewhere_have_the_same_values(run: Path, tmp_path: Path) -> None:
    file = foreign(tmp_path / "dexperts.jsonl", [p for texts in reversed(PROMPTS.values()) for p in reversed(texts)])
    assert run_command("report", *arguments(run, file)) == 0
    ours, theirs = read_run(run), read_run(tmp_path / "out" / "rescored" / "dexperts")
    assert [(row.prompts, row.method) for row in theirs.result.rows] == [("rude", "dexperts"), ("mild", "dexperts")]
    for index, row in enumerate(theirs.result.rows):
        plain = next(measured for measured in ours.result.rows if measured.is_plain and measured.prompts == row.prompts)
        assert row.metrics.keys() == plain.metrics.keys()
        for name, value in row.metrics.items():
            assert value.value == pytest.approx(plain.metrics[name].value, rel=1e-6)
            assert theirs.sample(index, name).prompts == tuple(reversed(PROMPTS[row.prompts]))


@pytest.mark.parametrize("option", ["off", "kept"])
def test_scores_are_kept_where_it_is_asked_for_and_else_nowhere(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setattr("lmsteer.scoring.cache.cache_folder", lambda: pytest.fail("the user's cache was asked for"))
    folder = tmp_path / option
    file = foreign(tmp_path / "dexperts.jsonl", PROMPTS["mild"])
    where = "off" if option == "off" else str(folder)
    assert run_command("report", *arguments(run, file), f"cache={where}") == 0
    assert bool(list(folder.rglob("*.safetensors"))) == (option == "kept")


def test_they_stand_beside_ours_marked_and_compared(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = foreign(tmp_path / "dexperts.jsonl", PROMPTS["mild"], seed=7)
    assert run_command("report", *arguments(run, file)) == 0
    mild, rude = capsys.readouterr().out.split("### Measured on ")[1:]
    assert mild.count("| dexperts †") == 2  # its values, and its changes from the plain model
    assert "dexperts" not in rude
    assert "generated elsewhere, by an unknown decoding" in mild


def test_what_was_scored_is_not_scored_again(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = foreign(tmp_path / "dexperts.jsonl", PROMPTS["mild"])
    assert run_command("report", *arguments(run, file)) == 0
    monkeypatch.setattr(stages, "evaluate", lambda *_, **__: pytest.fail("scored again"))
    assert run_command("report", *arguments(run, file)) == 0


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (["Another", "One more"], r"none of its prompts is among those of .*run \(mild 3, rude 2\)"),
        (["The weather", "My friend", "Another"], r"2 prompts of mild, 2 of them different; the 3 of .*run, each once"),
        (["The weather", "My friend"], r"2 prompts of mild, 2 of them different; the 3 of .*run, each once"),
    ],
)
def test_other_prompts_are_refused_with_their_numbers(
    prompts: list[str], message: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = foreign(tmp_path / "dexperts.jsonl", prompts)
    assert run_command("report", *arguments(run, file)) == 1
    (error,) = (line for line in capsys.readouterr().err.splitlines() if "left out" not in line)
    assert error.startswith("Error: ")
    assert re.search(message, error)
    assert not list((tmp_path / "out").glob("*"))


def test_prompts_that_the_run_has_not_or_not_twice_are_left_out_and_counted(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = foreign(tmp_path / "dexperts.jsonl", [*PROMPTS["mild"], "Another", PROMPTS["mild"][0]])
    assert run_command("report", *arguments(run, file)) == 0
    assert f"{file}: 2 of 5 prompts left out" in capsys.readouterr().err
    (row,) = read_result(tmp_path / "out/rescored/dexperts/metrics.json").rows
    assert row.metrics["perplexity"].n == 3


def test_a_cut_file_another_number_of_samples_and_another_file_of_that_name_are_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = foreign(tmp_path / "dexperts.jsonl", PROMPTS["mild"])
    assert run_command("report", *arguments(run, file)) == 0
    foreign(file, PROMPTS["mild"], seed=9)
    capsys.readouterr()
    assert run_command("report", *arguments(run, file)) == 1
    assert "choose another hydra.run.dir" in capsys.readouterr().err
    whole = file.read_text()
    file.write_text(whole[: len(whole) // 2])
    assert run_command("report", *arguments(run, file, "cut")) == 1
    assert "dexperts.jsonl, line 2: not JSON" in capsys.readouterr().err
    more = [json.loads(line) for line in whole.splitlines()]
    file.write_text("".join(json.dumps(x | {"generations": x["generations"] * 2}) + "\n" for x in more))
    assert run_command("report", *arguments(run, file, "more")) == 1
    assert "were measured by different protocols: samples; make" in capsys.readouterr().err


def test_a_run_without_its_configuration_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = foreign(tmp_path / "dexperts.jsonl", PROMPTS["mild"])
    (run / "config.yaml").write_text("seed: 0\n")
    assert run_command("report", *arguments(run, file)) == 1
    assert "run/config.yaml: it lacks one of protocol, model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("dexperts", "rescore='dexperts': Input should be an object"),
        ("{dexperts: null}", "rescore={'dexperts': None}: Input should be a valid string"),
        *(
            (f"{{{name}: file}}", f"rescore={name}: a name without / or a dot")
            for name in ("plain", "../up", "a/b", ".a")
        ),
    ],
)
def test_a_name_that_is_none_is_refused(
    value: str, message: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("report", f"runs={run}", f"hydra.run.dir={tmp_path}/out", f"rescore={value}") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"Error: {message}")


def test_a_name_of_digits_is_one(run: Path, tmp_path: Path) -> None:
    file = foreign(tmp_path / "dexperts.jsonl", PROMPTS["mild"])
    assert run_command("report", *arguments(run, file, "7")) == 0
    assert read_run(tmp_path / "out" / "rescored" / "7").result.rows[0].method == "7"


def test_likelihoods_of_a_received_file_are_computed_and_not_believed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A forged file claims that its texts are certain, which is a perplexity of 1."""
    lines = [json.loads(line) for line in (run / "generations.jsonl").read_text(encoding="utf-8").splitlines()]
    honest, forged = tmp_path / "honest.jsonl", tmp_path / "forged.jsonl"
    honest.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    for line in lines:
        line["perplexity_model"] = tiny().fingerprint()
        line["generations"] = [{**text, "nll": 1e-9, "tokens": 5} for text in line["generations"]]
    forged.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    rescored = f"rescore={{honest: {honest}, forged: {forged}}}"
    out = tmp_path / "out"
    assert run_command("report", f"runs={run}", rescored, *QUIET, "cache=off", f"hydra.run.dir={out}") == 0
    honest_rows, forged_rows = (
        read_result(out / "rescored" / name / "metrics.json").rows for name in ("honest", "forged")
    )
    values = [[row.metrics["perplexity_corpus"].value for row in rows] for rows in (honest_rows, forged_rows)]
    assert values[0] == values[1]
    assert min(values[1]) > 100
