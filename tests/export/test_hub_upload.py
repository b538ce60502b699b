"""What a push refuses without a request, and which files of a folder it takes; the rest is in ``tests/hub``."""

from pathlib import Path

import pytest

from lmsteer.errors import InputError
from lmsteer.export.hub_upload import HubUpload, folder_files


@pytest.mark.parametrize(
    "id",
    ["tone", "me/", "/tone", "me/to ne", "me/tone/more", "./tone", "me/to--ne", "me/tone.git", "a" * 97 + "/b", ""],
)
def test_a_name_that_is_none_of_a_repository_is_refused(id: str) -> None:
    with pytest.raises(InputError, match=r"^push=[^\n]*; ORG/NAME expected$"):
        HubUpload(id)


def test_without_a_network_nothing_is_begun() -> None:
    with pytest.raises(InputError, match=r"push=me/tone: HF_HUB_OFFLINE is set; unset it, or give dry_run=true"):
        HubUpload("me/tone").check()


def test_all_files_are_listed_with_their_bytes_but_those_of_git_and_of_the_hubs_client(tmp_path: Path) -> None:
    for name in (
        "README.md",
        "custom_generate/generate.py",
        ".git/HEAD",
        ".cache/huggingface/x.lock",
        ".gitattributes",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    listed = ("README.md", "custom_generate/generate.py", ".gitattributes")
    assert sorted(folder_files(tmp_path)) == sorted((name, len(name)) for name in listed)
