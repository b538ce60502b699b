"""Every model, scorer and corpus of ``conf/`` that is on the hub is read from there, in one format of weights."""

import re
from pathlib import Path

import pytest
from tests.hub.server import Hub
from tests.hub.test_hub_commands import scorers
from tests.hub.user import ROOT, TOKENS, Ended, Machine, User

ID = re.compile(r"^\s*(?:model: \{)?id: ([\w.-]+/[\w.-]+)", re.MULTILINE)
SHORT = ["logger=none", "trainer.max_steps=2", "trainer.val_check_interval=2", "data.rows=40", "data.dev_rows=20"]
SMALL = [*SHORT, "protocol.samples=2", "protocol.strengths=[5]", "dtype=float32"]


def ids(group: str) -> dict[str, str]:
    """Ids of the hub by choice."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "conf" / group).glob("*.yaml")}
    return {name: match[1] for name, text in sorted(texts.items()) if (match := ID.search(text))}


MODELS, SCORERS = ids("model"), ids("scorer")


def test_all_choices_are_found() -> None:
    assert len(MODELS) >= 11
    assert SCORERS.keys() == {"deberta-rtp", "distilbert-sst2", "roberta-toxicity"}


def weights_of(ended: Ended, hub: Hub, id: str) -> set[str]:
    """Suffixes of the files of weights of a repository that were downloaded."""
    paths = {file.sha256: file.path for name, file in hub.files() if name == id and file.is_large}
    stored = (request.path.removeprefix("/storage/")[:64] for request in ended.requests)
    return {Path(paths[sha256]).suffix for sha256 in stored if sha256 in paths}


@pytest.fixture(scope="module")
def member(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> User:
    """A user who is signed in and has accepted all terms."""
    return User(machine, tmp_path_factory.mktemp("member") / "user", next(iter(TOKENS)))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_fitted_from_weights_of_one_format(name: str, hub: Hub, member: User, tmp_path: Path) -> None:
    options = [f"model={name}", "protocol=none", "corpus=snippets", *SHORT, f"hydra.run.dir={tmp_path}"]
    ended = member.run("train", *options).succeeded()
    assert (tmp_path / "steer.safetensors").is_file()
    repository = hub.repository(MODELS[name])
    assert repository is not None
    has_safetensors = "model.safetensors" in repository.commits[repository.head]
    assert weights_of(ended, hub, MODELS[name]) == {".safetensors" if has_safetensors else ".bin"}


def test_a_pickled_scorer_at_a_commit_scores(hub: Hub, member: User, tmp_path: Path) -> None:
    options = ["model=gpt2", "steer=detox", "corpus=toxic-snippets", "scorer@protocol.scorers=[roberta-toxicity]"]
    small = [*SMALL, "protocol.prompts.nontoxic.n=3", "protocol.perplexity_model=null"]
    ended = member.run("train", *options, *small, f"hydra.run.dir={tmp_path}").succeeded()
    assert scorers(tmp_path) == {"roberta-toxicity"}
    assert weights_of(ended, hub, SCORERS["roberta-toxicity"]) == {".bin"}


@pytest.mark.parametrize(("corpus", "id"), [("sst2", "stanfordnlp/sst2"), ("sst5", "SetFit/sst5")])
def test_a_corpus_is_read_whole(corpus: str, id: str, hub: Hub, member: User, tmp_path: Path) -> None:
    options = ["model=gpt2", "protocol=none", f"corpus={corpus}", *SHORT, f"hydra.run.dir={tmp_path}"]
    ended = member.run("train", *options).succeeded()
    repository = hub.repository(id, "datasets")
    assert repository is not None
    tables = [file for file in repository.commits[repository.head].values() if file.is_large]
    downloads = [request.bytes for request in ended.requests if request.path.startswith("/storage/")]
    assert sum(len(file.content) for file in tables) <= sum(downloads)
