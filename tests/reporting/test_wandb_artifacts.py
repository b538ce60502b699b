"""Promises of lineage in W&B, with its own client against a stand-in for its server."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fitting import GradientFit
from tests.handmade_commands import run_command, write_steer
from tests.wandb_file import records
from tests.wandb_login import forget_login
from tests.wandb_server import ENTITY, LoggedRun, WandbServer

from lmsteer.data.corpus import Corpus
from lmsteer.errors import InputError
from lmsteer.models.random_models import tiny
from lmsteer.records import Row
from lmsteer.reporting.tracking import track
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.steering.steer_file import load_steer, save_steer
from lmsteer.training.loggers import RunLabels, wandb_logger

KEY = "0123456789abcdef" * 2 + "deadbeef"
ROWS = tuple(Row(f"secret {n} is {tone}", label) for n in range(8) for tone, label in (("warm", 1.0), ("dull", -1.0)))
LINK = "wandb-registry-steers/tone"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """A server that this process is logged in at."""
    for name in ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path / "wandb" / name.lower()))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with WandbServer().listening() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        forget_login()
        yield server
    forget_login()


@pytest.fixture
def steer_file(tmp_path: Path) -> Path:
    """The steer of a fit of two steps."""
    fit = GradientFit(steps=2, batch_size=4, dev_every=2)
    steer, provenance = fit(tiny(), Corpus("my tones", ROWS[:12], ROWS[12:]), SteerConfig(name="tone", rank=2))
    save_steer(tmp_path / "steer.safetensors", steer, provenance)
    return tmp_path / "steer.safetensors"


def logged(server: WandbServer, folder: Path, steer_file: Path, **options: Any) -> LoggedRun:
    """Log the run of a fit, and give it as the server has it."""
    with wandb_logger(folder, {"seed": 3}, RunLabels(str(folder)), **options) as logger:
        track([logger], steer_file, load_steer(steer_file)[1], step=2)
    return list(server.runs.values())[-1]


def test_a_run_has_its_corpus_as_input_and_its_steer_as_output(
    server: WandbServer, steer_file: Path, tmp_path: Path
) -> None:
    run = logged(server, tmp_path / "run", steer_file)
    provenance = load_steer(steer_file)[1]
    corpus, steer = (server.artifacts[one] for (one,) in (run.inputs, run.outputs))
    assert (corpus.type, corpus.name) == ("corpus", f"corpus-my-tones-{provenance.corpus['digest'][:12]}")
    digest = hashlib.sha256(steer_file.read_bytes()).hexdigest()
    assert (steer.type, steer.name) == ("steer", f"lm-steer-tone-tiny-0-{digest[:12]}")
    assert steer.files == {"steer.safetensors": steer_file.read_bytes()}
    assert steer.metadata["inputs"] == {corpus.name: corpus.digest}
    assert {one.state for one in server.artifacts.values()} == {"COMMITTED"}
    assert (run.fields["jobType"], run.exit_code) == ("train", 0)
    assert not server.unknown


def test_of_a_corpus_a_name_and_digests_are_uploaded_and_no_text(
    server: WandbServer, steer_file: Path, tmp_path: Path
) -> None:
    run = logged(server, tmp_path / "run", steer_file)
    (corpus,) = (server.artifacts[one] for one in run.inputs)
    facts = load_steer(steer_file)[1].corpus
    content = {name: json.loads(file) for name, file in corpus.files.items()}
    assert content == {"corpus.json": {name: facts[name] for name in ("name", "digest", "source")}}
    uploads = [file for artifact in server.artifacts.values() for file in artifact.files.values()]
    assert not [file for file in uploads if b"secret" in file]


def test_runs_on_one_corpus_share_its_artifact(server: WandbServer, steer_file: Path, tmp_path: Path) -> None:
    first, second = (logged(server, tmp_path / name, steer_file) for name in ("first", "second"))
    assert first.name != second.name
    assert first.inputs == second.inputs


def test_a_composed_steer_comes_from_the_artifacts_that_the_runs_of_its_parts_logged(
    server: WandbServer, steer_file: Path, tmp_path: Path
) -> None:
    fit = logged(server, tmp_path / "run", steer_file)
    (tmp_path / "calm").mkdir()
    calm = Steer(32, dimensions=["calm", "dummy"], rank=2, seed=1)
    other = write_steer(tmp_path / "calm" / "steer.safetensors", calm)
    files = f"steer_files=[{steer_file},{other.parent}]"  # a folder stands for its steer
    assert run_command("compose", files, "logger=wandb", f"hydra.run.dir={tmp_path / 'both'}") == 0
    run = list(server.runs.values())[-1]
    assert run.fields["jobType"] == "compose"
    assert run.inputs[0] == fit.outputs[0]
    assert server.artifacts[run.inputs[1]].files == {"steer.safetensors": other.read_bytes()}
    (composed,) = (server.artifacts[one] for one in run.outputs)
    assert composed.files == {"steer.safetensors": (tmp_path / "both" / "steer.safetensors").read_bytes()}
    assert composed.name.startswith("lm-steer-tone-calm-tiny-0-")


def test_a_transferred_steer_comes_from_its_source_and_the_texts_that_both_models_read(
    server: WandbServer, steer_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(f"secret line {n} of the film" for n in range(40)) + "\n")
    models = ["model=tiny", "model@to=tiny", "to.seed=1", f"texts={tmp_path / 'texts.txt'}"]
    options = [f"steer_file={steer_file}", *models, "logger=wandb", f"hydra.run.dir={tmp_path / 'run'}"]
    assert run_command("transfer", *options) == 0
    (run,) = server.runs.values()
    assert run.fields["jobType"] == "transfer"
    parent, texts = (server.artifacts[one] for one in run.inputs)
    assert parent.files == {"steer.safetensors": steer_file.read_bytes()}
    digest = load_steer(tmp_path / "run" / "steer.safetensors")[1].derivation["texts"]["digest"]
    assert (texts.type, json.loads(texts.files["corpus.json"])["digest"]) == ("corpus", digest)
    assert b"secret" not in texts.files["corpus.json"]


@pytest.mark.parametrize(
    ("link", "target"),
    [
        (LINK, "lab-org/wandb-registry-steers/tone"),
        ("models/tone", f"{ENTITY}/models/tone"),
        ("other/models/tone", "other/models/tone"),
    ],
)
def test_the_steer_is_linked_to_a_collection(
    link: str, target: str, server: WandbServer, steer_file: Path, tmp_path: Path
) -> None:
    run = logged(server, tmp_path / "run", steer_file, link=link)
    assert server.links == [(server.artifacts[run.outputs[0]].name, target)]


@pytest.mark.parametrize("link", ["", "tone", "a/b/c/d", "/tone", "steers/", "steers/tone:latest"])
def test_what_is_no_collection_is_refused_before_a_run_begins(link: str, server: WandbServer, tmp_path: Path) -> None:
    message = rf"^logger\.wandb\.link={link}: a collection expected, wandb-registry-REGISTRY/NAME or .*$"
    with pytest.raises(InputError, match=message), wandb_logger(tmp_path / "run", {}, link=link):
        pass
    assert not server.runs
    assert not (tmp_path / "run").exists()


def test_nothing_is_linked_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    message = rf"^logger\.wandb\.link={LINK}: W&B links nothing offline; log in \(wandb login\), or leave it out$"
    with pytest.raises(InputError, match=message), wandb_logger(tmp_path / "run", {}, link=LINK):
        pass


@pytest.mark.parametrize("operation", ["CreateArtifact", "LinkArtifact", "UseArtifact"])
def test_a_server_that_refuses_an_artifact_is_one_line(
    operation: str, server: WandbServer, steer_file: Path, tmp_path: Path
) -> None:
    server.refused[operation] = "permission denied\nfor you"
    with pytest.raises(
        InputError, match=r"^logger=wandb: artifact lm-steer-tone-.*permission denied.* or none$"
    ) as caught:
        logged(server, tmp_path / "run", steer_file, link=LINK)
    assert "\n" not in str(caught.value)


def test_an_offline_run_names_its_inputs_in_the_metadata_of_its_steer(
    steer_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    with wandb_logger(tmp_path / "run", {}) as logger:
        track([logger], steer_file, load_steer(steer_file)[1], step=2)
    (folder,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    artifacts = [r.artifact for r in records(folder) if r.WhichOneof("record_type") == "artifact"]
    (metadata,) = (json.loads(one.metadata) for one in artifacts if one.type == "steer")
    (name,) = metadata["inputs"]
    assert name.startswith("corpus-my-tones-")
    staged = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in staged] == [steer_file.read_bytes()], "none of the inputs"


def test_names_are_cut_and_have_signs_that_wandb_accepts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lmsteer.reporting.wandb_artifacts import LONGEST_NAME, corpus_artifact, steer_artifact

    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    steer = write_steer(tmp_path / "x.safetensors", Steer(32, dimensions=["a/b é" * 20], rank=2), model="org/name" * 20)
    name = steer_artifact(steer)[0].name
    assert len(name) == LONGEST_NAME
    assert name.endswith(hashlib.sha256(steer.read_bytes()).hexdigest()[:12])
    assert corpus_artifact({"name": "my:rows/x", "digest": "0" * 64}).name == f"corpus-my-rows-x-{'0' * 12}"


def test_provenance_without_a_corpus_has_no_inputs(server: WandbServer, tmp_path: Path) -> None:
    steer = write_steer(tmp_path / "x.safetensors", Steer(32, dimensions=["tone"], rank=2))
    with wandb_logger(tmp_path / "run", {}) as logger:
        track([logger], steer, Provenance(model="m", fingerprint="f"), step=2)
    (run,) = server.runs.values()
    assert (run.inputs, len(run.outputs)) == ([], 1)
