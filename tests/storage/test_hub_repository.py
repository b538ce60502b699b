"""Promises of a repository of the hub: what is needed of it, when it is whole, why it cannot be had."""

import urllib.request
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi, constants, errors
from tests.hub_cache import COMMIT, write_repository

from lmsteer.errors import InputError
from lmsteer.storage.hub_errors import hub_reason
from lmsteer.storage.hub_files import weight_names
from lmsteer.storage.hub_repository import HubRepository

GPT2 = (
    *("config.json", "generation_config.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "vocab.json"),
    *("model.safetensors", "pytorch_model.bin", "tf_model.h5", "rust_model.ot", "flax_model.msgpack", "64.tflite"),
    *("README.md", ".gitattributes", "onnx/decoder_model.onnx", "onnx/config.json", "tf_model.h5.index.json"),
)
SHARDS = tuple(f"model-0000{n}-of-00002.safetensors" for n in (1, 2))
PICKLED = tuple(f"pytorch_model-0000{n}-of-00002.bin" for n in (1, 2))
TOKENIZER = {"config.json": b'{"dtype": "float16"}', "tokenizer.json": b"{}"}
DATA = ("README.md", ".gitattributes", "data/train-0.parquet", "test.jsonl.gz", "load.py", "picture.png")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, while the hub is not marked as offline and any request fails."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(HfApi, "repo_info", refuse)
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    return tmp_path


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (GPT2, ["model.safetensors"]),
        ((*SHARDS, "model.safetensors.index.json", *PICKLED), [*SHARDS, "model.safetensors.index.json"]),
        ((*SHARDS, "model.safetensors.index.json", "model.safetensors"), ["model.safetensors"]),
        ((*PICKLED, "pytorch_model.bin.index.json", "tf_model.h5"), [*PICKLED, "pytorch_model.bin.index.json"]),
        (("adapter_model.safetensors", "training_args.bin", "optimizer.bin"), []),
    ],
)
def test_of_the_weights_one_format_is_needed_and_safetensors_comes_first(
    names: tuple[str, ...], expected: list[str]
) -> None:
    assert weight_names(names) == expected


def test_a_model_needs_configuration_tokenizer_and_weights_and_nothing_for_other_programs() -> None:
    assert set(HubRepository("a/b").needed(GPT2)) == set(GPT2[:7])
    assert set(HubRepository("a/b", weights=False).needed(GPT2)) == set(GPT2[:6])
    needed = HubRepository("a/b", "dataset").needed(DATA)
    assert needed == ["README.md", "data/train-0.parquet", "test.jsonl.gz"]


def test_of_a_subset_its_own_tables_are_needed_and_the_description() -> None:
    names = ["README.md", "LICENSE", "data/all/train-0.parquet", "data/overall/train-0.parquet", "all.jsonl"]
    needed = HubRepository("a/b", "dataset", subset="all").needed(names)
    assert sorted(needed) == ["README.md", "data/all/train-0.parquet"]
    assert sorted(HubRepository("a/b", "dataset").needed(names)) == sorted({*names} - {"LICENSE"})


def test_a_whole_commit_is_used_and_nobody_is_asked(cache: Path) -> None:
    files = {**TOKENIZER, "model.safetensors": b"12345678"}
    folder = write_repository(cache, "org/name", files, listed={**files, "pytorch_model.bin": b"", "README.md": b""})
    repository = HubRepository("org/name")
    snapshot = repository.fetch()
    assert (snapshot.folder, snapshot.commit, snapshot.weight_bytes()) == (folder, COMMIT, 8)
    assert set(snapshot.names) == set(files)
    assert repository.record()["commit"] == COMMIT
    assert set(repository.record()["files"]) == set(files)
    assert repository.stored_itemsize() == 2
    assert HubRepository("org/name", revision=COMMIT).is_cached()
    assert not HubRepository("org/name", revision="other").is_cached()


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_commit_that_lacks_a_listed_file_is_not_whole(cache: Path, missing: str) -> None:
    files = {**TOKENIZER, "model.safetensors": b"12345678"}
    present = {name: content for name, content in files.items() if name != missing}
    write_repository(cache, "org/name", present, listed=files)
    assert not HubRepository("org/name").is_cached()
    assert HubRepository("org/name", weights=False).is_cached() == (missing == "model.safetensors")


@pytest.mark.parametrize(
    ("weights", "is_whole"),
    [
        (("model.safetensors",), True),
        (("pytorch_model.bin",), True),
        ((), False),
        (SHARDS, False),
        ((*SHARDS, "model.safetensors.index.json"), True),
        ((SHARDS[0], "model.safetensors.index.json"), False),
    ],
)
def test_without_a_list_a_model_is_whole_if_no_shard_is_missing(
    cache: Path, weights: tuple[str, ...], is_whole: bool
) -> None:
    index = f'{{"weight_map": {{"a": "{SHARDS[0]}", "b": "{SHARDS[1]}"}}}}'.encode()
    files = {**TOKENIZER, **dict.fromkeys(weights, index)}
    write_repository(cache, "org/name", files, with_list=False)
    assert HubRepository("org/name").is_cached() == is_whole


def test_without_a_list_a_data_set_counts_as_whole_only_where_the_hub_is_marked_as_offline(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_repository(cache, "org/name", {"train.jsonl": b"{}\n"}, kind="dataset", with_list=False)
    repository = HubRepository("org/name", "dataset")
    assert not repository.is_cached()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert repository.is_cached()


def test_a_folder_of_the_user_has_no_commit(tmp_path: Path) -> None:
    for name, content in {**TOKENIZER, "model.safetensors": b"1234"}.items():
        (tmp_path / name).write_bytes(content)
    snapshot = HubRepository(str(tmp_path)).fetch()
    assert (snapshot.folder, snapshot.commit, snapshot.weight_bytes()) == (tmp_path, "", 4)


def test_what_is_not_in_the_cache_of_a_machine_without_a_network_is_refused(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"data set me/none cannot be loaded \(HF_HUB_OFFLINE is set.*src\.fetch"):
        HubRepository("me/none", "dataset", noun="data set").fetch()


PAGE = "https://huggingface.co/org/name"


def answer(status: int, kind: type[errors.HfHubHTTPError] = errors.HfHubHTTPError, **headers: str) -> Exception:
    """An error of the client, as it comes from an answer of the hub."""
    response = httpx2.Response(status, headers=headers, request=httpx2.Request("GET", PAGE))
    return kind(f"{status} Error.\n\nIts reason is on the third line", response=response)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (answer(403, errors.GatedRepoError), ("gated", f"accept its terms at {PAGE}", "`hf auth login` or HF_TOKEN")),
        (answer(401, errors.RepositoryNotFoundError), (f"no {PAGE}", "private", "hf auth login", "HF_TOKEN")),
        (answer(404, errors.RevisionNotFoundError), ("no revision v9",)),
        (answer(401), ("token",)),
        (answer(403), ("no access", "HF_TOKEN")),
        (answer(429, **{"Retry-After": "17"}), ("rate limit", "wait 17 s")),
        (answer(503), ("outage", "503")),
        (answer(418), ("Its reason is on the third line",)),
        (
            ConnectionRefusedError("Connection refused"),
            ("https://huggingface.co is out of reach", "Connection refused"),
        ),
        (errors.OfflineModeIsEnabled("offline"), ("HF_HUB_OFFLINE is set",)),
        (OSError(28, "No space left on device"), ("No space left",)),
    ],
)
def test_the_reason_says_what_to_do_however_deep_it_lies(error: Exception, words: tuple[str, ...]) -> None:
    wrapped = OSError("We could not load it.\nSee the documentation.")
    wrapped.__cause__ = RuntimeError("and more")
    wrapped.__cause__.__cause__ = error
    known = type(error) is not OSError and "third" not in words[0]
    for one in (error, wrapped) if known else (error,):
        reason = hub_reason(one, PAGE, "v9")
        assert all(word in reason for word in words), reason
        assert "\n" not in reason
