"""Promises of the commands, as a user calls them, on a tiny model and a corpus of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.tone import write_tone

from lmsteer.evaluation.results import read_result
from lmsteer.records import read_generations
from lmsteer.steering.steer_file import load_steer

ROOT = Path(__file__).parents[2]
SMALL = ["model=tiny", "corpus=file", "steer.name=tone", "steer.rank=4", "steer.epsilon=0.05", "logger=none"]
QUICK = ["trainer.max_steps=6", "trainer.val_check_interval=2", "data.batch_size=4", "protocol.samples=2"]
QUICK += ["protocol.prompts.own.n=4"]
CACHING = ("train", "evaluate", "calibrate")


def run(command: str, *overrides: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    if command in CACHING and not any(item.startswith("cache=") for item in overrides):
        overrides = (*overrides, "cache=off")  # the default is the user's cache
    done = subprocess.run(
        [sys.executable, "-m", f"src.{command}", *overrides],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The error of a refused command, which is one line and no traceback."""
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.fixture(scope="module")
def corpus_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tone(tmp_path_factory.mktemp("corpus"), rows=300, words=10)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory, corpus_file: Path) -> Path:
    folder = tmp_path_factory.mktemp("run") / "whole"
    run("train", *SMALL, *QUICK, f"corpus.path={corpus_file}", f"hydra.run.dir={folder}")
    return folder


def test_train_does_the_whole_job(finished_run: Path) -> None:
    names = {".lock", "config.yaml", "steer.safetensors", "generations.jsonl", "metrics.json", "values.safetensors"}
    assert {path.name for path in finished_run.iterdir()} == names | {"timing.json", "report.html", "sources.json"}
    result = read_result(finished_run / "metrics.json")
    assert [row.strength for row in result.rows] == [{}, {"tone": -5.0}, {"tone": 5.0}]
    assert [row.method for row in result.rows] == ["plain", "lm-steer", "lm-steer"]
    metrics = {"tone", "perplexity", "perplexity_corpus", "dist_1", "dist_2", "dist_3"}
    assert all(set(row.metrics) == metrics for row in result.rows)
    assert all(value.low <= value.value <= value.high for row in result.rows for value in row.metrics.values())
    generations = read_generations(finished_run / "generations.jsonl")
    assert len(generations) == 12
    assert all(len(generation.texts) == 2 for generation in generations)
    assert set(json.loads((finished_run / "timing.json").read_text())) == {
        "fit",
        "plain",
        "generate",
        "cost",
        "evaluate",
    }


def test_a_finished_run_is_not_done_again_and_another_is_refused(finished_run: Path, corpus_file: Path) -> None:
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in finished_run.iterdir()}
    again = [*SMALL, *QUICK, f"corpus.path={corpus_file}", f"hydra.run.dir={finished_run}"]
    run("train", *again)
    error = one_line(run("train", *again, "seed=1", expect=1))
    assert "another configuration" in error
    after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in finished_run.iterdir()}
    assert {name: after[name] for name in before if name != "config.yaml"} == {
        name: before[name] for name in before if name != "config.yaml"
    }


def test_an_experiment_is_a_sweep_over_seeds_that_ends_in_tables_and_is_not_done_twice(
    corpus_file: Path, tmp_path: Path
) -> None:
    small = [item for item in SMALL if item != "logger=none"]
    budget = ["protocol.kl=[1e-4,4e-4]", "protocol.strengths=[5]", "protocol.calibration_prompts=2"]
    options = [*small, *QUICK, *budget, f"corpus.path={corpus_file}", f"hydra.sweep.dir={tmp_path / 'study'}"]
    options += ["experiment=detox", "protocol=attribute", "seed=0,1", f"cache={tmp_path / 'cache'}"]
    done = run("train", *options, "logger=none")
    folders = sorted(path for path in (tmp_path / "study").iterdir() if path.is_dir())
    assert len(folders) == 2, "one level deep, whatever the overrides hold"
    first, second = (read_generations(folder / "generations.jsonl") for folder in folders)
    assert [g.texts for g in first if not g.strength] == [g.texts for g in second if not g.strength]
    assert [g.texts for g in first if g.strength] != [g.texts for g in second if g.strength]
    assert len(list((tmp_path / "cache/scores/plain").glob("*.jsonl"))) == 1
    assert {g.budget for g in first if g.strength} == {"", "kl 0.0001", "kl 0.0004"}
    assert "±" in done.stdout
    names = ("table.md", "table.tex", "table.csv", "pareto.png", "report.html")
    assert all((tmp_path / "study" / name).is_file() for name in names)
    table = (tmp_path / "study/table.md").read_text(encoding="utf-8")
    sections = [table.index(f"Equal KL: {value} nats per token") for value in ("0.0001", "0.0004")]
    assert sections == sorted(sections)
    files = [path for folder in folders for path in folder.iterdir() if path.name != "config.yaml"]
    before = [path.stat().st_mtime_ns for path in files]
    again = run("train", *options, "logger=csv")
    assert [path.stat().st_mtime_ns for path in files] == before
    assert done.stderr.count("costs") > 0 == again.stderr.count("costs")


def test_calibrate_notes_the_strength_in_the_steer_file(finished_run: Path, corpus_file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "steer.safetensors"
    copy.write_bytes((finished_run / "steer.safetensors").read_bytes())
    options = ["model=tiny", "corpus=file", f"corpus.path={corpus_file}", "steer.name=tone", "protocol.prompts.own.n=4"]
    done = run("calibrate", *options, f"steer_file={copy}", "protocol.kl=1e-3", f"hydra.run.dir={tmp_path / 'run'}")
    steer, provenance = load_steer(copy)
    assert [(entry["budget"], entry["strength"] > 0) for entry in provenance.calibration] == [
        ("kl 0.001", False),
        ("kl 0.001", True),
    ]
    assert all(entry["reached"] == pytest.approx(1e-3, rel=0.01) for entry in provenance.calibration)
    assert f"{provenance.calibration[0]['strength']:+g}" in done.stdout
    before = load_steer(finished_run / "steer.safetensors")[0]
    assert all(a.equal(b) for a, b in zip(steer.parameters(), before.parameters(), strict=True))


def test_generate_continues_prompts_of_a_file_with_the_steer(finished_run: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "p.jsonl"
    prompts.write_text('{"prompt": {"text": "The film is"}}\n{"prompt": {"text": "I would like"}}\n')
    steer = f"steer_file={finished_run / 'steer.safetensors'}"
    small = ["model=tiny", f"prompts.path={prompts}", "samples=3", "decoding.max_new_tokens=5"]
    run("generate", *small, steer, "strength=5", f"hydra.run.dir={tmp_path / 'a'}")
    run("generate", *small, steer, "strength={tone:5}", f"hydra.run.dir={tmp_path / 'b'}")
    assert (tmp_path / "a/generations.jsonl").read_bytes() == (tmp_path / "b/generations.jsonl").read_bytes()
    generations = read_generations(tmp_path / "a/generations.jsonl")
    assert [generation.strength for generation in generations] == [{"tone": 5.0}] * 2
    assert [len(generation.texts) for generation in generations] == [3, 3]
    run("generate", *small, "decoding=greedy", f"hydra.run.dir={tmp_path / 'plain'}")
    assert read_generations(tmp_path / "plain/generations.jsonl")[0].strength == {}


def test_evaluate_reads_a_plain_dexperts_file(corpus_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "dexperts.jsonl"
    lines = [
        {"prompt": {"text": "The film"}, "generations": [{"text": " is warm and funny"}, {"text": " is dull"}]},
        {"prompt": {"text": "A story"}, "generations": [{"text": " of people"}, {"text": " of the storm"}]},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = ["model=tiny", "corpus=file", f"corpus.path={corpus_file}", "steer.name=tone", "row=dexperts"]
    run("evaluate", *options, f"generations={path}", f"hydra.run.dir={tmp_path / 'out'}")
    (row,) = read_result(tmp_path / "out/metrics.json").rows
    assert (row.method, row.strength, row.metrics["tone"].n) == ("dexperts", {}, 2)


def test_what_was_scored_once_is_not_scored_again_and_measures_the_same(
    finished_run: Path, corpus_file: Path, tmp_path: Path
) -> None:
    common = ["model=tiny", "corpus=file", f"corpus.path={corpus_file}", "steer.name=tone"]
    common += [f"cache={tmp_path / 'cache'}", f"generations={finished_run / 'generations.jsonl'}"]
    run("evaluate", *common, f"hydra.run.dir={tmp_path / 'first'}")
    scored = sorted((tmp_path / "cache/scores").rglob("*.safetensors"))
    assert len(scored) == 2, "one scorer and one judge"
    run("evaluate", *common, f"hydra.run.dir={tmp_path / 'second'}")
    assert sorted((tmp_path / "cache/scores").rglob("*.safetensors")) == scored
    first, second = ((tmp_path / name / "metrics.json").read_bytes() for name in ("first", "second"))
    assert first == second
    direct = read_result(finished_run / "metrics.json")
    for row, expected in zip(read_result(tmp_path / "first/metrics.json").rows, direct.rows, strict=True):
        values = {name: value.value for name, value in row.metrics.items()}
        assert (row.model, row.seed) == (expected.model, expected.seed)
        assert values == pytest.approx({name: value.value for name, value in expected.metrics.items()})


@pytest.mark.parametrize(
    ("command", "overrides", "message"),
    [
        ("train", ["+steer.rnk=3"], "steer.rnk: unknown option"),
        ("train", ["steer.rank=0"], "steer.rank=0: an integer in [1, 32]"),
        ("train", ["corpus.path=missing.tsv"], "missing.tsv"),
        ("train", ["protocol.strengths=[0]"], "protocol.strengths=[0]"),
        ("train", ["protocol.perplexity=[2,high]"], "protocol.perplexity=[2, 'high']: Input should be a valid number"),
        ("calibrate", ["steer_file=STEER"], "protocol.kl and protocol.perplexity are null"),
        ("calibrate", ["steer_file=missing.safetensors", "protocol.kl=0.3"], "missing.safetensors: no such steer file"),
        ("train", ["decoding.max_new_tokens=126"], "exceeds the context of tiny-0, 128"),
        ("train", ["model=hf", "model.id=/no/such/folder"], "model /no/such/folder: no such folder"),
        ("train", ["corpus.path=???"], "corpus.path: a value is needed"),
        ("generate", ["steer_file=missing.safetensors", "strength=5"], "missing.safetensors: no such steer file"),
        ("generate", ["strength=high"], "strength=high: a number"),
        ("generate", ["strength={tone:true}"], "strength={'tone': True}: a number"),
        ("train", ["protocol.strengths=[1e39]"], "protocol.strengths=[1e+39]: distinct finite numbers"),
        ("evaluate", ["generations=missing.jsonl"], "cannot read missing.jsonl"),
        ("evaluate", ["generations=g.jsonl", "cache=/dev/null/x"], "cache=/dev/null/x/scores: cannot be created"),
    ],
)
def test_bad_input_gets_one_clear_line_and_leaves_nothing(
    command: str, overrides: list[str], message: str, corpus_file: Path, finished_run: Path, tmp_path: Path
) -> None:
    overrides = [item.replace("STEER", str(finished_run / "steer.safetensors")) for item in overrides]
    base = [*SMALL, f"corpus.path={corpus_file}"] if command == "train" else ["model=tiny"]
    others = [item for item in base if item.split("=")[0] not in {o.split("=")[0] for o in overrides}]
    error = one_line(run(command, *others, *overrides, f"hydra.run.dir={tmp_path / 'out'}", expect=1))
    assert message in error
    assert not list((tmp_path / "out").glob("*"))
