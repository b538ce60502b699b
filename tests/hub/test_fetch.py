"""What a run needs is fetched by its own options, and looked up before anything long."""

import json
import re
from pathlib import Path

import pytest
from tests.hub.server import Hub
from tests.hub.user import Ended, User

RUN = ["model=gpt2-large", "steer=detox"]
SMALL = [
    *("corpus.dev=40", "corpus.test=40", "trainer.max_steps=6", "trainer.val_check_interval=3", "data.rows=100"),
    *("protocol.samples=2", "protocol.calibration_prompts=3", "protocol.prompts.nontoxic.n=5"),
]
NEEDED = {
    (
        "models",
        "openai-community/gpt2-large",
    ): r"(config|generation_config|tokenizer.*|vocab)\.json|merges\.txt|model\.safetensors",
    (
        "models",
        "openai-community/gpt2-xl",
    ): r"(config|generation_config|tokenizer.*|vocab)\.json|merges\.txt|model\.safetensors",
    ("models", "cooperleong00/deberta-v3-large_toxicity-scorer"): r".*\.json|spm\.model|model\.safetensors",
    ("models", "google-bert/bert-base-uncased"): r"(config|tokenizer.*)\.json|vocab\.txt",
    ("models", "FacebookAI/roberta-base"): r"(config|tokenizer.*|vocab)\.json|merges\.txt",
    ("datasets", "google/civil_comments"): r"README\.md|data/.*\.parquet",
    ("datasets", "allenai/real-toxicity-prompts"): r"README\.md|prompts\.jsonl",
}
"""Files that ``model=gpt2-large steer=detox`` needs, by hand."""


def needed_bytes(hub: Hub) -> dict[str, int]:
    """Sizes of the needed files by the id of their repository, as the hub holds them."""
    sizes = {}
    for (kind, id), pattern in NEEDED.items():
        repository = hub.repository(id, kind)
        assert repository is not None
        files = repository.commits[repository.head].values()
        sizes[id.rpartition("/")[2]] = sum(len(f.content) for f in files if re.fullmatch(pattern, f.path))
    return sizes


def downloads(ended: Ended) -> list[str]:
    """Paths of the requests that brought the content of a file."""
    return [r.path for r in ended.requests if r.method == "GET" and re.match(r"/(storage|api/resolve-cache)/", r.path)]


def content_bytes(ended: Ended) -> int:
    return sum(r.bytes for r in ended.requests if r.path in downloads(ended))


@pytest.fixture(scope="module")
def fetched(hub: Hub, machine: object, tmp_path_factory: pytest.TempPathFactory) -> tuple[User, Ended]:
    """A user who has fetched what the main command needs."""
    user = User(machine, tmp_path_factory.mktemp("fetched") / "user")  # type: ignore[arg-type]
    return user, user.run("fetch", *RUN).succeeded()


def test_exactly_the_needed_files_are_fetched_and_their_sizes_are_printed_before(
    hub: Hub, fetched: tuple[User, Ended]
) -> None:
    _, ended = fetched
    sizes = needed_bytes(hub)
    assert content_bytes(ended) == sum(sizes.values())
    for id, size in sizes.items():
        (line,) = [line for line in ended.out.splitlines() if re.search(rf"[/ ]{re.escape(id)}  \(", line)]
        assert line.split()[:2] == [f"{size / 10**6:.2f}", "MB"]
    assert ended.out.index("free in") < ended.out.index("all that this run needs")


def test_the_run_needs_no_hub_then(hub: Hub, fetched: tuple[User, Ended], tmp_path: Path) -> None:
    user, _ = fetched
    with hub.down():
        user.run("train", *RUN, *SMALL, f"hydra.run.dir={tmp_path}").succeeded()
        again = user.run("fetch", *RUN).succeeded()
    assert "MB  model" not in again.out
    record = json.loads((tmp_path / "sources.json").read_text())
    commits = {entry["id"]: entry["commit"] for entry in record["files"] if "id" in entry}
    heads = {id: repository.head for (_, id), repository in hub.repositories.items()}
    former = {"bert-base-uncased": "google-bert/bert-base-uncased", "roberta-base": "FacebookAI/roberta-base"}
    assert len(commits) == len(NEEDED)
    assert all(commit == heads[former.get(id, id)] for id, commit in commits.items())


def test_a_newer_commit_is_fetched_when_it_is_asked_for_and_a_begun_run_refuses_it(
    hub: Hub, fetched: tuple[User, Ended], tmp_path: Path
) -> None:
    user, _ = fetched
    repository = hub.repository("google/civil_comments", "datasets")
    assert repository is not None
    before, folder = repository.head, tmp_path / "run"
    words = [*RUN, *SMALL[:5], "protocol=none", f"hydra.run.dir={folder}"]
    user.run("train", *words).succeeded()
    (folder / "steer.safetensors").unlink()  # as if it had been interrupted
    files = {path: file.content for path, file in repository.commits[before].items()}
    files["data/train-00001-of-00002.parquet"] = files["data/train-00000-of-00002.parquet"]
    new = repository.push(files)
    try:
        assert not user.run("fetch", *RUN).succeeded().requests
        assert len(downloads(user.run("fetch", *RUN, "force=true").succeeded())) <= 2
        refusal = user.run("train", *words).refusal
        assert f"commit {before[:12]} there, {new[:12]} here" in refusal
        named = refusal.partition("with ")[2].split(" ")[0]
        assert named == f"corpus.revision={before}"
        user.run("train", *words[:-1], named, f"hydra.run.dir={tmp_path / 'old'}").succeeded()
    finally:
        repository.head = before
        user.run("fetch", *RUN, "force=true").succeeded()


TOLD_BEFORE = {
    "perplexity model": (["protocol.perplexity_model.id=nobody/none"], "nobody/none"),
    "scorer": (["protocol.scorers.deberta-rtp.id=nobody/none"], "nobody/none"),
    "corpus": (["corpus.revision=nowhere"], "google/civil_comments"),
    "prompts": (["protocol.prompts.nontoxic.revision=nowhere"], "allenai/real-toxicity-prompts"),
    "gated perplexity model": (["protocol.perplexity_model.id=meta-llama/Llama-3.2-1B"], "accept its terms"),
}


@pytest.mark.parametrize("case", TOLD_BEFORE)
@pytest.mark.parametrize("command", ["train", "fetch"])
def test_what_cannot_be_had_is_refused_before_anything_is_downloaded(
    case: str, command: str, user: User, tmp_path: Path
) -> None:
    options, words = TOLD_BEFORE[case]
    ended = user.run(command, *RUN, *options, *([f"hydra.run.dir={tmp_path / 'run'}"] * (command == "train")))
    assert words in ended.refusal
    assert downloads(ended) == []
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())


def test_the_name_of_a_model_follows_its_id(fetched: tuple[User, Ended], tmp_path: Path) -> None:
    user, _ = fetched
    other = ["model.id=openai-community/gpt2-medium", "protocol.perplexity_model.id=openai-community/gpt2"]
    user.run("train", *RUN, *SMALL, *other, f"hydra.run.dir={tmp_path}").succeeded()
    result = json.loads((tmp_path / "metrics.json").read_text())
    assert {row["model"] for row in result["rows"]} == {"openai-community/gpt2-medium"}
    assert result["protocol"]["perplexity_model"] == "openai-community/gpt2"
    assert "gpt2-large" not in (tmp_path / "report.html").read_text()
