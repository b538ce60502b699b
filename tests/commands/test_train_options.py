"""Promises of the options of Lightning, torch and loggers on the command line of ``train``."""

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.handmade_commands import command_config
from tests.tone import write_tone

from lmsteer.commands.generate import generate
from lmsteer.commands.train import train
from lmsteer.errors import InputError
from lmsteer.evaluation import objective
from lmsteer.evaluation.final_values import final_values
from lmsteer.evaluation.plan import Plan
from lmsteer.evaluation.results import read_result
from lmsteer.steering.steer_file import load_steer

OPTIONS = [
    *("optimizer=sgd", "optimizer.lr=0.5", "scheduler=linear", "trainer.gradient_clip_val=1", "callbacks=lr_monitor"),
    *("+callbacks.timer._target_=pytorch_lightning.callbacks.Timer", "logger=[csv]"),
]


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    path = write_tone(tmp_path, rows=300, words=10)
    corpus = ["corpus=file", f"corpus.path={path}", "cache=off", "logger=none", "data.batch_size=4"]
    steps = ["trainer.max_steps=4", "trainer.val_check_interval=4"]
    return [
        *corpus,
        *steps,
        "model=tiny",
        "steer.name=tone",
        "steer.rank=4",
        "protocol=none",
        f"run_dir={tmp_path / 'run'}",
    ]


def test_each_option_does_what_its_name_says(options: list[str], tmp_path: Path) -> None:
    train(command_config("train", *options, *OPTIONS))
    training = load_steer(tmp_path / "run" / "steer.safetensors")[1].training
    assert training["lr"] == 0.5
    assert training["optimizer"] == {"name": "SGD", "momentum": 0.9}
    assert training["scheduler"] == {"name": "LinearLR", "start_factor": 1.0, "end_factor": 0.0, "total_iters": 4}
    assert training["trainer"] == {"gradient_clip_val": 1}
    assert training["callbacks"] == ["LearningRateMonitor", "Timer"]
    with (tmp_path / "run/csv/version_0/metrics.csv").open(encoding="utf-8") as file:
        logged = [float(row["lr-SGD"]) for row in csv.DictReader(file) if row["lr-SGD"]]
    assert logged == [0.5, 0.375, 0.25, 0.125]


def test_options_that_change_the_steer_make_another_run_and_others_do_not(options: list[str]) -> None:
    train(command_config("train", *options))
    train(command_config("train", *options, "logger=csv", "trainer.strategy=ddp", "trainer.devices=1"))
    for option in ("trainer.precision=bf16-true", "optimizer=adamw", "scheduler=cosine", "callbacks=early_stopping"):
        with pytest.raises(InputError, match="holds a run with another configuration"):
            train(command_config("train", *options, option))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("+trainer.accumulate_grad_batches=4", "trainer.accumulate_grad_batches: the loss is the mean over the tokens"),
        ("+trainer.nonsense=4", r"trainer\.nonsense: unknown option; allowed are accelerator, strategy, "),
        ("trainer.precision=8", r"trainer\.precision=8: Input should be 64, 32 or 16"),
        ("trainer.profiler=magic", r"trainer\.profiler: refused by Lightning"),
        ("optimizer.lr=fast", r"optimizer\.lr='fast'"),
        ("optimizer.lr=0", r"optimizer\.lr=0\.0: a number above 0"),
        ("+optimizer.momentum=1", r"optimizer\.momentum: unknown option"),
    ],
)
def test_bad_options_are_refused_before_the_folder_is_taken(
    options: list[str], option: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        train(command_config("train", *options, option))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("label", ["1", "0"])
@pytest.mark.parametrize("solver", ["gradient", "one_pass"])
@pytest.mark.parametrize("protocol", ["none", "attribute"])
def test_labels_that_teach_nothing_are_refused_before_a_model_is_loaded(
    options: list[str], label: str, solver: str, protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = re.sub(r"\t-?0\.8$", rf"\t{label}", (tmp_path / "tone.tsv").read_text(), flags=re.MULTILINE)
    (tmp_path / "tone.tsv").write_text(table)
    monkeypatch.setattr("lmsteer.models.random_models.LlamaForCausalLM", None)
    message = rf"corpus tone: all \d+ train rows have the label {label}, from which nothing can be learned"
    with pytest.raises(InputError, match=message):
        train(command_config("train", *options, f"protocol={protocol}", f"solver={solver}"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "free", "message"),
    [
        (
            "data.batch_size=1000000000000",
            2**40,
            r"data\.batch_size=1000000000000: an integer from 1 to 65536 expected",
        ),
        (
            "protocol.batch_size=1000000000",
            2**14,
            r"batch_size=1000000000: \d+ sequences decoded together take .* may do",
        ),
    ],
)
def test_huge_batches_are_refused_before_the_folder_is_taken(
    options: list[str], option: str, free: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmsteer.models.memory.free_memory", lambda _: free)
    with pytest.raises(InputError, match=message):
        train(command_config("train", *options, "protocol=attribute", option))
    assert not (tmp_path / "run").exists()


SMALL = ["protocol.samples=2", "protocol.prompts.own.n=4", "decoding.max_new_tokens=4"]


@pytest.fixture
def measured(options: list[str]) -> list[str]:
    """A run that measures its steer."""
    return [*(option for option in options if option != "protocol=none"), *SMALL]


def test_objectives_are_returned_to_a_sweeper(measured: list[str], tmp_path: Path) -> None:
    value = train(command_config("train", *measured, "objective=tone/+5"))
    rows = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))["rows"]
    (expected,) = (row["metrics"] for row in rows if row["strength"] == {"tone": 5.0})
    assert value == expected["tone"]["value"]
    names = ["tone/+5", "perplexity/tone+5", "dev/loss"]
    curve = load_steer(tmp_path / "run" / "steer.safetensors")[1].training["curve"]
    again = train(command_config("train", *measured, f"objective=[{','.join(names)}]"))
    assert again == (value, expected["perplexity"]["value"], min(loss for _, loss in curve["dev"]))


def test_the_dev_loss_is_an_objective_without_a_protocol(options: list[str], tmp_path: Path) -> None:
    value = train(command_config("train", *options, "objective=dev/loss"))
    curve = load_steer(tmp_path / "run" / "steer.safetensors")[1].training["curve"]
    assert value == min(loss for _, loss in curve["dev"])


@pytest.mark.parametrize(
    ("options_of_the_run", "message"),
    [
        (["objective=tone/+5", "trainer=ddp"], r"tone/\+5: a protocol and trainer=single are needed"),
        (["objective=dev/loss", "solver=one_pass"], r"dev/loss: solver=gradient is needed"),
        (["objective=dev/control"], r"dev/control: module\.stop=control is needed"),
        (["objective=tone/+6"], r"tone/\+6: one of dev/loss, dev/control, tone/plain, .*tone/tone\+5.* expected"),
        (["objective=[tone/+5,tone]"], r"objective=tone: one of dev/loss, .* expected"),
        (["objective=[]"], r"objective=\[\]: "),
        (["objective=''"], r"objective='': "),
    ],
)
def test_an_objective_that_the_run_will_not_have_is_refused_before_it_begins(
    measured: list[str], options_of_the_run: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        train(command_config("train", *measured, *options_of_the_run))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("names", ["tone/+5", "[dev/loss,tone/+5]"])
def test_without_a_protocol_only_values_of_the_fit_are_objectives(
    names: str, options: list[str], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"^objective=tone/\+5: a protocol and trainer=single are needed to return"):
        train(command_config("train", *options, f"objective={names}"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["lm_steer", "residual_vector"])
def test_the_names_that_are_planned_are_those_that_are_logged(
    method: str, measured: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[str] = []
    check = objective.check_objectives

    def checked(names: Sequence[str], plan: Plan, directions: Sequence[str]) -> None:
        planned.extend(objective.planned_values(plan))
        check(names, plan, directions)

    monkeypatch.setattr("lmsteer.commands.train.check_objectives", checked)
    further = ["steer.epsilon=0.1", "protocol.strengths=[-5,2,5]", "protocol.kl=0.01", "protocol.calibration_prompts=2"]
    train(command_config("train", *measured, *further, f"method={method}", "objective=tone/+5"))
    logged = final_values(read_result(tmp_path / "run" / "metrics.json"))
    assert {name for name in logged if "kl 0.01" in name}
    assert list(logged) == [name for name in planned if name in logged]
    assert set(planned) == set(logged)


def test_generate_refuses_options_of_the_lightning_trainer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"trainer\.precision: only train has a Lightning trainer"):
        generate(command_config("generate", "model=tiny", "trainer.precision=bf16-true", f"run_dir={tmp_path / 'run'}"))
    assert not (tmp_path / "run").exists()
