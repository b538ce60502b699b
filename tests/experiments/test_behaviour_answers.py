"""Promises of the command that writes answers of behaviours, on a tiny chat model and on one that is scripted."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.chat import write_chat_model
from tests.handmade_commands import study_config

from experiments.behaviours.answers import behaviour_answers
from lmsteer.behaviours import NAMES, verify
from lmsteer.cli.app import CONF
from lmsteer.generation.generator import Generator
from lmsteer.records import Generation

BEHAVIOURS = ["case-lower", "case-upper", "sentences-1", "words-10-50"]
SHOUT = """
shout:
  _target_: lmsteer.behaviours.behaviour.Behaviour
  name: shout
  category: tone
  instructions: [Answer LIKE THIS!]
  verify: {_target_: lmsteer.behaviours.letter_case.is_upper, _partial_: true}
"""
NUMBERS = {"train": 6, "dev": 2, "test": 3}


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A chat model, questions, and a small size."""
    folder = tmp_path_factory.mktemp("files")
    write_chat_model(folder / "model")
    lines = [json.dumps({"question": f"Is it number {number * 7919}?"}) for number in range(200)]
    (folder / "mine.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return [
        *("model=hf", f"model.id={folder / 'model'}", "device=cpu", "dtype=float32", "size=offline"),
        *(f"questions.path={folder / 'mine.jsonl'}", *(f"questions.{split}={n}" for split, n in NUMBERS.items())),
        *(f"behaviours=[{','.join(BEHAVIOURS)}]", "decoding.max_new_tokens=6", "batch_size=4", "samples=2"),
    ]


def write(folder: Path, *options: str) -> dict[str, Any]:
    return behaviour_answers(study_config("behaviours", f"run_dir={folder}", *options, name="answers"))


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", "config.yaml"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that writes capitals to two of three questions that ask for them, and never anything in small letters."""

    def answer(asked: str) -> str:
        number = int(asked.partition("?")[0].rpartition(" ")[2])
        is_asked = "UPPERCASE" in asked or "LIKE THIS" in asked
        return f"NUMBER {number} IT IS." if is_asked and number % 3 else f"Number {number} it is. It is."

    def batch(self: Generator, mixture: Any, strengths: Any, indices: Sequence[int]) -> list[Generation]:
        return [Generation(self.prompts[i], (answer(self.prompts[i].text),), {}) for i in indices]

    monkeypatch.setattr(Generator, "batch", batch)


@pytest.mark.usefixtures("scripted")
def test_files_are_those_that_a_scripted_model_gives_by_hand(options: list[str], tmp_path: Path) -> None:
    results = write(tmp_path / "run", *options)
    splits = json.loads((tmp_path / "run" / "questions.json").read_text(encoding="utf-8"))
    assert {split: len(texts) for split, texts in splits.items()} == NUMBERS
    numbers = {q: int(q.strip("?").split()[-1]) for texts in splits.values() for q in texts}
    asked = [*splits["train"], *splits["dev"]]
    upper = [q for q in asked if numbers[q] % 3]
    assert json.loads((tmp_path / "run" / "keep.json").read_text(encoding="utf-8")) == results
    expected = {"source": "distilled", "asked": 16, "kept": 2 * len(upper), "keep_rate": len(upper) / 8}
    expected |= {"left_out": False, "questions": 8, "questions_kept": len(upper), "plain_rate": 0.0}
    expected |= {"distilled_rate": len(upper) / 8}
    assert results["case-upper"].pop("model") == results["case-lower"]["model"]
    assert results["case-upper"] == expected
    assert (results["case-lower"]["kept"], results["case-lower"]["left_out"]) == (0, True)
    assert results["sentences-1"]["plain_rate"] == 0.0
    assert not (tmp_path / "run" / "answers" / "case-lower.jsonl").exists()
    lines = lines_of(tmp_path / "run" / "answers" / "case-upper.jsonl")
    assert lines == [
        {"question": q, "answer": answer, "label": label, "split": split}
        for split in ("train", "dev")
        for q in splits[split]
        if q in upper
        for _ in range(2)
        for answer, label in ((f"NUMBER {numbers[q]} IT IS.", 1), (f"Number {numbers[q]} it is. It is.", -1))
    ]
    plain = lines_of(tmp_path / "run" / "plain.jsonl")
    assert {(line["question"], line["answer"]) for line in plain} == {
        (q, f"Number {numbers[q]} it is. It is.") for q in asked
    }
    table = (tmp_path / "run" / "keep.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert ["case-lower", "distilled", "0 of 16", "0.0 %", "0.0 %", "0.0 %", "0.0 %", "left out"] in cells


@pytest.mark.usefixtures("scripted")
def test_transforms_are_taken_for_all_or_where_too_few_are_kept(options: list[str], tmp_path: Path) -> None:
    auto = write(tmp_path / "auto", *options, "source=auto")
    assert {name: one["source"] for name, one in auto.items()} == {
        "case-lower": "transform",
        "case-upper": "distilled",
        "sentences-1": "transform",
        "words-10-50": "distilled",
    }
    assert (auto["case-lower"]["keep_rate"], auto["case-lower"]["distilled_rate"]) == (1.0, 0.0)
    transformed = write(tmp_path / "transform", *options, "source=transform", "behaviours=[case-upper,sentences-1]")
    assert all((one["source"], one["keep_rate"]) == ("transform", 1.0) for one in transformed.values())
    assert not (tmp_path / "transform" / "replies" / "case-upper.jsonl").exists()
    for line in lines_of(tmp_path / "transform" / "answers" / "sentences-1.jsonl"):
        assert verify("sentences-1", line["answer"]) == (line["label"] == 1)


def test_a_killed_run_ends_with_the_files_of_an_unbroken_one(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [*options, "source=auto"]
    decode, calls, killed = Generator.batch, 0, True

    def batch(self: Generator, *arguments: Any) -> list[Generation]:
        nonlocal calls
        calls += 1
        if killed and calls % 5 == 0:
            raise KeyboardInterrupt
        return [replace(generation, cut=()) for generation in decode(self, *arguments)]  # its texts never end

    monkeypatch.setattr(Generator, "batch", batch)
    killed = False
    write(tmp_path / "unbroken", *options)
    killed = True
    kills = 0
    while not (tmp_path / "broken" / "keep.md").is_file():
        try:
            write(tmp_path / "broken", *options)
        except KeyboardInterrupt:
            kills += 1
    assert kills >= 3
    assert contents(tmp_path / "broken") == contents(tmp_path / "unbroken")
    calls = 0
    write(tmp_path / "broken", *options)
    assert calls == 0
    assert contents(tmp_path / "broken") == contents(tmp_path / "unbroken")
    lines = lines_of(tmp_path / "broken" / "answers" / "case-upper.jsonl")
    assert lines
    assert all(verify("case-upper", line["answer"]) for line in lines if line["label"] == 1)


@pytest.mark.usefixtures("scripted")
def test_a_behaviour_of_ones_own_asks_by_its_instructions(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "behaviour").mkdir()
    (tmp_path / "behaviour" / "shout.yaml").write_text(SHOUT, encoding="utf-8")
    search = f"hydra.searchpath=[file://{CONF},file://{tmp_path}]"
    results = write(tmp_path / "run", *options, search, "behaviours=[]", "behaviour@own=[shout]")
    assert list(results) == ["shout"]
    assert results["shout"]["kept"] > 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=tiny"], "model tiny-0: it has no chat template"),
        (["questions.train=1000"], "questions.train=1000: mine has "),
        (["questions.path=nowhere.jsonl"], "nowhere.jsonl does not exist"),
        (["questions.id=org/name"], "one of them expected"),
        (["behaviours=[case-Upper]"], f"behaviour 'case-Upper': unknown; allowed are {NAMES[0]}"),
        (
            ["behaviours=[case-upper,case-upper]"],
            "behaviours: case-upper, case-upper; one or more, each once, expected",
        ),
        (["behaviours=[]"], "behaviours: none; one or more"),
        (["behaviours=5"], "behaviours=5: "),
        (["source=both"], "source='both': Input should be 'distilled', 'transform' or 'auto'"),
        (["samples=0"], "samples=0: Input should be greater than or equal to 1"),
        (["batch_size=0"], "batch_size=0: Input should be greater than or equal to 1"),
        (["texts={language-fr: fr.txt}"], "texts.language-fr: not among the behaviours case-lower, "),
        (["decoding.stop_at_end=false"], "decoding.stop_at_end=false: answers are learned with their end"),
        (["decoding.max_new_tokens=500"], "exceeds the context of model, 128"),
        (["behaviour@own=[shout]"], "Could not load 'behaviour/shout'"),
    ],
)
def test_wrong_values_end_in_one_line_and_leave_nothing(
    overrides: list[str], message: str, options: list[str], refusal: Any
) -> None:
    if overrides == ["model=tiny"]:
        options = [option for option in options if not option.startswith("model")]
    assert message in refusal("experiments/behaviours:answers", behaviour_answers, *options, *overrides)


@pytest.mark.usefixtures("scripted")
def test_a_model_that_can_do_nothing_is_told_in_one_line(options: list[str], tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"case-lower, language-fr: no answer has the behaviour; another model or source"
    ):
        write(tmp_path / "run", *options, "behaviours=[case-lower,language-fr]")
    assert not (tmp_path / "run" / "keep.json").exists()
