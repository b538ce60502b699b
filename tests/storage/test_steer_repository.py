"""Of a repository with a steer one file is needed; names that are none are left to the file system."""

from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants
from tests.hub_cache import COMMIT, write_repository

from lmsteer.errors import InputError
from lmsteer.storage.steer_repository import SteerRepository

MODEL = ("config.json", "model.safetensors", "model-00001-of-00002.safetensors", "adapter_model.safetensors")
OTHERS = (*MODEL, "diffusion_pytorch_model.safetensors", "processor.safetensors", "values.safetensors", "README.md")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, while any request fails."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(HfApi, "repo_info", refuse)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("me/tone", ("me/tone", None, "")),
        ("me/tone@v1", ("me/tone", "v1", "")),
        ("me/tone@refs/pr/1", ("me/tone", "refs/pr/1", "")),
        ("me/tone:joy.safetensors", ("me/tone", None, "joy.safetensors")),
        ("me/to.ne-1@0123:more/joy.safetensors", ("me/to.ne-1", "0123", "more/joy.safetensors")),
    ],
)
def test_a_name_has_an_id_a_revision_and_a_file(name: str, expected: tuple[str, str | None, str]) -> None:
    repository = SteerRepository.named(name)
    assert repository is not None
    assert (repository.id, repository.revision, repository.file) == expected


@pytest.mark.parametrize(
    "name",
    [
        "steer.safetensors",
        "run/steer.safetensors",
        "a/b/c",
        "/a/b",
        "./a",
        "../a/b",
        "~/a",
        "",
        "a/",
        "a/b:c.py",
        "a b/c",
    ],
)
def test_a_path_is_no_name(name: str) -> None:
    assert SteerRepository.named(name) is None


@pytest.mark.parametrize(
    ("names", "file", "expected"),
    [
        ((*OTHERS, "steer.safetensors", "other.safetensors"), "", ["steer.safetensors"]),
        ((*OTHERS, "method.safetensors", "other.safetensors"), "", ["method.safetensors"]),
        ((*OTHERS, "mood.safetensors"), "", ["mood.safetensors"]),
        ((*OTHERS, "a.safetensors", "b/steer.safetensors"), "", ["a.safetensors", "b/steer.safetensors"]),
        ((*OTHERS, "steer.safetensors", "b/joy.safetensors"), "b/joy.safetensors", ["b/joy.safetensors"]),
        (OTHERS, "", []),
        (("steer.safetensors",), "joy.safetensors", []),
    ],
)
def test_the_steer_of_a_fit_is_needed_or_the_named_file_or_what_may_be_one(
    names: tuple[str, ...], file: str, expected: list[str]
) -> None:
    assert SteerRepository("a/b", file=file).needed(names) == expected


def test_a_cached_steer_is_used_and_nobody_is_asked(cache: Path) -> None:
    listed = {"steer.safetensors": b"1", "model.safetensors": b"22", "custom_generate/generate.py": b"3"}
    folder = write_repository(cache, "org/name", {"steer.safetensors": b"1"}, listed=listed)
    assert SteerRepository("org/name").path() == folder / "steer.safetensors"
    assert SteerRepository("org/name", revision=COMMIT).path() == folder / "steer.safetensors"
    assert not SteerRepository("org/name", revision="other").is_cached()


def test_without_a_list_only_a_known_name_is_believed(cache: Path) -> None:
    write_repository(cache, "org/steer", {"steer.safetensors": b"1"}, with_list=False)
    write_repository(cache, "org/joy", {"joy.safetensors": b"1"}, with_list=False)
    assert SteerRepository("org/steer").is_cached()
    assert SteerRepository("org/joy", file="joy.safetensors").is_cached()
    assert not SteerRepository("org/joy").is_cached(), "there may be others on the hub"


def test_several_cached_steers_are_refused(cache: Path) -> None:
    write_repository(cache, "org/name", {"a.safetensors": b"1", "b.safetensors": b"2"})
    with pytest.raises(
        InputError, match=r"it has several steers, a\.safetensors, b\.safetensors: name one, as org/name:a"
    ):
        SteerRepository("org/name").path()
