"""How threads wait is decided before torch is loaded, and by the user where there is a wish."""

import os
import subprocess
import sys

import pytest

from lmsteer.cli import SPIN_COUNT, WAITING

PRINT_AND_END_AT_TORCH = """
import os, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT"), flush=True)
            os._exit(0)

sys.meta_path.insert(0, Watch())
"""


def fresh_process(code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run code in a process whose environment says nothing else about waiting."""
    inherited = {name: value for name, value in os.environ.items() if name not in WAITING}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=inherited | environment, capture_output=True, text=True, check=True)


@pytest.mark.parametrize(
    "imported", ["src.train, lmsteer.commands.train", "lmsteer.cli.launch", "experiments.speed.run"]
)
def test_a_command_bounds_the_waiting_of_threads_before_it_loads_torch(imported: str) -> None:
    assert fresh_process(f"{PRINT_AND_END_AT_TORCH}\nimport {imported}").stdout == f"{SPIN_COUNT}\n"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("GOMP_SPINCOUNT", "5", "5"), ("OMP_WAIT_POLICY", "active", "None"), ("KMP_BLOCKTIME", "0", "None")],
)
def test_a_user_decides_how_threads_wait(name: str, value: str, expected: str) -> None:
    code = f"import os, lmsteer.cli; print(os.environ['{name}'], os.environ.get('GOMP_SPINCOUNT'))"
    assert fresh_process(code, **{name: value}).stdout == f"{value} {expected}\n"


@pytest.mark.slow
def test_torch_waits_as_the_command_says() -> None:
    shown = fresh_process("import lmsteer.cli, torch", OMP_DISPLAY_ENV="VERBOSE").stderr
    if "GOMP_SPINCOUNT" not in shown:
        pytest.skip("this torch uses another OpenMP than libgomp")
    assert f"GOMP_SPINCOUNT = '{SPIN_COUNT}'" in shown
