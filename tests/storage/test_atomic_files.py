"""A file is written whole, as a new file, and through no link."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmsteer.errors import InputError
from lmsteer.storage.atomic_files import atomic_write, atomic_write_lines
from lmsteer.storage.download import download_file


@pytest.fixture(params=["victim", "none"])
def link(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A link under the temporary name of ``out``, to a file of somebody else's, or to one that would be new."""
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "victim").write_text("precious")
    link = tmp_path / "out.tmp"
    link.symlink_to(tmp_path / "else" / request.param)
    return link


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_new(path: Path, content: str) -> None:
    assert not path.is_symlink()
    assert path.read_text() == content
    assert names(path.parent) == ["else", "out"]
    assert names(path.parent / "else") == ["victim"]
    assert (path.parent / "else" / "victim").read_text() == "precious"


def test_a_link_under_the_temporary_name_is_replaced_not_followed(link: Path, tmp_path: Path) -> None:
    atomic_write_lines(tmp_path / "out", ["mine"])
    assert_new(tmp_path / "out", "mine\n")


def test_a_download_follows_no_link_under_its_temporary_name(link: Path, tmp_path: Path) -> None:
    source = tmp_path / "else" / "victim"
    sha256 = hashlib.sha256(b"precious").hexdigest()
    download_file(source.as_uri(), tmp_path / "out", sha256=sha256, instead="")
    (tmp_path / ".lock").unlink(missing_ok=True)
    assert_new(tmp_path / "out", "precious")


def test_a_hard_link_under_the_temporary_name_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "out.tmp").hardlink_to(tmp_path / "victim")
    atomic_write_lines(tmp_path / "out", ["mine"])
    assert (tmp_path / "victim").read_text() == "precious"
    assert (tmp_path / "out").read_text() == "mine\n"


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "out.tmp").write_text("half of a long text")
    with atomic_write(tmp_path / "out") as temporary:
        assert temporary.read_bytes() == b""
        temporary.write_text("whole")
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out").read_text() == "whole"


@pytest.mark.parametrize("error", [InputError, KeyboardInterrupt])
def test_lines_that_cannot_be_computed_leave_nothing_and_keep_what_was_there(
    error: type[BaseException], tmp_path: Path
) -> None:
    def lines() -> Iterator[str]:
        yield "first"
        raise error

    (tmp_path / "out").write_text("before")
    with pytest.raises(error):
        atomic_write_lines(tmp_path / "out", lines())
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out").read_text() == "before"


def test_a_folder_under_the_temporary_name_is_refused_by_the_name_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "out.tmp").mkdir()
    with pytest.raises(InputError, match="out: cannot be written"):
        atomic_write_lines(tmp_path / "out", ["mine"])


def test_a_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    atomic_write_lines(tmp_path / "out", [])
    (tmp_path / "plain").touch()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode
