"""Upload an exported folder to a repository of the hub, by the login of ``huggingface_hub``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lmsteer.errors import InputError
from lmsteer.storage.hub_errors import LOG_IN, hub_reason

MESSAGE = "Export by lmsteer"
PUBLIC, PRIVATE = "public", "private"


@dataclass(frozen=True)
class HubUpload:
    """A repository of models on the hub, to which a folder goes.

    Args:
        id: ``ORG/NAME``.
        private: Whether only its owner can see it, if it does not exist yet; a public one is refused then.

    Raises:
        InputError: If the id is not one of a repository.

    Example:
        >>> HubUpload("me/tone").page
        'https://huggingface.co/me/tone'
    """

    id: str
    private: bool = True

    def __post_init__(self) -> None:
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

        try:
            validate_repo_id(self.id)
        except HFValidationError as error:
            raise InputError(f"push={self.id}: {' '.join(str(error).split())}; ORG/NAME expected") from error
        if "/" not in self.id:
            raise InputError(f"push={self.id}: the name of a user or organization is missing; ORG/NAME expected")

    @property
    def page(self) -> str:
        """Address of its page."""
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{self.id}"

    def check(self) -> None:
        """Refuse before any work what the hub would refuse after it, as far as it says so.

        Raises:
            InputError: If nobody is logged in, the hub does not answer or accept the token, the token may only read, or
                the repository is public and should be private.
        """
        from huggingface_hub import HfApi, get_token, is_offline_mode
        from huggingface_hub.errors import RepositoryNotFoundError

        if is_offline_mode():
            raise InputError(f"push={self.id}: HF_HUB_OFFLINE is set; unset it, or give dry_run=true")
        if get_token() is None:
            raise InputError(f"push={self.id}: you are not logged in; {LOG_IN}, with a token that may write")
        api = HfApi()
        try:
            access = (api.whoami().get("auth") or {}).get("accessToken") or {}
            is_public = not api.repo_info(self.id).private
        except RepositoryNotFoundError:
            is_public = False
        except Exception as error:  # the client's errors and the network's have no common base
            raise InputError(f"push={self.id}: {hub_reason(error, self.page)}") from error
        if access.get("role") == "read":
            raise InputError(f"push={self.id}: the token may only read; {LOG_IN}, with a token that may write")
        if is_public and self.private:
            raise InputError(f"push={self.id}: {self.page} is public; give private=false, or another name")

    def upload(self, folder: Path) -> str:
        """Upload all files of a folder, and say where they are; other files of the repository stay.

        Returns:
            Address of the page, whether it is public, and the commit, in words.

        Raises:
            InputError: If the hub refuses it or fails; the folder stays as it is.
        """
        from huggingface_hub import HfApi

        api = HfApi()
        try:
            api.create_repo(self.id, private=self.private, exist_ok=True)
            commit = api.upload_folder(repo_id=self.id, folder_path=folder, commit_message=MESSAGE)
            visibility = PRIVATE if api.repo_info(self.id).private else PUBLIC
        except Exception as error:  # the client's errors and the network's have no common base
            raise InputError(
                f"push={self.id}: not uploaded ({hub_reason(error, self.page)}); {folder} is complete, and the same "
                "command tries again"
            ) from error
        return f"{self.page} ({visibility}, commit {commit.oid[:12]})"


def folder_files(folder: Path) -> list[tuple[str, int]]:
    """Return the files of a folder that are uploaded, with their sizes in bytes."""
    from huggingface_hub.utils import DEFAULT_IGNORE_PATTERNS, filter_repo_objects  # type: ignore[attr-defined]

    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    uploaded = filter_repo_objects(files, ignore_patterns=DEFAULT_IGNORE_PATTERNS)
    return [(name, (folder / name).stat().st_size) for name in uploaded]
