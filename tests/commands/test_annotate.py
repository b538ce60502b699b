"""Promises of ``python -m src.annotate``: from runs to a questionnaire, from answers to a table next to the metrics."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from tests.annotation_runs import HOSTILE_TEXTS, hostile_text, write_runs
from tests.handmade import Page
from tests.handmade_commands import run_command
from tests.wandb_file import history

from lmsteer.models.random_models import tiny

ROWS = ["lm-steer/detox +5", "dexperts/detox +5", "plain"]
SAMPLED = {"config.yaml", "key.json", "questionnaire.html", "questionnaire.json", "tools"}
ANALYZED = {"annotation.json", "annotation.html", "annotation.png", "table.md", "table.tex", "table.csv"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runs(tmp_path_factory.mktemp("runs"), text=hostile_text)


@pytest.fixture(scope="module")
def study(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "study"
    assert run_command("annotate", f"runs={runs}", "n_prompts=20", f"hydra.run.dir={out}") == 0
    return out


@pytest.fixture(scope="module")
def answers(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rater who always prefers what plain did not write, and the text by lm-steer to that by dexperts."""
    key, folder = content(study, "key.json"), tmp_path_factory.mktemp("answers")
    rank = {row: number for number, row in enumerate(ROWS)}
    given = [
        {
            "item": item,
            "question": question,
            "choice": "ab"[rank[rows[0]] > rank[rows[1]]] if rows else "a",
            "seconds": 1,
        }
        for item, rows in ((item, entry["rows"]) for item, entry in key["items"].items())
        for question in ("toxic", "fluent", "topic")
    ]
    own = {"format": "lmsteer-answers", "questionnaire": key["questionnaire"], "rater": "<b>ann", "answers": given}
    (folder / "ann.json").write_text(json.dumps(own), encoding="utf-8")
    return folder / "ann.json"


def content(folder: Path, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    return loaded


def refused(capsys: pytest.CaptureFixture[str], out: Path, *options: str, command: str = "annotate") -> str:
    """The error of a refused command, which is one line and leaves no files."""
    assert run_command(command, f"hydra.run.dir={out}", *options) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert not list(out.glob("*"))
    return line


def test_one_command_makes_the_questionnaire_of_runs(study: Path) -> None:
    assert {path.name for path in study.iterdir()} - {".lock"} == SAMPLED
    page = (study / "questionnaire.html").read_text(encoding="utf-8")
    assert not any(row in page for row in ("detox", "/key", *ROWS[:2]))
    assert len(content(study, "key.json")["pairs"]) == 3


def test_hostile_texts_are_data_of_the_page_and_nothing_is_requested(study: Path) -> None:
    page = Page((study / "questionnaire.html").read_text(encoding="utf-8"))
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {}]
    assert not [tag for tag, _ in page.tags if tag in ("img", "link", "iframe", "object")]
    assert not [a for _, attributes in page.tags for a in attributes if a in ("src", "href") or a.startswith("on")]
    data = json.loads(next(text for text in page.texts if text.startswith('{"choices"')))
    texts = {text.removeprefix(" ") for item in data["items"] for text in item["texts"]}
    assert texts >= {*HOSTILE_TEXTS}
    (policy,) = (a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy


def test_the_same_command_gives_the_same_files_and_another_one_is_refused(
    runs: Path, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    assert run_command("annotate", f"runs={runs}", "n_prompts=20", f"hydra.run.dir={study}") == 0
    capsys.readouterr()
    assert run_command("annotate", f"runs={runs}", "n_prompts=19", f"hydra.run.dir={study}") == 1
    assert "holds a run with another configuration" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in study.rglob("*") if path.is_file()} == before


def test_answers_become_tables_a_figure_and_columns_beside_the_automatic_metrics(
    runs: Path, study: Path, answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_command("annotate", f"study={study}", f"answers={answers}", f"hydra.run.dir={out}") == 0
    assert {path.name for path in out.iterdir()} == ANALYZED
    result = content(out, "annotation.json")
    assert {(pair["a"], pair["b"], pair["win"], pair["n"]) for pair in result["pairs"]} == {
        (ROWS[n], ROWS[m], 1, 20) if (ROWS[n], ROWS[m]) in order(result) else (ROWS[m], ROWS[n], 0, 20)
        for n, m in ((0, 1), (0, 2), (1, 2))
    }
    assert set(result["agreement"]["toxic"]) >= {"alpha_nominal", "alpha_ordinal", "fleiss_kappa", "raw"}
    table = (out / "table.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out.startswith(table.rstrip("\n"))
    for name in ("table.md", "table.tex", "annotation.html"):
        assert "lm-steer/detox +5" in (out / name).read_text(encoding="utf-8")
    assert "<b>ann" not in (out / "annotation.html").read_text(encoding="utf-8")
    with (out / "table.csv").open(newline="") as file:
        assert {(row["answer"], row["n"]) for row in csv.DictReader(file)} == {
            (o, "20") for o in ("win", "tie", "loss")
        }
    report = tmp_path / "report"
    options = [f"runs={runs}", f"annotation={out / 'annotation.json'}", "published=none", "wandb=none"]
    assert run_command("report", *options, f"hydra.run.dir={report}") == 0
    with (report / "table.csv").open(newline="") as file:
        judged = [row for row in csv.DictReader(file) if row["metric"] == "judged_less_toxic"]
    assert {(row["method"], float(row["value"]), row["scorer"]) for row in judged} == {
        ("lm-steer", 1, "people"), ("dexperts", 0.5, "people"), ("plain", 0, "people"),
    }  # fmt: skip
    assert "Agreement of raters" in (report / "report.html").read_text(encoding="utf-8")


def order(result: dict[str, Any]) -> set[tuple[str, str]]:
    return {(pair["a"], pair["b"]) for pair in result["pairs"]}


def test_scorers_are_compared_with_people(study: Path, answers: Path, tmp_path: Path) -> None:
    options = [f"study={study}", f"answers={answers}", "scorer@scorers=[word-list,alt-profanity-check]"]
    assert run_command("annotate", *options, f"hydra.run.dir={tmp_path}") == 0
    scorers = {one["scorer"] for one in content(tmp_path, "annotation.json")["correlations"]}
    assert scorers >= {"perplexity", "alt-profanity-check"}


def test_tables_are_logged_to_wandb(
    study: Path, answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert (
        run_command("annotate", f"study={study}", f"answers={answers}", f"hydra.run.dir={tmp_path}", "wandb=auto") == 0
    )
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    logged = {name: value for line in history(run) for name, value in line.items()}
    assert logged["judged_by_people.nrows"] == 9
    assert logged["judged_by_people._type"] == "table-file"


def test_a_model_answers_as_one_more_rater_and_its_replies_are_kept(tmp_path: Path) -> None:
    model, study = tiny(), tmp_path / "study"
    model.lm.config.max_position_embeddings = 1024
    model.lm.save_pretrained(tmp_path / "tiny")
    model.tokenizer.save_pretrained(tmp_path / "tiny")
    runs = write_runs(tmp_path / "runs", prompts=4)
    assert run_command("annotate", f"runs={runs}", "n_prompts=4", "questions=[toxic]", f"hydra.run.dir={study}") == 0
    asked = ["model=hf", f"model.id={tmp_path / 'tiny'}", "model.chat=off", f"study={study}", "ask_model=true"]
    assert run_command("annotate", *asked, f"hydra.run.dir={tmp_path / 'model'}") == 0
    (path,) = (tmp_path / "model").glob("answers_*.json")
    file, items = content(tmp_path / "model", path.name), content(study, "questionnaire.json")["items"]
    assert [reply["item"] for reply in file["replies"]] == [item["id"] for item in items]
    assert all(item["prompt"] in one["prompt"] for item, one in zip(items, file["replies"], strict=True))
    answers = [{"item": item["id"], "question": "toxic", "choice": "a", "seconds": None} for item in items]
    for name, changes in (("model", {}), ("person", {"rater": "ann", "model": None})):
        (tmp_path / f"{name}.json").write_text(json.dumps(file | {"answers": answers} | changes))
    both = f"answers=[{tmp_path / 'person.json'},{tmp_path / 'model.json'}]"
    assert run_command("annotate", f"study={study}", both, f"hydra.run.dir={tmp_path / 'both'}") == 0
    result = content(tmp_path / "both", "annotation.json")
    assert (result["raters"], result["pairs"][0]["n"]) == (1, 4)
    assert [(one["rater"], one["raw"], one["items"]) for one in result["models"]] == [(file["rater"], 1, 12)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing given"),
        (["runs=RUNS", "answers=ANSWERS"], "runs and answers given"),
        (["ask_model=true"], "study=FOLDER is needed"),
        (["answers=ANSWERS"], "study=FOLDER is needed"),
        (["answers=ANSWERS", "study=RUNS"], "cannot read"),
        (["runs=RUNS/none"], "no such folder"),
        (["runs=RUNS", "n_prompts=21"], "share 20 prompts"),
        (["runs=RUNS", "n_prompts=0"], "n_prompts=0"),
        (["runs=RUNS", "form=triples"], "form='triples'"),
        (["runs=RUNS", "rows=[plain,b]"], "no such row"),
        (["runs=RUNS", "questions=[kind]"], "its text is needed"),
        (["runs=RUNS", "repeats=0.6"], "repeats=0.6"),
        (["runs=RUNS", "qualification=RUNS/none.jsonl"], "cannot read"),
        (["study=STUDY", "answers=ANSWERS", "exclude=[eve]"], "no such rater"),
        (["study=STUDY", "answers=STUDY/key.json"], "unknown kind of file"),
        (["study=STUDY", "answers=STUDY/none.json"], "cannot read"),
    ],
)
def test_what_is_wrong_is_refused_in_one_line(
    options: list[str],
    message: str,
    runs: Path,
    study: Path,
    answers: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = {"RUNS": runs, "STUDY": study, "ANSWERS": answers}
    for word, meaning in words.items():
        options = [option.replace(word, str(meaning)) for option in options]
    assert message in refused(capsys, tmp_path / "out", *options)


def test_an_annotation_of_another_protocol_is_refused_a_table(
    runs: Path, study: Path, answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_command("annotate", f"study={study}", f"answers={answers}", f"hydra.run.dir={tmp_path / 'a'}")
    path = tmp_path / "a" / "annotation.json"
    path.write_text(path.read_text().replace("0123456789ab", "ba9876543210"))
    capsys.readouterr()
    line = refused(capsys, tmp_path / "report", f"runs={runs}", f"annotation={path}", command="report")
    assert "of protocol ba9876543210" in line
