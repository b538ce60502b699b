"""Promises of the commands on a steer with a schedule."""

from pathlib import Path

import pytest
from tests.handmade_commands import run_command, write_prompts
from tests.tone import write_tone

from lmsteer.records import read_generations
from lmsteer.steering.schedule import CountSchedule, Gate
from lmsteer.steering.steer_file import load_steer

SMALL = [
    "model=tiny",
    "corpus=file",
    "steer.name=tone",
    "steer.rank=4",
    "steer.epsilon=0.05",
    "logger=none",
    "cache=off",
]
FIT = ["trainer.max_steps=4", "trainer.val_check_interval=2", "data.batch_size=4", "protocol=none"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_tone(folder, rows=300, words=10).rename(folder / "corpus.tsv")
    lines = [f'{{"prompt": "the {word} film", "label": {k % 2}}}\n' for k, word in enumerate("aabbccdd")]
    (folder / "labeled.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def test_a_fit_writes_its_schedule_and_calibration_and_composition_read_it(files: Path, tmp_path: Path) -> None:
    corpus = f"corpus.path={files / 'corpus.tsv'}"
    words = ["schedule@method.schedule=words", "method.schedule.begin=2"]
    gate = ["schedule@method.schedule=gate", f"method.schedule.prompts={files / 'labeled.jsonl'}"]
    steers = []
    for name, schedule in (("words", words), ("gate", gate)):
        assert run_command("train", *SMALL, *FIT, corpus, *schedule, f"hydra.run.dir={tmp_path / name}") == 0
        steers.append(tmp_path / name / "steer.safetensors")
    assert load_steer(steers[0])[0].schedules == {"tone": CountSchedule(unit="words", begin=2)}
    assert isinstance(load_steer(steers[1])[0].schedules["tone"], Gate)

    options = ["model=tiny", "corpus=file", corpus, "steer.name=tone", "protocol=attribute", "protocol.kl=0.001"]
    options += ["cache=off", "protocol.calibration_prompts=4", "protocol.samples=2", f"hydra.run.dir={tmp_path / 'c'}"]
    assert run_command("calibrate", *options, f"steer_file={steers[0]}") == 0
    steer, provenance = load_steer(steers[0])
    assert steer.schedules == {"tone": CountSchedule(unit="words", begin=2)}
    assert [entry["direction"] for entry in provenance.calibration] == [-1, 1]

    both = [f"steer_files=[{','.join(map(str, steers))}]", "names=[a,b]", f"hydra.run.dir={tmp_path / 'both'}"]
    assert run_command("compose", *both, "+schedule@schedules.b=ramp", "schedules.b.end=9") == 0
    composed = tmp_path / "both" / "steer.safetensors"
    ramp = CountSchedule(unit="tokens", begin=0, end=9)
    assert load_steer(composed)[0].schedules == {"a": CountSchedule(unit="words", begin=2), "b": ramp}

    prompts = write_prompts(tmp_path / "p.jsonl", ["the film", "the storm"])
    written = [
        "model=tiny",
        f"steer_file={composed}",
        "strength={a: 30, b: 30}",
        f"prompts.path={prompts}",
        "samples=2",
    ]
    assert run_command("generate", *written, f"hydra.run.dir={tmp_path / 'texts'}") == 0
    assert len(read_generations(tmp_path / "texts" / "generations.jsonl")) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["schedule@method.schedule=words", "method.schedule.begin=x"], "method.schedule.begin='x'"),
        (["schedule@method.schedule=words", "method.schedule.end=3"], "schedule begin=40, end=3: 0 <= begin <= end"),
        (["schedule@method.schedule=ramp", "method.schedule.unit=letters"], "method.schedule.unit='letters'"),
        (["schedule@method.schedule=gate"], "method.schedule.prompts: a value is needed"),
        (["schedule@method.schedule=gate", "method.schedule.prompts=nowhere.jsonl"], "nowhere.jsonl"),
        (["method=prompt", "schedule@method.schedule=words"], "Could not override 'schedule@method.schedule'"),
    ],
)
def test_a_wrong_schedule_is_refused_in_one_line(
    files: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = f"corpus.path={files / 'corpus.tsv'}"
    assert run_command("train", *SMALL, *FIT, corpus, *options, f"hydra.run.dir={tmp_path / 'run'}") == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error:")]
    assert message in line
    assert not list((tmp_path / "run").glob("[!.]*"))
