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
from tests.handmade_commands import run_command
from tests.handmade_runs import TOXICITY, write_sweep
from tests.wandb_login import forget_login

from lmsteer.reporting import wandb_report

FILES = {"table.md", "table.tex", "table.csv", "pareto.png", "report.html"}


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return write_sweep(tmp_path / "sweep")


@pytest.fixture(autouse=True)
def _no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_CONFIG_DIR", "WANDB_IDENTITY_TOKEN_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    forget_login()


def page_of(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def refused(out: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The error of a refused command, which is one line and leaves no files."""
    assert run_command("report", f"hydra.run.dir={out}", *options) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert not list(out.glob("*"))
    return line


def test_every_format_is_written_and_the_table_printed(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_command("report", f"runs={sweep}", f"hydra.run.dir={out}", "wandb=none") == 0
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
    run_command("report", f"runs=[{sweep}/seed-0,{sweep}/seed-1]", f"hydra.run.dir={out}", "wandb=none")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == written


def test_the_page_has_every_cell_of_the_tables_and_the_pareto_figure(sweep: Path, tmp_path: Path) -> None:
    assert run_command("report", f"runs={sweep}", f"hydra.run.dir={tmp_path}") == 0
    page = Page(page_of(tmp_path))
    lines = [line for line in (tmp_path / "table.md").read_text().splitlines() if line.startswith("| lm-steer")]
    assert len(lines) > 1
    assert all(cell.strip().replace("\\", "") in page.texts for line in lines for cell in line.strip("| ").split("|"))
    assert "The cost of control" in page.texts


def test_published_figures_can_be_left_out(sweep: Path, tmp_path: Path) -> None:
    for choice in ("auto", "none"):
        run_command("report", f"runs={sweep}", f"hydra.run.dir={tmp_path / choice}", f"published={choice}")
    assert "### Published" in (tmp_path / "auto" / "table.md").read_text()
    assert "Perspective" not in (tmp_path / "none" / "table.md").read_text()


def test_the_reference_row_can_be_chosen(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command("report", f"runs={sweep}", f"hydra.run.dir={tmp_path}/out", "against=lm-steer/detox +5")
    assert "### Change from lm-steer, detox +5 on toxic-leaning" in capsys.readouterr().out
    line = refused(tmp_path / "refused", capsys, f"runs={sweep}", "against=gedi")
    assert line.startswith("Error: against=gedi: no such row")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "runs: a value is needed; give runs=… on the command line"),
        (["runs=[]"], "runs=[]: Input should be a valid string or List should have at least 1 item"),
        (["runs=no-such-folder"], "no-such-folder: no such folder; a run, or a folder of runs, is expected"),
        (["runs=a", "published=yes"], "published='yes': Input should be 'auto' or 'none'"),
        (["runs=a", "wandb=online"], "wandb='online': Input should be 'auto' or 'none'"),
        (["runs=a", "titel=b"], "Could not override 'titel'."),
    ],
)
def test_wrong_options_are_refused_in_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(tmp_path / "refused", capsys, *options).startswith(f"Error: {message}")


def test_another_report_replaces_the_first_in_the_folder_of_reports(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for title in ("First", "Second"):
        assert run_command("report", f"runs={sweep}", f"title={title}", "wandb=none") == 0
    assert {path.name for path in (tmp_path / "runs" / "report").iterdir()} == FILES
    assert "Second" in Page(page_of(tmp_path / "runs" / "report")).text
    assert "First" not in Page(page_of(tmp_path / "runs" / "report")).text


def test_each_run_has_its_curves_and_its_texts_side_by_side_and_nothing_of_theirs_is_markup(
    sweep: Path, tmp_path: Path
) -> None:
    run_command("report", f"runs={sweep}", f"hydra.run.dir={tmp_path}")
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
    assert run_command("report", f"runs={sweep}", f"hydra.run.dir={tmp_path}", "wandb=none") == 0
    assert "Not finished, left out: seed-2" in Page(page_of(tmp_path)).text
    assert capsys.readouterr().err == f"not finished, left out: {sweep / 'seed-2'}\n"


def test_without_a_key_one_line_says_so_and_the_status_is_0(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("report", f"runs={sweep}", f"hydra.run.dir={tmp_path}") == 0
    printed = capsys.readouterr()
    assert printed.out.endswith(f"report: {tmp_path / 'report.html'}\n")
    assert printed.err.startswith("W&B report: left out, as W&B is not logged in (wandb login)")
    assert printed.err.count("\n") == 1


def test_without_the_package_one_line_says_which(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(wandb_report, "PACKAGE", "no_such_package_at_all")
    assert run_command("report", f"runs={sweep}", f"hydra.run.dir={tmp_path}") == 0
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
    assert run_command("report", f"runs={sweep}", f"hydra.run.dir={tmp_path}/out", "title=Two seeds") == 0
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
    options = ["group=mine", "entity=team", "project=other"]
    server.projects = lambda entity: [SimpleNamespace(name="other")]  # type: ignore[method-assign]
    run_command("report", f"runs={sweep}", f"hydra.run.dir={tmp_path}", "wandb=none")
    assert server.saved == []
    run_command("report", f"runs={sweep}", f"hydra.run.dir={tmp_path}", *options)
    (saved,) = server.saved
    assert (saved["entityName"], saved["projectName"]) == ("team", "other")
    assert '"mine"' in json.dumps(saved["spec"])


def test_a_refused_report_is_one_line_and_the_page_is_there(
    sweep: Path, tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.refuse = True
    assert run_command("report", f"runs={sweep}", f"hydra.run.dir={tmp_path}") == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error: ")]
    assert errors == ["Error: W&B report: permission denied; wandb=none leaves it out"]
    assert (tmp_path / "report.html").is_file()
