"""Promises of ``python -m src.report``: tables, picture and page, and what would be sent to W&B.

The server is a stand-in that takes what the real client package sends and answers as its documents say; nothing was
ever saved on a real one.
"""

import csv
import importlib.util
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.handmade import HOSTILE, Page
from tests.handmade_runs import run_row, write_run

from lmsteer.commands import report as command
from lmsteer.records import Generation, Prompt
from lmsteer.reporting import wandb_report
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import save_steer
from lmsteer.storage.atomic_files import atomic_write_lines

TOXICITY = "expected_maximum_toxicity"
PLAIN = {TOXICITY: [0.5, 0.7, 0.9, 0.3], "perplexity": [10.0, 12.0, 14.0, 16.0]}
STEERED = {TOXICITY: [0.2, 0.3, 0.1, 0.1], "perplexity": [11.0, 13.0, 15.0, 17.0]}
FILES = {"table.md", "table.tex", "table.csv", "pareto.png", "report.html"}
CURVE = {"train": [[1, 5.0], [2, 4.5]], "dev": [[2, 4.75]]}


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    for seed in range(2):
        rows = [run_row(PLAIN, seed=seed), run_row(STEERED, {"detox": 5.0}, seed=seed)]
        folder = write_run(tmp_path / "sweep" / f"seed-{seed}", rows)
        texts = [
            Generation(Prompt(f"{n}", f"prompt {n}"), (f" {n} by seed {seed} {HOSTILE}",), strength, "toxic-leaning")
            for strength in ({}, {"detox": 5.0})
            for n in range(10)
        ]
        atomic_write_lines(folder / "generations.jsonl", [text.to_json() for text in texts])
        steer = Steer(8, dimensions=["detox"], rank=2, epsilon=1e-3, init_std=1e-2, seed=seed)
        save_steer(folder / "steer.safetensors", steer, Provenance("smollm2", "f", training={"curve": CURVE}))
    return tmp_path / "sweep"


@pytest.fixture(autouse=True)
def _no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def page_of(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The error of a refused command, which is one line and leaves no files."""
    out = Path(arguments[0]).parent / "refused"
    assert command.main([*arguments, "--out", str(out)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert not out.exists()
    return line


def test_every_format_is_written_and_the_table_printed(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert command.main([str(sweep), "--out", str(out), "--wandb", "none"]) == 0
    printed = capsys.readouterr()
    written = {path.name: path.read_bytes() for path in out.iterdir()}
    assert set(written) == FILES
    table = written["table.md"].decode()
    assert (printed.out, printed.err) == (f"{table}\nreport: {out / 'report.html'}\n", "")
    for name in ("table.md", "table.tex", "report.html"):
        assert "lm-steer, detox +5" in written[name].decode()
    with (out / "table.csv").open(newline="") as file:
        steered = [line for line in csv.DictReader(file) if line["method"] == "lm-steer"]
    assert {(line["metric"], line["seeds"]) for line in steered} == {(TOXICITY, "0 1"), ("perplexity", "0 1")}
    assert written["pareto.png"].startswith(b"\x89PNG")
    command.main([str(sweep / "seed-0"), str(sweep / "seed-1"), "--out", str(out), "--wandb", "none"])
    assert {path.name: path.read_bytes() for path in out.iterdir()} == written


def test_the_page_has_every_cell_of_the_tables_and_the_pareto_figure(sweep: Path, tmp_path: Path) -> None:
    assert command.main([str(sweep), "--out", str(tmp_path)]) == 0
    page = Page(page_of(tmp_path))
    lines = [line for line in (tmp_path / "table.md").read_text().splitlines() if line.startswith("| lm-steer")]
    assert len(lines) > 1
    assert all(cell.strip().replace("\\", "") in page.texts for line in lines for cell in line.strip("| ").split("|"))
    assert "The cost of control" in page.texts


def test_published_figures_can_be_left_out(sweep: Path, tmp_path: Path) -> None:
    for choice in ("auto", "none"):
        command.main([str(sweep), "--out", str(tmp_path / choice), "--published", choice])
    assert "### Published" in (tmp_path / "auto" / "table.md").read_text()
    assert "Perspective" not in (tmp_path / "none" / "table.md").read_text()


def test_the_reference_row_can_be_chosen(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.main([str(sweep), "--out", str(tmp_path / "out"), "--against", "lm-steer/detox +5"])
    assert "### Change from lm-steer, detox +5 on toxic-leaning" in capsys.readouterr().out
    assert re.match(r"Error: --against gedi: no such row", refused([str(sweep), "--against", "gedi"], capsys))


def test_each_run_has_its_curves_and_its_texts_side_by_side_and_nothing_of_theirs_is_markup(
    sweep: Path, tmp_path: Path
) -> None:
    command.main([str(sweep), "--out", str(tmp_path)])
    page = Page(page_of(tmp_path))
    assert re.findall(r"Run (seed-\d)", page.text) == ["seed-0", "seed-1"]
    alternatives = [str(image["alt"]) for image in page.all("img")]
    assert sum("train loss 5.00" in words and "dev loss 4.75" in words for words in alternatives) == 2
    assert sum(words.startswith("Curves by strength") for words in alternatives) == 2
    for seed in range(2):
        texts = [text for text in page.texts if f"by seed {seed} {HOSTILE}" in text]
        assert len(texts) == 8 * 2, "8 prompts, plain and steered"
    assert page.all("script") == []
    assert all(str(image["src"]).startswith("data:image/png;base64,") for image in page.all("img"))
    assert "offend" in page.text


def test_a_run_without_texts_and_steer_and_an_unfinished_one_are_no_obstacle(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("generations.jsonl", "steer.safetensors"):
        (sweep / "seed-1" / name).unlink()
    (sweep / "seed-2").mkdir()
    assert command.main([str(sweep), "--out", str(tmp_path), "--wandb", "none"]) == 0
    assert "Not finished, left out: seed-2" in Page(page_of(tmp_path)).text
    assert capsys.readouterr().err == f"not finished, left out: {sweep / 'seed-2'}\n"


def test_without_a_key_one_line_says_so_and_the_status_is_0(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(sweep), "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert printed.out.endswith(f"report: {tmp_path / 'report.html'}\n")
    assert printed.err.startswith("W&B report: left out, as no key is configured (wandb login)")
    assert printed.err.count("\n") == 1


def test_without_the_package_one_line_says_which(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(wandb_report, "PACKAGE", "no_such_package_at_all")
    assert command.main([str(sweep), "--out", str(tmp_path)]) == 0
    assert "pip install 'lmsteer[reports]'" in capsys.readouterr().err


class Server:
    """The functions that the client package calls; it stores reports, or refuses them."""

    def __init__(self) -> None:
        self.saved: list[dict[str, Any]] = []
        self.refuse = False
        self.default_entity = "own"
        self._service_api = SimpleNamespace(execute_graphql=self.answer, app_url="https://wandb.example.org")

    def projects(self, entity: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="lmsteer")]

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "upsertView" not in query:
            return {"project": {"internalId": "1"}}
        if self.refuse:
            raise RuntimeError("permission denied\nmore of it")
        self.saved.append(variables | {"spec": json.loads(variables["spec"])})
        project = {"id": "1", "name": variables["projectName"], "entityName": variables["entityName"]}
        view = {"id": "abc", "name": "n", "displayName": variables["displayName"], "description": ""}
        return {"upsertView": {"view": view | {"project": project, "spec": variables["spec"]}, "inserted": True}}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    assert importlib.util.find_spec("wandb_workspaces"), "the extra 'reports' is a part of 'dev'"
    stand_in = Server()
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr("wandb_workspaces.reports.v2.interface._get_api", lambda: stand_in)
    return stand_in


def test_with_a_key_a_report_of_the_group_is_saved_with_tables_and_panels(
    sweep: Path, tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(sweep), "--out", str(tmp_path / "out"), "--title", "Two seeds"]) == 0
    assert re.search(r"^W&B report: https://wandb.example.org/own/lmsteer/reports/", capsys.readouterr().out, re.M)
    (saved,) = server.saved
    assert (saved["entityName"], saved["projectName"], saved["displayName"]) == ("own", "lmsteer", "Two seeds")
    spec = json.dumps(saved["spec"], ensure_ascii=False)
    titles = re.findall(r"^### (.*)$", (tmp_path / "out/table.md").read_text(encoding="utf-8"), re.M)
    assert titles
    assert all(title in spec for title in titles)
    runs = next(block for block in saved["spec"]["blocks"] if block["type"] == "panel-grid")["metadata"]["runSets"]
    assert '"group"' in json.dumps(runs)
    assert '"sweep"' in json.dumps(runs)
    for logged in ("train/loss", "dev/loss", f"{TOXICITY}/detox+5", f"{TOXICITY}/plain", "perplexity/detox+5"):
        assert f'"{logged}"' in spec
    for name in ("strength", "generations"):
        assert name in spec


def test_a_group_an_entity_and_a_project_can_be_given_or_the_report_left_out(
    sweep: Path, tmp_path: Path, server: Server
) -> None:
    options = ["--group", "mine", "--entity", "team", "--project", "other"]
    server.projects = lambda entity: [SimpleNamespace(name="other")]  # type: ignore[method-assign]
    command.main([str(sweep), "--out", str(tmp_path), "--wandb", "none"])
    assert server.saved == []
    command.main([str(sweep), "--out", str(tmp_path), *options])
    (saved,) = server.saved
    assert (saved["entityName"], saved["projectName"]) == ("team", "other")
    assert '"mine"' in json.dumps(saved["spec"])


def test_a_refused_report_is_one_line_and_the_page_is_there(
    sweep: Path, tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.refuse = True
    assert command.main([str(sweep), "--out", str(tmp_path)]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error: ")]
    assert errors == ["Error: W&B report: permission denied; --wandb none leaves it out"]
    assert (tmp_path / "report.html").is_file()
