"""A download is whole and right, or it is not there."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lmsteer.errors import InputError
from lmsteer.storage import download
from lmsteer.storage.download import download_file

CONTENT = b"some lines\n" * 20_000  # of several chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(SimpleHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if "broken" in self.path:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:1000])
        else:
            super().do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Of a server on this machine that holds one file."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "file.txt").write_bytes(CONTENT)
    Handler.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_a_file_is_downloaded_once_whoever_asks(address: str, tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "file.txt"
    ask = partial(download_file, f"{address}/file.txt", target, sha256=SHA256, instead="x")
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ask() == target
    assert target.read_bytes() == CONTENT
    assert Handler.asked == ["/file.txt"]
    assert {path.name for path in target.parent.iterdir()} == {"file.txt", ".lock"}


@pytest.mark.parametrize(
    ("name", "sha256", "message"),
    [
        ("file.txt", "0" * 64, f"sha256 is {SHA256}, expected 0000.*; nothing of it is kept; give path="),
        ("broken.txt", SHA256, r"sha256 is .*; nothing of it is kept; give path="),
        ("absent.txt", SHA256, r"cannot download http.*/absent\.txt to .*out \(HTTP Error 404.*\); give path="),
    ],
)
def test_nothing_is_left_of_a_download_that_went_wrong(
    name: str, sha256: str, message: str, address: str, tmp_path: Path
) -> None:
    target = tmp_path / "out" / "file.txt"
    with pytest.raises(InputError, match=message) as caught:
        download_file(f"{address}/{name}", target, sha256=sha256, instead="give path=")
    assert "\n" not in str(caught.value)
    assert {path.name for path in target.parent.iterdir()} == {".lock"}
    assert download_file(f"{address}/file.txt", target, sha256=SHA256, instead="x").read_bytes() == CONTENT


def test_what_a_killed_download_left_is_written_over(address: str, tmp_path: Path) -> None:
    (tmp_path / "file.txt.tmp").write_bytes(CONTENT * 2)
    assert (
        download_file(f"{address}/file.txt", tmp_path / "file.txt", sha256=SHA256, instead="x").read_bytes() == CONTENT
    )
    assert not (tmp_path / "file.txt.tmp").exists()


def test_a_server_that_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:  # takes connections, never answers
        url = f"http://127.0.0.1:{server.server_address[1]}/file.txt"
        with pytest.raises(InputError, match=r"cannot download .* \(timed out\); give path="):
            download_file(url, tmp_path / "file.txt", sha256=SHA256, instead="give path=")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot download http://x/y to .*file \(.*\); give path="):
        download_file("http://x/y", tmp_path / "file" / "y", sha256=SHA256, instead="give path=")
