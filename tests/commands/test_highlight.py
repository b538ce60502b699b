"""Promises of ``python -m src.highlight``, as a user calls it, on a tiny model."""

import io
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.handmade_commands import write_steer

from lmsteer.analysis.highlighter import read_highlights
from lmsteer.cli.app import entry_point
from lmsteer.commands import highlight as command
from lmsteer.reporting.text import number
from lmsteer.steering.steer import Steer

NAMES = {".lock", "config.yaml", "highlight.jsonl", "highlight.html", "summary.json"}
LABELLED = [
    {"text": "A warm, funny film", "label": 0.5},
    {"text": "a dull (and slow) story", "label": -0.75},
    {"text": "people who learn to live", "label": 1},
    {"text": "far too long for what it says"},
]


@pytest.fixture
def steer_file(tmp_path: Path, steer: Steer) -> Path:
    return write_steer(tmp_path / "steer.safetensors", steer)


@pytest.fixture
def run(steer_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Call the command with overrides, in a folder of its own."""

    def call(*overrides: str) -> Path:
        folder = next((item.partition("=")[2] for item in overrides if item.startswith("hydra.run.dir=")), None)
        default = [] if folder else [f"hydra.run.dir={tmp_path / 'out'}"]
        monkeypatch.setattr(sys, "argv", ["highlight", "model=tiny", f"steer_file={steer_file}", *overrides, *default])
        entry_point("highlight")(command.highlight)()
        return Path(folder or tmp_path / "out")

    return call


def jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_of_lines_gives_every_format(run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "texts.txt").write_text("A warm, funny film\n{a dull} story <b>of</b> it\n")
    folder = run(f"file={tmp_path / 'texts.txt'}", "spans=1", "grid=[-2,0,2]")
    assert {path.name for path in folder.iterdir()} == NAMES
    highlights = read_highlights(folder / "highlight.jsonl")
    assert [one.text for one in highlights] == ["A warm, funny film", "{a dull} story <b>of</b> it"]
    assert all(one.grid == [-2, 0, 2] and len(one.positive) <= 1 for one in highlights)
    page = (folder / "highlight.html").read_text(encoding="utf-8")
    assert "&lt;" in page
    assert "<b>" not in page
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert f"{highlights[0].score:+.2f}" in printed
    assert str(folder / "highlight.html") in printed


def test_standard_input_goes_by_a_dash(run, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"A warm, funny film\n")))
    (one,) = read_highlights(run("file=-") / "highlight.jsonl")
    assert one.text == "A warm, funny film"


def test_labels_are_compared_with_the_decisions(run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    folder = run(f"file={jsonl(tmp_path / 'texts.jsonl', LABELLED)}")
    summary = json.loads((folder / "summary.json").read_text())
    highlights = read_highlights(folder / "highlight.jsonl")
    right = [one.is_positive == (one.label > 0) for one in highlights if one.label]
    assert summary["agreement"]["accuracy"]["value"] == pytest.approx(sum(right) / 3)
    assert (summary["agreement"]["texts"], summary["agreement"]["positive"]) == (3, 2)
    assert f"accuracy {number(sum(right) / 3, 3)} [" in capsys.readouterr().out


def test_a_threshold_is_chosen_on_other_rows(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    dev = jsonl(tmp_path / "dev.jsonl", LABELLED)
    texts = jsonl(tmp_path / "texts.jsonl", [{"text": "I would like to know why", "label": 1.0}])
    dev_highlights = read_highlights(run(f"file={dev}", f"hydra.run.dir={tmp_path / 'dev'}") / "highlight.jsonl")
    folder = run(f"file={texts}", f"dev={dev}")
    threshold = json.loads((folder / "summary.json").read_text())["threshold"]
    assert sum((one.score > threshold) == (one.label > 0) for one in dev_highlights if one.label) >= 2
    (one,) = read_highlights(folder / "highlight.jsonl")
    assert one.is_positive == (one.score > threshold)
    with pytest.raises(SystemExit, match=r"texts.jsonl, line 1: same text as .*texts.jsonl, line 1; the threshold"):
        run(f"file={texts}", f"dev={texts}", f"hydra.run.dir={tmp_path / 'none'}")


def test_a_finished_folder_is_not_done_again_and_serves_one_configuration_and_content(  # type: ignore[no-untyped-def]
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("A warm, funny film\n")
    folder = run(f"file={texts}")
    before = {name: (folder / name).read_bytes() for name in NAMES}
    with monkeypatch.context() as patch:
        patch.setattr(command.Highlighter, "__call__", None)
        run(f"file={texts}")
    assert {name: (folder / name).read_bytes() for name in NAMES} == before
    with pytest.raises(SystemExit, match="another configuration"):
        run(f"file={texts}", "strength=3")
    texts.write_text("Another film\n")
    with pytest.raises(SystemExit, match="another configuration"):
        run(f"file={texts}")


@pytest.mark.parametrize(
    ("overrides", "content", "message"),
    [
        ([], "", "Error: .*texts.txt is empty"),
        ([], "one\n\nthree\n", "Error: .*texts.txt, line 2: text is ''"),
        ([], "fine\n" + "?" * 128, "Error: .*texts.txt, line 2: text '.*… has 129 tokens; .* at most 128"),
        (["dimension=mood"], "one", "Error: dimension=mood: the steer's dimensions are sentiment, dummy"),
        (["spans=0"], "one", "Error: spans=0: Input should be greater than or equal to 1"),
        (["fixed={dummy:big}"], "one", "Error: fixed={'dummy': 'big'}: Input should be a valid number"),
        (["decision=vote"], "one", "Error: decision='vote': Input should be 'ratio', 'rate' or 'mean'"),
        (["threshold=nan"], "one", "Error: threshold=nan: Input should be"),
        (["model.seed=1"], "one", "Error: .*steer.safetensors: fitted for model tiny-0 .*, not for tiny-1"),
        (["steer_file=none.safetensors"], "one", "Error: none.safetensors: no such steer file"),
        (["file=nowhere.txt"], "one", "Error: cannot read nowhere.txt"),
        (["dev=DEV"], "one", "Error: dev: 1 of 1 labeled texts are positive"),
    ],
)
def test_wrong_input_ends_in_one_line_and_leaves_nothing(
    overrides: list[str], content: str, message: str, steer_file: Path, tmp_path: Path, refusal: Any
) -> None:
    (tmp_path / "texts.txt").write_text(content)
    dev = jsonl(tmp_path / "dev.jsonl", [{"text": "good", "label": 1}])
    options = ["model=tiny", f"steer_file={steer_file}", f"file={tmp_path / 'texts.txt'}", *overrides]
    assert re.match(message, refusal("highlight", command.highlight, *options, DEV=dev))
