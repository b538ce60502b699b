"""What was downloaded once is enough: without the hub, after an outage, and at a new commit of it."""

import json
from pathlib import Path

import pytest
from tests.hub.fault import Fault
from tests.hub.reduced import COMMANDS, FETCHES, PROCESSES
from tests.hub.server import Hub
from tests.hub.test_hub_commands import rows, same
from tests.hub.user import Machine, User

MAIN = "train model=gpt2-large steer=detox"
WORDS = [*MAIN.split(" "), *COMMANDS[MAIN]]
XL = "openai-community/gpt2-xl"


@pytest.fixture(scope="module")
def once(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> tuple[User, Path]:
    """A user who has run the main command once, and the folder of that run."""
    user = User(machine, tmp_path_factory.mktemp("once") / "user")
    folder = user.folder / "run"
    user.run_anew(*WORDS, "logger=wandb", f"hydra.run.dir={folder}").succeeded()
    return user, folder


def test_offline_gives_the_same_result_without_a_request(once: tuple[User, Path], tmp_path: Path) -> None:
    user, online = once
    ended = user.run_anew(*WORDS, f"hydra.run.dir={tmp_path}", HF_HUB_OFFLINE="1").succeeded()
    assert not ended.requests
    same(online, tmp_path)


def test_a_hub_that_is_down_changes_nothing(hub: Hub, once: tuple[User, Path], tmp_path: Path) -> None:
    user, online = once
    with hub.down():
        ended = user.run(*WORDS, f"hydra.run.dir={tmp_path}").succeeded()
    assert not ended.requests
    same(online, tmp_path)


def test_a_warm_cache_asks_nothing_of_a_hub_that_does_not_answer(
    hub: Hub, once: tuple[User, Path], tmp_path: Path
) -> None:
    """Not one request is waited for or repeated."""
    user, online = once
    with hub.failing(Fault(".*", drop=True)):
        ended = user.run(*WORDS, f"hydra.run.dir={tmp_path}").succeeded()
    assert not ended.requests
    same(online, tmp_path)


def test_two_processes_need_no_request_either(once: tuple[User, Path], tmp_path: Path) -> None:
    ((command, options),) = PROCESSES.items()
    ended = once[0].run_anew(*command.split(" "), *options, f"hydra.run.dir={tmp_path}").succeeded()
    assert not ended.requests
    assert len(rows(tmp_path)) == len(rows(once[1]))


def test_offline_with_an_empty_cache_is_refused_in_one_line(user: User, tmp_path: Path) -> None:
    ended = user.run_anew(*WORDS, f"hydra.run.dir={tmp_path / 'run'}", HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE" in ended.refusal
    assert not ended.requests


@pytest.mark.parametrize("command", FETCHES)
def test_what_was_fetched_is_all_that_a_run_needs_in_one_format(
    command: str, hub: Hub, once: tuple[User, Path], user: User, tmp_path: Path
) -> None:
    fetched = user.run(*command.split(" ")).succeeded()
    large = {file.sha256: file.path for _, file in hub.files() if file.is_large}
    downloaded = [large[request.path[9:73]] for request in fetched.requests if request.path.startswith("/storage/")]
    assert {Path(path).suffix for path in downloaded} == {".safetensors", ".parquet", ".jsonl"}
    with hub.down():
        user.run(*WORDS, f"hydra.run.dir={tmp_path / 'run'}").succeeded()
    same(once[1], tmp_path / "run")


def test_a_run_that_an_outage_ended_goes_on(hub: Hub, once: tuple[User, Path], user: User, tmp_path: Path) -> None:
    """The weights of the perplexity model do not come; with the hub back, the same command ends as an unbroken one."""
    repository = hub.repository(XL)
    assert repository is not None
    weights = repository.commits[repository.head]["model.safetensors"].sha256
    words = [*WORDS, f"hydra.run.dir={tmp_path / 'run'}"]
    with hub.failing(Fault(f".*{weights}.*", 503)):
        broken = user.run(*words)
    assert XL in broken.refusal
    assert "503" in broken.refusal
    resumed = user.run(*words).succeeded()
    there = {request.path for request in broken.requests if request.path.startswith("/storage/")}
    again = [request.path for request in resumed.requests if request.path in there]
    assert all(weights in path for path in again)
    same(once[1], tmp_path / "run")


def test_a_new_commit_does_not_change_a_run_that_has_begun(hub: Hub, once: tuple[User, Path], tmp_path: Path) -> None:
    """The commit of the first run is that of the second, until another one is asked for."""
    user, online = once
    repository = hub.repository("openai-community/gpt2-large")
    other = hub.repository("openai-community/gpt2-medium")
    assert repository is not None
    assert other is not None
    before = repository.head
    new = {path: file.content for path, file in other.commits[other.head].items()}
    try:
        commit = repository.push(new)
        user.run(*WORDS, f"hydra.run.dir={tmp_path / 'same'}").succeeded()
        user.run(*WORDS, f"model.revision={commit}", f"hydra.run.dir={tmp_path / 'new'}").succeeded()
    finally:
        repository.head = before
    same(online, tmp_path / "same")
    assert rows(tmp_path / "new") != rows(online)
    assert json.loads((tmp_path / "new" / "metrics.json").read_text())
