"""A whole run on a chat model: from questions and answers in a file to a table, and answers to questions of a file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.chat import write_answers, write_chat_model
from tests.handmade_commands import run_command

from lmsteer.commands.generate import generate
from lmsteer.commands.train import train
from lmsteer.evaluation.results import read_result
from lmsteer.models.load import load_model
from lmsteer.records import read_generations
from lmsteer.scoring.perplexity import continuation_nll

QUESTIONS = ["How is the storm?", "Who would like to know?"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on a chat model, in which the model and the corpus are too."""
    folder = tmp_path_factory.mktemp("chat")
    write_chat_model(folder / "model")
    corpus = ["corpus=file", f"corpus.path={write_answers(folder / 'answers.jsonl', 300)}", "steer.name=tone"]
    fit = [
        "trainer.max_steps=4",
        "data.batch_size=8",
        "data.dev_rows=16",
        "data.max_length=100",
        "logger=none",
        "cache=off",
    ]
    protocol = ["protocol.samples=2", "protocol.prompts.own.n=4", "protocol.strengths=[3]", "decoding.stop_at_end=true"]
    model = ["model=hf", f"model.id={folder / 'model'}", "size=offline", "device=cpu", "dtype=float32"]
    assert run_command("train", *model, *corpus, *fit, *protocol, f"hydra.run.dir={folder / 'run'}") == 0
    return folder


def test_a_run_asks_the_questions_of_test_rows_and_measures_the_answers(run_folder: Path) -> None:
    generations = read_generations(run_folder / "run" / "generations.jsonl")
    assert len(generations) == 8
    assert all(generation.prompt.turns == (("user", generation.prompt.text),) for generation in generations)
    result = read_result(run_folder / "run" / "metrics.json")
    assert [row.strength for row in result.rows] == [{}, {"tone": 3.0}]
    model = load_model(str(run_folder / "model"), device="cpu", dtype="float32")
    plain = [generation for generation in generations if not generation.strength]
    contents = [generation.prompt.content for generation in plain for _ in generation.texts]
    nats, tokens = continuation_nll(model, contents, [text for generation in plain for text in generation.texts])
    perplexities = (nats / tokens).exp().view(4, -1).mean()
    assert result.rows[0].metrics["perplexity"].value == pytest.approx(float(perplexities), rel=1e-2)


def test_questions_of_a_file_are_answered_and_read_again(run_folder: Path, tmp_path: Path) -> None:
    lines = "".join(json.dumps({"question": question}) + "\n" for question in QUESTIONS)
    (tmp_path / "questions.jsonl").write_text(lines, encoding="utf-8")
    options = ["model=hf", f"model.id={run_folder / 'model'}", "device=cpu", "dtype=float32", "samples=1"]
    options += [f"steer_file={run_folder / 'run' / 'steer.safetensors'}", "strength=2", "size=offline"]
    paths = [tmp_path / "questions.jsonl", tmp_path / "first" / "generations.jsonl"]
    for path, out in zip(paths, ("first", "second"), strict=True):
        assert run_command("generate", *options, f"prompts.path={path}", f"hydra.run.dir={tmp_path / out}") == 0
    first, second = (read_generations(tmp_path / out / "generations.jsonl") for out in ("first", "second"))
    assert [generation.prompt.turns for generation in first] == [(("user", question),) for question in QUESTIONS]
    assert [(g.prompt, g.texts) for g in first] == [(g.prompt, g.texts) for g in second]


def test_a_model_without_a_template_is_refused_in_one_line(refusal: Callable[..., str], tmp_path: Path) -> None:
    path = write_answers(tmp_path / "answers.jsonl", 40)
    options = ["model=tiny", "corpus=file", f"corpus.path={path}", "steer.name=tone", "logger=none", "protocol=none"]
    assert "model tiny-0: it has no chat template" in refusal("train", train, *options)
    assert "model tiny-0: it has no chat template" in refusal(
        "generate", generate, "model=tiny", f"prompts.path={path}"
    )
    assert "model.chat='on'" in refusal("generate", generate, "model=tiny", "model.chat=on")
