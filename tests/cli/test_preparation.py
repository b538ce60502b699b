"""Before any work: what cannot be had or held is refused, and nothing is asked for what is there."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from huggingface_hub import constants
from tests.hub_cache import write_folder

from lmsteer.cli import preparation
from lmsteer.cli.preparation import check_disk, check_memory, describe_downloads, prepare, weight_bytes
from lmsteer.cli.required import Need, needs
from lmsteer.errors import InputError
from lmsteer.models.random_models import tiny

GB = 10**9


@dataclass(frozen=True)
class Files:
    """Files of a name and a size, which note that they were downloaded."""

    label: str
    storage: Path
    bytes: int | None
    fetched: list[str]

    only_fetched: ClassVar[bool] = False
    can_change: ClassVar[bool] = False

    def is_cached(self) -> bool:
        return self.label in self.fetched

    def size(self) -> int | None:
        return self.bytes

    def fetch(self, *, force: bool = False) -> None:
        self.fetched.append(self.label)

    def record(self) -> dict[str, Any]:
        return {"label": self.label}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The node of a model that is in the hub's cache, stored as float32."""
    tiny().lm.save_pretrained(tmp_path / "model")
    tiny().tokenizer.save_pretrained(tmp_path / "model")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    write_folder(tmp_path / "hub", "org/name", tmp_path / "model")
    return {"_target_": "lmsteer.models.load.load_model", "id": "org/name"}


def stored_bytes() -> int:
    return sum(parameter.numel() for parameter in tiny().lm.parameters()) * 4


@pytest.mark.parametrize(("dtype", "share"), [("float32", 1), ("bfloat16", 2)])
def test_weights_take_what_the_loaded_model_takes(model: dict[str, Any], dtype: str, share: int) -> None:
    (need,) = needs({"model": model, "device": "cpu", "dtype": dtype}, ["model"])
    assert weight_bytes(need) == pytest.approx(stored_bytes() / share, rel=0.1)
    (spread,) = needs({"model": {**model, "device_map": "auto"}, "device": "cpu", "dtype": dtype}, ["model"])
    assert weight_bytes(spread) == 0


def test_models_that_fit_alone_but_not_together_are_refused_by_name(
    model: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmsteer.models.memory.free_memory", lambda device: int(stored_bytes() * 1.5))
    protocol = {"_target_": "lmsteer.evaluation.protocol.Protocol", "perplexity_model": {**model, "dtype": "float32"}}
    config = {"model": model, "protocol": protocol, "device": "cpu", "dtype": "float32"}
    check_memory(needs(config, ["model"]))
    with pytest.raises(InputError, match=r"memory: .*model .*, protocol\.perplexity_model .* are free; dtype=bfloat16"):
        check_memory(needs(config, ["model", "protocol"]))
    with pytest.raises(InputError, match="in each of 2 processes"):
        check_memory(needs(config, ["model"]), copies=2)


def test_downloads_that_do_not_fit_on_the_disk_are_refused_before_any_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "free_space", lambda folder: 3 * GB)
    two = [Need(name, Files(name, tmp_path, 2 * GB, []), {}) for name in ("a", "b")]
    check_disk(two[:1], [2 * GB])
    with pytest.raises(InputError, match=r"4 GB to download, 3 GB free"):
        check_disk(two, [2 * GB, 2 * GB])
    assert describe_downloads(two, [2 * GB, None]) == (
        f"downloads: 2 GB and more to {tmp_path} (3 GB free): a 2 GB, b of unknown size"
    )


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Need]], None]:
    def replace(found: list[Need]) -> None:
        monkeypatch.setattr(preparation, "needs", lambda config, names: found)

    return replace


def test_everything_is_looked_up_before_the_first_download(
    tmp_path: Path, found: Callable[[list[Need]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    class Missing(Files):
        def size(self) -> int | None:
            raise InputError("model b: there is none")

    found([Need("model", Files("a", tmp_path, 1, fetched), {}), Need("corpus", Missing("b", tmp_path, 1, fetched), {})])
    with pytest.raises(InputError, match="model b"):
        prepare({}, ())
    assert fetched == []
    found([Need("model", Files("a", tmp_path, 1, fetched), {}), Need("corpus", Files("a", tmp_path, 1, fetched), {})])
    assert prepare({}, ()) == [{"option": "model", "label": "a"}, {"option": "corpus", "label": "a"}]
    assert fetched == ["a"]


def test_an_embedded_file_that_is_missing_names_the_command_that_fetches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMSTEER_CACHE", str(tmp_path))
    config = {"corpus": {"_target_": "lmsteer.data.sources.snippets.snippets"}}
    with pytest.raises(InputError, match=r"embedded vaderSentiment==0\.5 is not in the cache .*python -m src\.fetch"):
        prepare(config, ["corpus"])


def test_a_cached_model_is_recorded_with_its_commit_and_nothing_is_asked(model: dict[str, Any]) -> None:
    assert constants.HF_HUB_OFFLINE  # a request would be refused
    (entry,) = prepare({"model": model, "device": "cpu", "dtype": "float32"}, ["model"])
    assert entry["option"] == "model"
    assert len(entry["commit"]) == 40
    assert "model.safetensors" in entry["files"]
