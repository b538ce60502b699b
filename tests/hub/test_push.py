"""A steer goes to the hub by ``push`` and comes back by its name; whatever fails on the way is one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from tests.handmade_commands import write_steer
from tests.hub.fault import Fault
from tests.hub.repository import Repository
from tests.hub.server import Hub
from tests.hub.user import ROOT, TOKENS, Machine, User, environment

from lmsteer.models.random_models import tiny
from lmsteer.steering.steer import Steer

WRITER, READER = TOKENS
NAME = "tester/tone"
FILES = {"README.md", "config.yaml", "steer.safetensors", "custom_generate/generate.py"}
GENERATE = ["model=tiny", "dtype=float32", "samples=2", "decoding=greedy", "strength=3", "prompts.n=3"]


def random_steer(seed: int, name: str = "tone") -> Steer:
    """A steer of the tiny model that changes its texts."""
    return Steer(32, dimensions=[name], rank=2, epsilon=1.0, init_std=0.3, seed=seed)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with a steer, as of a run."""
    (tmp_path / "run").mkdir()
    write_steer(tmp_path / "run" / "steer.safetensors", random_steer(1), meaning={"tone": "kind"})
    return tmp_path / "run"


@pytest.fixture(autouse=True)
def _as_before(hub: Hub) -> Iterator[None]:
    """Repositories that a test makes are gone after it."""
    before = dict(hub.repositories)
    yield
    for key in [key for key in hub.repositories if key not in before]:
        del hub.repositories[key]
    hub.uploads.stored.clear()


def pushed(hub: Hub, id: str = NAME) -> Repository:
    repository = hub.repository(id)
    assert repository is not None
    return repository


def contents(repository: Repository) -> dict[str, bytes]:
    """The files of the newest commit, but those that the hub makes."""
    files = repository.commits[repository.head].values()
    return {file.path: file.content for file in files if file.path != ".gitattributes"}


def user_of(machine: Machine, folder: Path, token: str | None = WRITER) -> User:
    return User(machine, folder, token)


def texts(folder: Path) -> list[str]:
    lines = (folder / "generations.jsonl").read_text().splitlines()
    return [text["text"] for line in lines for text in json.loads(line)["generations"]]


def export_options(run: Path, folder: Path, *more: str) -> list[str]:
    return ["model=tiny", "device=cpu", f"steer_file={run}", "form=factors", f"out={folder}", *more]


def test_a_pushed_steer_is_used_by_its_name_as_the_file_it_was(
    hub: Hub, machine: Machine, run: Path, tmp_path: Path
) -> None:
    author, folder = user_of(machine, tmp_path / "author"), tmp_path / "export"
    ended = author.run("export", *export_options(run, folder, f"push={NAME}")).succeeded()
    repository = pushed(hub)
    assert contents(repository) == {path: (folder / path).read_bytes() for path in FILES}
    assert repository.access == "private"
    assert f"{hub.endpoint}/{NAME} (private, commit {repository.head[:12]})" in ended.out
    assert WRITER not in ended.out + ended.err

    reader = user_of(machine, tmp_path / "reader")
    words = ["generate", *GENERATE, f"steer_file={NAME}"]
    first = reader.run(*words, f"hydra.run.dir={tmp_path / 'by_name'}").succeeded()
    large = [request.path for request in first.requests if request.path.startswith("/storage/")]
    assert len(large) == 1
    assert not [request for request in first.requests if request.path.endswith((".py", ".md", ".yaml"))]
    second = reader.run(*words, f"hydra.run.dir={tmp_path / 'again'}").succeeded()
    assert not second.requests
    reader.run("generate", *GENERATE, f"steer_file={run}", f"hydra.run.dir={tmp_path / 'by_file'}").succeeded()
    reader.run("generate", *GENERATE[:-2], "prompts.n=3", f"hydra.run.dir={tmp_path / 'plain'}").succeeded()
    assert texts(tmp_path / "by_name") == texts(tmp_path / "again") == texts(tmp_path / "by_file")
    assert texts(tmp_path / "by_name") != texts(tmp_path / "plain")


def test_pushing_again_changes_nothing_or_adds_a_commit(hub: Hub, machine: Machine, run: Path, tmp_path: Path) -> None:
    author = user_of(machine, tmp_path / "author")
    words = export_options(run, tmp_path / "export", f"push={NAME}")
    author.run("export", *words).succeeded()
    first = pushed(hub).head
    author.run("export", *words).succeeded()
    assert pushed(hub).head == first
    (tmp_path / "export" / "LICENSE").write_text("of the base model\n")
    author.run("export", *words).succeeded()
    assert set(contents(pushed(hub))) == FILES | {"LICENSE"}


def test_a_public_repository_is_made_and_refused_as_private(
    hub: Hub, machine: Machine, run: Path, tmp_path: Path
) -> None:
    author = user_of(machine, tmp_path / "author")
    words = export_options(run, tmp_path / "export", f"push={NAME}")
    assert "(public, commit" in author.run("export", *words, "private=false").succeeded().out
    head = pushed(hub).head
    refusal = author.run("export", *export_options(run, tmp_path / "other", f"push={NAME}")).refusal
    assert f"{NAME} is public; give private=false" in refusal
    assert (pushed(hub).head, list((tmp_path / "other").glob("*"))) == (head, [])
    stranger = user_of(machine, tmp_path / "stranger", None)
    stranger.run("generate", *GENERATE, f"steer_file={NAME}", f"hydra.run.dir={tmp_path / 'texts'}").succeeded()


@pytest.mark.parametrize("token", [None, WRITER])
def test_a_dry_run_lists_files_with_sizes_and_sends_nothing(
    token: str | None, hub: Hub, machine: Machine, run: Path, tmp_path: Path
) -> None:
    words = export_options(run, tmp_path / "export", f"push={NAME}", "dry_run=true")
    with hub.down():
        ended = user_of(machine, tmp_path / "author", token).run("export", *words).succeeded()
    assert not ended.requests
    listed = {words[0]: words[1] for words in map(str.split, ended.out.splitlines()) if words and words[0] in FILES}
    assert listed == {path: f"{(tmp_path / 'export' / path).stat().st_size:,}" for path in FILES}
    assert f"would go to {hub.endpoint}/{NAME}, private if it is new; nothing was sent" in ended.out
    assert hub.repository(NAME) is None


REFUSED = {
    "no organization": (WRITER, ["push=tone"], "push=tone: the name of a user or organization is missing"),
    "a path": (WRITER, ["push=./runs/tone"], "push=./runs/tone: "),
    "signs": (WRITER, ["push='me/ton e'"], "push=me/ton e: "),
    "an address": (WRITER, ["push=https://huggingface.co/me/tone"], "ORG/NAME expected"),
    "nothing": (WRITER, ["push=''"], "push=''"),
    "nobody is logged in": (None, [f"push={NAME}"], "you are not logged in; `hf auth login` or HF_TOKEN"),
    "a token that is not valid": ("hf_expired", [f"push={NAME}"], "does not accept the token"),
    "a token that may only read": (READER, [f"push={NAME}"], "the token may only read"),
    "dry run of nothing": (WRITER, ["dry_run=true"], "dry_run=true: only with push=ORG/NAME"),
    "visibility of nothing": (WRITER, ["private=false"], "private=false: only with push=ORG/NAME"),
    "no truth value": (WRITER, [f"push={NAME}", "private=maybe"], "private='maybe'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_pushed_is_refused_before_any_work(
    case: str, hub: Hub, machine: Machine, run: Path, tmp_path: Path
) -> None:
    token, options, expected = REFUSED[case]
    ended = user_of(machine, tmp_path / "author", token).run("export", *export_options(run, tmp_path / "out", *options))
    assert expected in ended.refusal, ended.refusal
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    assert token is None or token not in ended.out + ended.err
    assert not [request for request in ended.requests if request.method != "GET"]


FAULTS = {
    "commit": Fault("POST /api/models/tester/tone/commit/.*", 503),
    "storage": Fault("PUT /upload/.*", 403),
    "creation": Fault("POST /api/repos/create", 500),
    "preupload": Fault("POST .*/preupload/.*", 429, headers={"Retry-After": "1"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_push_that_fails_leaves_the_folder_complete_and_the_same_command_ends_it(
    fault: str, hub: Hub, machine: Machine, run: Path, tmp_path: Path
) -> None:
    author, folder = user_of(machine, tmp_path / "author"), tmp_path / "export"
    words = export_options(run, folder, f"push={NAME}")
    with hub.failing(replace(FAULTS[fault])):
        refusal = author.run("export", *words).refusal
    assert f"push={NAME}: not uploaded (" in refusal
    assert f"{folder} is complete" in refusal
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == FILES
    author.run("export", *words).succeeded()
    assert set(contents(pushed(hub))) == FILES


def test_a_namespace_of_somebody_else_is_refused_by_the_hub(machine: Machine, run: Path, tmp_path: Path) -> None:
    author = user_of(machine, tmp_path / "author")
    refusal = author.run("export", *export_options(run, tmp_path / "out", "push=other/tone")).refusal
    assert "push=other/tone: not uploaded (" in refusal
    assert "status 403" in refusal


def of_hub(hub: Hub, id: str, steers: dict[str, Steer], folder: Path, **others: bytes) -> Repository:
    """Put a repository with steers on the hub."""
    files = dict(others)
    for name, steer in steers.items():
        files[name] = write_steer(folder / name.replace("/", "-"), steer).read_bytes()
    repository = Repository.of(id, files)
    hub.repositories["models", id] = repository
    return repository


PYTHON = """
import sys, lmsteer
for name, revision in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        steer, provenance = lmsteer.load_steer(name, revision=revision or None)
        print(steer.dimensions[0], steer.p1.sum().item())
    except lmsteer.InputError as error:
        print(error)
"""


def loaded(hub: Hub, folder: Path, *names: tuple[str, str]) -> list[str]:
    """A line for each name and revision: what ``lmsteer.load_steer`` gives, in a process of its own."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", PYTHON, *chain.from_iterable(names)]
    variables = environment(hub.endpoint, folder) | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, cwd=folder)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def words_of(steer: Steer) -> str:
    return f"{steer.dimensions[0]} {steer.p1.sum().item()}"


def test_load_steer_takes_a_name_a_revision_and_a_file(hub: Hub, tmp_path: Path) -> None:
    old, new, other = random_steer(1), random_steer(2), random_steer(3, "mood")
    repository = of_hub(hub, "tester/two", {"steer.safetensors": old}, tmp_path)
    first = repository.head
    files = {path: file.content for path, file in repository.commits[first].items()}
    changed = write_steer(tmp_path / "new.safetensors", new).read_bytes()
    mood = write_steer(tmp_path / "mood.safetensors", other).read_bytes()
    repository.push(files | {"steer.safetensors": changed, "more/mood.safetensors": mood})
    cache = tmp_path / "user"
    names = [
        ("tester/two", ""),
        ("tester/two", first),
        (f"tester/two@{first}", ""),
        ("tester/two:more/mood.safetensors", ""),
    ]
    expected = list(map(words_of, (new, old, old, other)))
    assert loaded(hub, cache, *names) == expected
    with hub.down():
        assert loaded(hub, cache, *names) == expected


LOAD_REFUSED = {
    "nothing there": ("tester/none", "", ["steer tester/none cannot be loaded", "there is no", "a folder with one"]),
    "no such revision": ("tester/one", "v9", ["has no revision v9"]),
    "no steer": ("openai-community/gpt2", "", ["it has no file of a steer"]),
    "several steers": (
        "tester/many",
        "",
        ["several steers, a.safetensors, b.safetensors", "tester/many:a.safetensors"],
    ),
    "no such file": ("tester/many:c.safetensors", "", ["it has no c.safetensors, but a.safetensors, b.safetensors"]),
    "no steer in its file": ("tester/other", "", ["not a steer: it has no 'lmsteer' metadata"]),
    "a file that is missing": ("runs/none.safetensors", "", ["no such steer file"]),
    "a revision of a file": ("runs/none.safetensors", "v1", ["only a repository of the hub has revisions"]),
}


@pytest.fixture
def _no_steers(hub: Hub, tmp_path: Path) -> None:
    """Repositories without a steer, with two, and with another file."""
    one = random_steer(1)
    of_hub(hub, "tester/one", {"steer.safetensors": one}, tmp_path)
    of_hub(hub, "tester/many", {"a.safetensors": one, "b.safetensors": one}, tmp_path)
    tensors = save({"a": torch.zeros(1)})
    hub.repositories["models", "tester/other"] = Repository.of("tester/other", {"lora.safetensors": tensors})


@pytest.mark.usefixtures("_no_steers")
def test_what_is_no_steer_is_refused_by_load_steer_in_one_line(hub: Hub, tmp_path: Path) -> None:
    lines = loaded(hub, tmp_path / "user", *((name, revision) for name, revision, _ in LOAD_REFUSED.values()))
    for line, (_, _, expected) in zip(lines, LOAD_REFUSED.values(), strict=True):
        assert all(words in line for words in expected), line


@pytest.mark.usefixtures("_no_steers")
@pytest.mark.parametrize("case", [*LOAD_REFUSED][:-1])
def test_what_is_no_steer_is_refused_by_a_command_in_one_line(case: str, user: User, tmp_path: Path) -> None:
    name, revision, expected = LOAD_REFUSED[case]
    option = f"{name}@{revision}" if revision else name
    refusal = user.run("generate", *GENERATE, f'steer_file="{option}"', f"hydra.run.dir={tmp_path / 'out'}").refusal
    assert all(words in refusal for words in expected), refusal
    assert not list((tmp_path / "out").glob("*"))


def test_calibrate_refuses_a_steer_of_the_hub_as_it_would_rewrite_it(hub: Hub, user: User, tmp_path: Path) -> None:
    of_hub(hub, "tester/one", {"steer.safetensors": random_steer(1)}, tmp_path)
    options = ["model=tiny", "steer_file=tester/one", "protocol.kl=0.3", f"hydra.run.dir={tmp_path / 'out'}"]
    assert "hf download tester/one steer.safetensors" in user.run("calibrate", *options).refusal


def test_other_commands_take_a_name_too(hub: Hub, user: User, tmp_path: Path) -> None:
    of_hub(hub, "tester/one", {"steer.safetensors": random_steer(1)}, tmp_path)
    of_hub(hub, "tester/mood", {"steer.safetensors": random_steer(2, "mood")}, tmp_path)
    both = ["steer_files=[tester/one,tester/mood]", f"hydra.run.dir={tmp_path / 'both'}"]
    user.run("compose", *both).succeeded()
    copy = ["model=tiny", "steer_file=tester/one", "form=factors", f"out={tmp_path / 'copy'}"]
    user.run("export", *copy).succeeded()
    assert (tmp_path / "copy" / "steer.safetensors").read_bytes() == contents(pushed(hub, "tester/one"))[
        "steer.safetensors"
    ]
    (tmp_path / "texts.txt").write_text("A warm and funny film.\n")
    words = ["model=tiny", "steer_file=tester/one", f"file={tmp_path / 'texts.txt'}", f"hydra.run.dir={tmp_path / 'h'}"]
    user.run("highlight", *words).succeeded()


def test_a_steer_of_another_model_is_refused_with_both_names(hub: Hub, user: User, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    write_steer(path, random_steer(1), model="elsewhere", fingerprint=tiny(seed=1).head.fingerprint())
    hub.repositories["models", "tester/else"] = Repository.of("tester/else", {"steer.safetensors": path.read_bytes()})
    options = [*GENERATE, "steer_file=tester/else", f"hydra.run.dir={tmp_path / 'out'}"]
    assert "fitted for model elsewhere" in user.run("generate", *options).refusal
