"""A value of a wrong kind, for every option of every command: one line that names the option, and nothing written."""

from pathlib import Path

import pytest
from tests.cli.test_option_surface import CHOICES, SURFACE
from tests.handmade_commands import run_command, write_steer

from lmsteer.steering.steer import Steer

NEEDED = {
    "annotate": ["runs=STEER"],
    "calibrate": ["steer_file=STEER"],
    "compose": ["steer_files=[STEER]"],
    "convert": ["checkpoint=STEER"],
    "evaluate": ["generations=STEER"],
    "export": ["steer_file=STEER"],
    "serve": ["steer_file=STEER"],
    "generate": ["steer_file=STEER"],
    "highlight": ["steer_file=STEER", "file=STEER"],
    "interpret": ["steer_file=STEER"],
    "report": ["runs=STEER"],
    "transfer": ["steer_file=STEER", *CHOICES["transfer"]],
}
"""What a command cannot do without; STEER is the path of a steer file."""
ANYTHING = {"strength"}
"""Options that are read with a model, or whose values are words of any kind."""
LINES = [line.split() for line in SURFACE.read_text().splitlines()]
CASES = [(name, option) for name, option, *_ in LINES]


def wrong(option: str) -> str:
    """A list in a list, which no option is, inside of a mapping where the option is one."""
    return f"++{option}={{no: [[such]]}}"


def test_the_cases_are_as_many_as_promised() -> None:
    assert len(CASES) >= 300


@pytest.mark.parametrize("name", sorted({name for name, _ in CASES}))
def test_a_value_of_a_wrong_kind_is_refused_in_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steer = write_steer(tmp_path / "steer.safetensors", Steer(32, dimensions=["tone"], rank=2))
    needed = [item.replace("STEER", str(steer)) for item in NEEDED.get(name, [])]
    faults = []
    for option in (option for command, option in CASES if command == name and option not in ANYTHING):
        given = [item for item in needed if item.partition("=")[0] != option]
        status = run_command(name, wrong(option), *given, f"hydra.run.dir={tmp_path / 'out'}")
        lines = capsys.readouterr().err.splitlines()
        is_named = len(lines) == 1 and lines[0].startswith("Error: ") and option.rpartition(".")[2] in lines[0]
        if status == 0 or not is_named or list((tmp_path / "out").glob("*")):
            faults.append((option, status, lines[-1:]))
    assert not faults
