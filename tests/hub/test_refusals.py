"""What the hub refuses, and what fails on the way, ends in one line that names the repository and says what to do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tests.hub.fault import Fault
from tests.hub.repository import Access
from tests.hub.server import Hub
from tests.hub.user import TOKENS, Machine, User

SHORT = ["logger=none", "trainer.max_steps=2", "trainer.val_check_interval=2", "data.rows=40"]
FIT = ["protocol=none", "corpus=snippets", *SHORT]
SCORED = ["model=gpt2", "steer=sentiment", *SHORT, "protocol.prompts.neutral.n=2"]
GPT2 = "openai-community/gpt2"
EVERYTHING, NOTHING = TOKENS


def of_model(id: str, *options: str) -> list[str]:
    """Options that fit a steer on a model of the hub, and on texts that are not from there."""
    return ["model=hf", f"model.id={id}", *FIT, *options]


REFUSED = {
    "gated, not signed in": (None, ["model=llama-3.2-1b", *FIT], ["meta-llama/Llama-3.2-1B", "terms", "HF_TOKEN"]),
    "gated, terms not accepted": (NOTHING, ["model=gemma-3-270m", *FIT], ["google/gemma-3-270m", "terms", "hf auth"]),
    "private, not signed in": (None, of_model("tester/private"), ["tester/private", "private", "HF_TOKEN"]),
    "private, of somebody else": (NOTHING, of_model("tester/private"), ["tester/private", "private", "HF_TOKEN"]),
    "a name that is not there": (None, of_model("openai-community/gpt5"), ["openai-community/gpt5", "check"]),
    "a token that is not valid": ("hf_expired", ["model=gpt2", *FIT], [GPT2, "token"]),
    "a revision that is not there": (
        None,
        ["model=gpt2", *FIT, "model.revision=nowhere"],
        [GPT2, "revision", "nowhere"],
    ),
    "no weights": (None, of_model("tester/no-weights"), ["tester/no-weights", "weights"]),
    "a tokenizer in Python only": (None, of_model("tester/python-tokenizer"), ["tester/python-tokenizer", "fast"]),
}
"""Token, options, and what the line says, by case."""


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_had_is_refused_in_one_line(case: str, machine: Machine, tmp_path: Path) -> None:
    token, options, expected = REFUSED[case]
    user = User(machine, tmp_path / "user", token)
    refusal = user.run("train", *options, f"hydra.run.dir={tmp_path / 'run'}").refusal
    assert all(words in refusal for words in expected), refusal
    assert not (tmp_path / "run" / "steer.safetensors").exists()
    assert token is None or token not in refusal


FAULTS = {
    "rate limit": (Fault(".*", 429, headers={"Retry-After": "1"}), ["429", "limit"]),
    "outage": (Fault(".*", 503), ["503", "outage"]),
    "no answer": (Fault(".*", drop=True), ["out of reach"]),
}
SOURCES = {
    "model": (["model=gpt2", *FIT], GPT2),
    "data set": (["model=gpt2", "protocol=none", *SHORT], "SetFit/sst5"),
    "scorer": ([*SCORED, "corpus=snippets"], "distilbert/distilbert-base-uncased-finetuned-sst-2-english"),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_hub_that_fails_is_named_as_such(fault: str, source: str, hub: Hub, user: User, tmp_path: Path) -> None:
    (failure, expected), (options, id) = FAULTS[fault], SOURCES[source]
    at_source = Fault(f".*{id}.*", failure.status, headers=failure.headers, drop=failure.drop)
    with hub.failing(at_source):
        refusal = user.run("train", *options, f"hydra.run.dir={tmp_path / 'run'}").refusal
    assert id in refusal
    assert all(words in refusal for words in expected), refusal


@contextmanager
def access(hub: Hub, id: str, kind: str, value: Access) -> Iterator[None]:
    """Change who may read a repository, for a while."""
    repository = hub.repository(id, kind)
    assert repository is not None
    before, repository.access = repository.access, value
    try:
        yield
    finally:
        repository.access = before


@pytest.mark.parametrize(("value", "expected"), [("gated", "terms"), ("private", "private")])
def test_a_data_set_without_access_is_refused_in_one_line(
    value: Access, expected: str, hub: Hub, user: User, tmp_path: Path
) -> None:
    options, id = SOURCES["data set"]
    with access(hub, id, "datasets", value):
        refusal = user.run("train", *options, f"hydra.run.dir={tmp_path / 'run'}").refusal
    assert f"datasets/{id}" in refusal
    assert expected in refusal
    assert "HF_TOKEN" in refusal


def test_a_hub_out_of_reach_is_refused_in_one_line(hub: Hub, user: User, tmp_path: Path) -> None:
    with hub.down():
        refusal = user.run("train", *SOURCES["model"][0], f"hydra.run.dir={tmp_path / 'run'}").refusal
    assert GPT2 in refusal
    assert "out of reach" in refusal


def test_a_language_model_is_no_classifier(user: User, tmp_path: Path) -> None:
    other = "protocol.scorers.distilbert-sst2.id=tester/not-a-classifier"
    options = [*SCORED, "corpus=snippets", other, "protocol.scorers.distilbert-sst2.revision=null"]
    refusal = user.run("train", *options, f"hydra.run.dir={tmp_path / 'run'}").refusal
    assert "tester/not-a-classifier" in refusal


@pytest.mark.parametrize("by", ["HF_TOKEN", "hf auth login"])
def test_accepted_terms_and_a_token_open_a_gated_model(by: str, machine: Machine, tmp_path: Path) -> None:
    user = User(machine, tmp_path / "user", EVERYTHING if by == "HF_TOKEN" else None)
    if by == "hf auth login":
        (user.folder / "huggingface").mkdir()
        (user.folder / "huggingface" / "token").write_text(EVERYTHING)
    ended = user.run("train", "model=llama-3.2-1b", *FIT, f"hydra.run.dir={tmp_path / 'run'}").succeeded()
    assert (tmp_path / "run" / "steer.safetensors").is_file()
    assert EVERYTHING not in ended.out + ended.err
    assert not any(request.path.endswith(".pth") for request in ended.requests)


LAYOUTS = ["tester/sharded", "tester/pickled", "tester/no-tokenizer-json"]


def test_sharded_pickled_and_plain_files_give_the_same_steer(user: User, tmp_path: Path) -> None:
    steers = []
    for index, id in enumerate([GPT2, *LAYOUTS]):
        user.run("train", *of_model(id), f"hydra.run.dir={tmp_path / str(index)}").succeeded()
        steers.append(load_file(tmp_path / str(index) / "steer.safetensors"))
    assert all(steers[0][name].equal(steer[name]) for steer in steers[1:] for name in steers[0])


def is_whole(name: str, content: bytes) -> bool:
    """Whether the content of a file of the cache is that of its name: a sha256, or the name of a blob of git."""
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return name in (hashlib.sha256(content).hexdigest(), blob)


def test_a_download_that_is_refused_once_is_asked_for_again(hub: Hub, user: User, tmp_path: Path) -> None:
    with hub.failing(Fault("GET /storage/.*", 429, headers={"Retry-After": "1"}, times=1)):
        ended = user.run("train", "model=gpt2", *FIT, f"hydra.run.dir={tmp_path / 'run'}").succeeded()
    assert [request.status for request in ended.requests if request.path.startswith("/storage/")] == [429, 200]


def test_a_cut_download_is_resumed_where_it_ended(hub: Hub, user: User, tmp_path: Path) -> None:
    """The client writes pieces of 10 MiB; what it has written it does not ask for again."""
    with hub.failing(Fault("GET /storage/.*", cut=11 * 2**20, times=2)):
        ended = user.run("train", *of_model("tester/large"), f"hydra.run.dir={tmp_path / 'run'}").succeeded()
    answers = [(request.status, request.bytes) for request in ended.requests if request.path.startswith("/storage/")]
    assert [status for status, _ in answers] == [200, 206]
    assert answers[1][1] < answers[0][1]
    cached = user.cached_files()
    assert cached
    assert all(is_whole(name, content) for name, content in cached.items())


def test_a_download_that_never_ends_is_refused_and_no_half_file_is_believed(
    hub: Hub, user: User, tmp_path: Path
) -> None:
    words = ["train", "model=gpt2", *FIT, f"hydra.run.dir={tmp_path / 'run'}"]
    with hub.failing(Fault("GET /storage/.*", cut=5000, times=1), Fault("GET /storage/.*", cut=0)):
        refusal = user.run(*words).refusal
    assert GPT2 in refusal
    assert all(is_whole(name, content) for name, content in user.cached_files().items())
    user.run(*words).succeeded()
    assert all(is_whole(name, content) for name, content in user.cached_files().items())
