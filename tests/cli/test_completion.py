"""Completion of ``lmsteer`` in a real bash."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
eval "$(lmsteer --completion bash)"
while IFS= read -r -d '|' COMP_LINE; do
    COMP_POINT=${#COMP_LINE}
    _lmsteer
    echo "${COMPREPLY[*]}"
done
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The console script, as pip would write it."""
    path = tmp_path_factory.mktemp("bin") / "lmsteer"
    path.write_text(f"#!{sys.executable}\nfrom lmsteer.cli.main import main\nmain()\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def completions(program: Path, *lines: str) -> list[set[str]]:
    """What bash offers after each of some lines."""
    environment = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    given = "".join(f"{line}|" for line in lines)
    command = ["bash", "-c", SCRIPT]
    done = subprocess.run(command, input=given, env=environment, capture_output=True, text=True, check=True)
    return [set(line.split()) for line in done.stdout.split("\n")[:-1]]


def test_commands_options_and_choices_are_completed(program: Path) -> None:
    every, some, options, choices, report = completions(
        program,
        "lmsteer ",
        "lmsteer tra",
        "lmsteer train -m model=tiny steer.ra",
        "lmsteer train model=gpt2",
        "lmsteer report ru",
    )
    assert {"train", "fetch", "report"} <= every
    assert some == {"train", "transfer"}
    assert options == {"steer.rank="}
    assert {"gpt2", "gpt2-large"} <= choices, "bash replaces what follows the equals sign"
    assert {"runs=", "run_dir="} == report


def test_the_program_may_be_named_by_its_path(program: Path) -> None:
    assert completions(program, f"{program} generate decoding=gr") == [{"greedy"}]


def test_other_shells_are_refused(program: Path) -> None:
    done = subprocess.run([program, "--completion", "fish"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "Error: lmsteer --completion: one shell is allowed, bash\n")
