"""The OpenWebText prompts on which sentiment steering is measured."""

from pathlib import Path

from lmsteer.data.prompts.prompt_sets import Kind, prompt_text
from lmsteer.data.prompts.selection import Candidate, PromptSet, select_prompts, sort_by_hash
from lmsteer.data.readers.table import read_jsonl_rows
from lmsteer.errors import InputError
from lmsteer.storage.download import RemoteFile
from lmsteer.storage.required_files import requires
from lmsteer.storage.user_cache import cache_folder

COMMIT = "265982f6d8027d3a2ec4b65b775cf3e704e187f5"
ADDRESS = f"https://raw.githubusercontent.com/Glaciohound/LM-Steer/{COMMIT}/data/prompts/sentiment_prompts-10k"
DIGESTS: dict[Kind, str] = {
    "neutral": "ebb612696e4e5336c978f8e50f874f80acd8a298e2c1f1b0194a4a889dffb0c8",
    "positive": "e53c7cdebe1056ea7780687ffbc64a8861cd29a35247cf9b28c31b4309e5cb79",
    "negative": "b82729cf20e3ee339b2b80e62adab365676010044ad29ad722ecb3ceb5a86950",
}


def _published(kind: Kind) -> RemoteFile:
    name = f"{kind}_prompts.jsonl"
    return RemoteFile(
        f"{ADDRESS}/{name}",
        cache_folder() / "owt-sentiment-prompts" / name,
        sha256=DIGESTS[kind],
        instead="give the file or its folder by path=",
    )


@requires(lambda *, kind, path=None, **_: [] if path else [_published(kind)])
def owt_sentiment_prompts(*, kind: Kind, path: str | None = None, n: int | None = None) -> PromptSet:
    """Read beginnings of OpenWebText sentences that GPT-2 continues with one sentiment or both (Liu et al., 2021).

    The published sets have 5,000 neutral, 2,500 positive and 2,500 negative prompts.

    Args:
        path: A JSONL file (see ``prompt_file`` for its lines), or a folder with ``KIND_prompts.jsonl`` or
            ``KIND.jsonl``; None: download the published set into the user's cache, once.
        n: Number of prompts, in a random order that depends only on the texts; None: all.

    Raises:
        InputError: If ``n`` is below 1, the download fails, there is no such file, or a line has no prompt.
    """
    file = _find_file(Path(path), kind) if path else _published(kind).fetch()
    candidates = [Candidate.from_row(prompt_text(row, where), row, where) for where, row in read_jsonl_rows(file)]
    if not candidates:
        raise InputError(f"{file} holds no prompts; expected one JSON object with a prompt per line")
    return select_prompts(kind, sort_by_hash(candidates, seed=0), n)


def _find_file(path: Path, kind: Kind) -> Path:
    if not path.is_dir():
        return path
    files = [path / f"{kind}_prompts.jsonl", path / f"{kind}.jsonl"]
    for file in files:
        if file.is_file():
            return file
    raise InputError(f"prompts {kind}: folder {path} has neither {files[0].name} nor {files[1].name}")
