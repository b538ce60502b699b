"""The stand-in hub, and users of it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.hub.server import Hub
from tests.hub.user import Ended, Machine, User, build_hub

MEASURED: list[tuple[str, Ended, Ended]] = []
"""Commands by name, with their first and their second run."""


@pytest.fixture(scope="session")
def hub() -> Iterator[Hub]:
    with build_hub() as hub:
        yield hub


@pytest.fixture(autouse=True)
def _healthy(hub: Hub) -> Iterator[None]:
    yield
    assert not hub.faults
    assert hub.is_listening


@pytest.fixture(scope="session")
def machine(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(hub, tmp_path_factory.mktemp("machine"))
    yield machine
    machine.close()


@pytest.fixture
def user(machine: Machine, tmp_path: Path) -> User:
    """A user with empty caches, who is not signed in."""
    return User(machine, tmp_path / "user")


@pytest.fixture(scope="session")
def measured() -> Callable[[str, Ended, Ended], None]:
    """Note a command for the table at the end."""
    return lambda name, first, second: MEASURED.append((name, first, second))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the commands with seconds, requests and bytes of the first and of the second run."""
    if not MEASURED:
        return
    terminalreporter.section("commands against the stand-in hub")
    terminalreporter.write_line("| command | seconds | requests | KB | again: seconds | requests |")
    terminalreporter.write_line("| --- | --- | --- | --- | --- | --- |")
    for name, first, second in MEASURED:
        kilobytes = sum(request.bytes for request in first.requests) / 1000
        cells = (name, f"{first.seconds:.0f}", len(first.requests), f"{kilobytes:.0f}")
        cells += (f"{second.seconds:.0f}", len(second.requests))
        terminalreporter.write_line("| " + " | ".join(map(str, cells)) + " |")
