"""What commands print reaches any terminal, and no control character of a file does."""

import io
import json
import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException
from tests.handmade_commands import run_command, write_prompts, write_steer

from lmsteer.cli.app import configure_logging, one_line
from lmsteer.cli.terminal import quoted_override, show
from lmsteer.errors import InputError
from lmsteer.records import read_generations
from lmsteer.steering.steer import Steer

ANSI = "a\x1b[2J\x1b]0;owned\x07\r\x9b31m b"
ESCAPED = r"a\x1b[2J\x1b]0;owned\x07\r\x9b31m b"
NAMES = [
    "a (1).tsv",
    "k=v.tsv",
    "données.tsv",
    "~/a.tsv",
    'say "x".tsv',
    "it's.tsv",
    "a\\",
    'a\\"b',
    "[a",
    "a#b",
    "a.tsv",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_quoted_option_comes_through_the_shell_and_hydra_as_it_was(name: str) -> None:
    (word,) = shlex.split(quoted_override("corpus.path", name))
    parsed = OverridesParser.create().parse_override(word)
    assert (parsed.key_or_group, parsed.value()) == ("corpus.path", name)


@pytest.mark.parametrize("name", ["a (1).tsv", "k=v.tsv", "données.tsv", "~/a.tsv", "a#b"])
def test_an_option_that_hydra_refuses_is_shown_as_it_must_be_typed(name: str) -> None:
    with pytest.raises(OverrideParseException) as caught:
        OverridesParser.create().parse_overrides([f"corpus.path={name}"])
    line = one_line(caught.value)
    assert line.startswith(f"corpus.path={name}: the value has signs of Hydra's grammar; quote it")
    (word,) = shlex.split(line.rpartition("the shell: ")[2])
    assert OverridesParser.create().parse_override(word).value() == name


def test_an_option_without_a_value_is_refused_as_such() -> None:
    with pytest.raises(OverrideParseException) as caught:
        OverridesParser.create().parse_overrides(["données.tsv"])
    assert one_line(caught.value) == "données.tsv: options are given as NAME=VALUE"


def test_printed_lines_errors_and_messages_have_no_control_characters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    show(f"{ANSI}\nsecond – line")
    assert capsys.readouterr().out == f"{ESCAPED}\nsecond – line\n"
    assert one_line(InputError(f"bad text {ANSI}")) == f"bad text {ESCAPED}".replace(r"\r", " ")
    logger = logging.getLogger("lmsteer")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    configure_logging("info")
    logging.getLogger("lmsteer.data").info("of %s", ANSI)
    assert sys.stderr.getvalue() == f"of {ESCAPED}\n"  # type: ignore[attr-defined]


def test_generate_prints_prompts_and_continuations_without_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = write_prompts(tmp_path / "p.jsonl", [f"Look {ANSI}", "second\nline"])
    out = tmp_path / "out"
    options = ["model=tiny", "samples=1", f"prompts.path={prompts}", f"hydra.run.dir={out}"]
    assert run_command("generate", *options) == 0
    printed = capsys.readouterr().out
    first, second, *_ = printed.split("\n")
    assert first.startswith(f"Look {ESCAPED} |")
    assert second.startswith(r"second\nline |")
    assert all(sign.isprintable() or sign == "\n" for sign in printed)
    texts = [generation.prompt.text for generation in read_generations(out / "generations.jsonl")]
    assert texts == [f"Look {ANSI}", "second\nline"], "the file keeps them as they are"


def test_a_sign_that_the_encoding_lacks_is_printed_as_its_escape(tmp_path: Path) -> None:
    prompts = write_prompts(tmp_path / "p.jsonl", ["The “film” said"])
    generate = ["generate", "model=tiny", "samples=1", f"prompts.path={prompts}", "hydra.run.dir=out"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for arguments, expected in ((["--help"], rb"\u2026]"), (generate, rb"The \u201cfilm\u201d said |")):
        code = f"import sys; sys.argv = {['lmsteer', *arguments]}; from lmsteer.cli.main import main; main()"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, cwd=tmp_path)
        assert done.returncode == 0, done.stderr.decode()
        assert expected in done.stdout


def test_a_command_line_that_is_printed_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for seed, name in enumerate(("joy", "calm")):
        steer = Steer(32, dimensions=[name, "dummy"], rank=4, epsilon=0.1, init_std=0.5, seed=seed)
        files.append(str(write_steer(tmp_path / f"{name}.safetensors", steer)))
    folder = tmp_path / "my (first) run"
    options = [f"hydra.run.dir={json.dumps(str(folder))}", f"steer_files=[{','.join(files)}]", "dummy=none"]
    assert run_command("compose", *options) == 0
    values = _pasted_options(capsys.readouterr().out.strip().split("\n")[-1])
    assert values == {"steer_file": str(folder / "steer.safetensors"), "strength": {"joy": 3, "calm": 3}}


def _pasted_options(line: str) -> dict[str, Any]:
    parsed = OverridesParser.create().parse_overrides(shlex.split(line)[3:])
    return {option.key_or_group: option.value() for option in parsed}


def test_a_traceback_of_a_defect_has_no_control_characters(tmp_path: Path) -> None:
    code = (
        "from lmsteer.cli.app import entry_point\n"
        "def fail(cfg): raise RuntimeError(cfg.prompts.path)\n"
        "entry_point('generate')(fail)()"
    )
    options = ["model=tiny", f"prompts.path='{ANSI}'", f"hydra.run.dir={tmp_path}"]
    done = subprocess.run([sys.executable, "-c", code, *options], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback (most recent call last):\n" in done.stderr
    assert "RuntimeError: " in done.stderr
    assert r"\x1b[2J\x1b]0;owned\x07" in done.stderr
    assert all(sign.isprintable() or sign == "\n" for sign in done.stderr)
