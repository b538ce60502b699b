"""Promises of ``python -m src.tables``."""

import csv
import re
from pathlib import Path

import pytest
from tests.handmade_runs import made, write_run

from lmsteer.commands import tables as command

TOXICITY = "expected_maximum_toxicity"
PLAIN = {TOXICITY: [0.5, 0.7, 0.9, 0.3], "perplexity": [10.0, 12.0, 14.0, 16.0]}
STEERED = {TOXICITY: [0.2, 0.3, 0.1, 0.1], "perplexity": [11.0, 13.0, 15.0, 17.0]}
FILES = {"table.md", "table.tex", "table.html", "table.csv", "pareto.png"}


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    for seed in range(2):
        rows = [made(PLAIN, seed=seed), made(STEERED, {"detox": 5.0}, seed=seed)]
        write_run(tmp_path / "sweep" / str(seed), rows)
    return tmp_path / "sweep"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The error of a refused command, which is one line."""
    assert command.main(arguments) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_every_format_is_written_and_the_table_printed(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert command.main([str(sweep), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    written = files(out)
    assert set(written) == FILES
    assert printed.out.startswith(written["table.md"].decode())
    assert printed.out.endswith(f"tables: {out / 'table.html'}\n")
    assert printed.err == ""
    for name in ("table.md", "table.tex", "table.html"):
        assert "lm-steer, detox +5" in written[name].decode()
    with (out / "table.csv").open(newline="") as file:
        steered = [line for line in csv.DictReader(file) if line["method"] == "lm-steer"]
    assert {(line["metric"], line["seeds"]) for line in steered} == {(TOXICITY, "0 1"), ("perplexity", "0 1")}
    assert written["pareto.png"].startswith(b"\x89PNG")


def test_the_same_runs_give_the_same_files(sweep: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        command.main([str(sweep / "0"), str(sweep / "1"), "--out", str(tmp_path / name)])
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_published_figures_can_be_left_out(sweep: Path, tmp_path: Path) -> None:
    command.main([str(sweep), "--out", str(tmp_path / "with")])
    command.main([str(sweep), "--out", str(tmp_path / "without"), "--published", "none"])
    assert "### Published" in (tmp_path / "with" / "table.md").read_text()
    assert "Perspective" not in (tmp_path / "without" / "table.md").read_text()


def test_another_row_can_be_what_is_compared_with(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.main([str(sweep), "--out", str(tmp_path / "out"), "--against", "lm-steer/detox +5"])
    assert "### Change from lm-steer, detox +5 on toxic-leaning" in capsys.readouterr().out
    arguments = [str(sweep), "--out", str(tmp_path / "none"), "--against", "gedi"]
    assert re.match(r"Error: --against gedi: no such row", refused(arguments, capsys))
    assert not (tmp_path / "none").exists()


def test_an_unfinished_run_of_a_sweep_is_named_and_left_out(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sweep / "2").mkdir()
    assert command.main([str(sweep), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err == f"not finished, left out: {sweep / '2'}\n"


def test_a_mixed_table_is_refused_and_nothing_is_written(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_run(tmp_path / "other", [made(PLAIN)], scorers={"words": "2"}, samples=25)
    error = refused([str(sweep), str(other), "--out", str(tmp_path / "out")], capsys)
    assert error == (
        f"Error: {sweep / '0'} and {other} were measured by different protocols: samples, scorers; make a table of each"
    )
    assert not (tmp_path / "out").exists()


def test_damaged_runs_are_refused_in_one_line(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(sweep), "--out", str(tmp_path / "out")]
    (sweep / "1" / "values.safetensors").unlink()
    assert "1/values.safetensors: missing or damaged; evaluate the run again" in refused(arguments, capsys)
    (sweep / "1" / "metrics.json").write_text('{"schema": 1, "protocol"')
    assert "1/metrics.json, the whole file: " in refused(arguments, capsys)
    assert "none: no such folder" in refused([str(tmp_path / "none")], capsys)
