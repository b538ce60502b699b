"""A repository of the hub from which one file is needed: that of a steer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lmsteer.storage.hub_files import STEERS, steer_names
from lmsteer.storage.hub_repository import HubRepository

NAME = re.compile(r"(?P<id>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[^:]+))?(?::(?P<file>.+\.safetensors))?")
"""``ORG/NAME``, with a branch, tag or commit, and a file, where these are not the default ones."""
EXPECTED = "a steer file, a folder with one, or ORG/NAME of the hub (ORG/NAME@REVISION, ORG/NAME:FILE.safetensors)"


@dataclass(frozen=True)
class SteerRepository(HubRepository):
    """A repository with a steer; nothing else of it is downloaded, in particular no code.

    Args:
        file: Name of the file; empty: ``steer.safetensors``, or the only file that may be a steer.

    Example:
        >>> repository = SteerRepository.named("me/tones@v1:joy.safetensors")
        >>> repository.id, repository.revision, repository.file
        ('me/tones', 'v1', 'joy.safetensors')
    """

    weights: bool = False
    noun: str = field(default="steer", compare=False)
    instead: str = field(default=EXPECTED, compare=False)
    file: str = ""

    @classmethod
    def named(cls, name: str, revision: str | None = None) -> SteerRepository | None:
        """Return the repository of a name ``ORG/NAME[@REVISION][:FILE]``; None: it is none, but that of a file."""
        match = NAME.fullmatch(name)
        if match is None or match["id"].endswith(".safetensors"):
            return None
        return cls(match["id"], revision=match["revision"] or revision, file=match["file"] or "")

    def needed(self, names: Iterable[str]) -> list[str]:
        """Select the file of the steer; several, if it is not known which."""
        return steer_names(names, self.file)

    @property
    def _is_folder(self) -> bool:
        return False  # ``ORG/NAME@REVISION`` is of the hub, also where there is a folder ORG/NAME

    def path(self) -> Path:
        """Return the file on this machine, after downloading it if need be.

        Raises:
            InputError: As ``look_up`` does, or if there is not exactly one steer.
        """
        snapshot = self.fetch()
        self._check_needed(list(snapshot.names), list(snapshot.names))
        return snapshot.folder / snapshot.names[0]

    def _seems_complete(self, folder: Path, names: list[str]) -> bool:
        return names == [self.file] or (len(names) == 1 and names[0] in STEERS)

    def _check_needed(self, names: list[str], all_names: list[str]) -> None:
        if not names:
            steers = f", but {', '.join(steer_names(all_names))}" if self.file and steer_names(all_names) else ""
            raise self._refusal(f"it has no {self.file or 'file of a steer, such as steer.safetensors'}{steers}")
        if len(names) > 1:
            raise self._refusal(f"it has several steers, {', '.join(names)}: name one, as {self.id}:{names[0]}")
