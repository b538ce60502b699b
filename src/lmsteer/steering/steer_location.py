"""Where a steer file is: on this machine, in a folder, or in a repository of the hub."""

from pathlib import Path

from lmsteer.errors import InputError
from lmsteer.storage.hub_files import steer_names
from lmsteer.storage.steer_repository import EXPECTED, SteerRepository


def locate_steer(name: str | Path, *, revision: str | None = None) -> Path:
    """Return the steer file of a name: a file, a folder with one, or a repository of the hub, in this order.

    Of a repository only that file is downloaded, once; a cached one is used without a request.

    Args:
        name: A path, or ``ORG/NAME``, ``ORG/NAME@REVISION``, ``ORG/NAME:FILE.safetensors``.
        revision: Branch, tag or commit on the hub; None: that of the name, or the default branch.

    Raises:
        InputError: If a folder or a repository has no steer or several, a repository cannot be had, or there is a
            revision of what is no repository. A file that does not exist is left to its reader.

    Example:
        >>> locate_steer("run/steer.safetensors")
        PosixPath('run/steer.safetensors')
    """
    path = Path(name)
    if (repository := hub_steer(name, revision)) is not None:
        return repository.path()
    if revision is not None:
        raise InputError(f"{name}, revision={revision}: only a repository of the hub has revisions")
    return _in_folder(path) if path.is_dir() else path


def hub_steer(name: str | Path, revision: str | None = None) -> SteerRepository | None:
    """Return the repository that a name stands for; None: it is that of a file or folder.

    Example:
        >>> hub_steer("me/tones").page
        'https://huggingface.co/me/tones'
    """
    return None if Path(name).exists() else SteerRepository.named(str(name), revision)


def _in_folder(folder: Path) -> Path:
    names = steer_names(sorted(path.name for path in folder.iterdir() if path.is_file()))
    if not names:
        raise InputError(f"{folder}: a folder without a steer, such as steer.safetensors; {EXPECTED} expected")
    if len(names) > 1:
        raise InputError(f"{folder}: several steers, {', '.join(names)}; name one, as {folder / names[0]}")
    return folder / names[0]
