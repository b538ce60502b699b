"""What a run reads from elsewhere: versions and names of files, and digests of what must stay while it is resumed."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from lmsteer.data.prompts.selection import PromptSet
from lmsteer.errors import InputError
from lmsteer.runs.run import Run
from lmsteer.storage.atomic_files import atomic_write_lines

SOURCES = "sources.json"


class Sources:
    """The content of ``sources.json``.

    Args:
        run: Its folder may hold the record of an earlier start.
        files: An entry for each option that needs files from elsewhere, with their version and names.
        digests: Digests of what the options give, by option: rows of a corpus, prompts, weights of a model.

    Raises:
        InputError: If a digest is not that of the earlier start; names the option and the versions of its files.
    """

    def __init__(self, run: Run, files: Sequence[Mapping[str, Any]], digests: Mapping[str, str]) -> None:
        self.run, self.files, self.digests = run, files, digests
        if run.process_group.is_rank_zero:
            self._check()

    def _check(self) -> None:
        path = self.run.path(SOURCES)
        if not path.is_file():
            return
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            digests, files = dict(stored["digests"]), list(stored["files"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"{path}: damaged; delete it, or choose another hydra.run.dir") from error
        for option, digest in self.digests.items():
            if digests.get(option, digest) != digest:
                there, here = (_commit(entries, option) for entries in (files, self.files))
                revision = f", with {option}.revision={there} for what it was" if there and there != here else ""
                commits = f"commit {there[:12] or 'unknown'} there, {here[:12] or 'unknown'} here"
                raise InputError(
                    f"run folder {self.run.folder}: {option} is not what it was when this run began ({commits}); "
                    f"choose another hydra.run.dir{revision}"
                )

    def write(self) -> None:
        """Write the record, once the folder is locked."""
        if self.run.process_group.is_rank_zero:
            content = {"files": list(self.files), "digests": dict(self.digests)}
            atomic_write_lines(self.run.path(SOURCES), [json.dumps(content, indent=1)])


def begin(run: Run, files: Sequence[Mapping[str, Any]], digests: Mapping[str, str]) -> None:
    """Begin a run and record its sources, unless they are not those of its earlier start.

    Raises:
        InputError: As ``Sources`` and ``Run.begin`` do; nothing is written then.
    """
    sources = Sources(run, files, digests)
    run.begin()
    sources.write()


def digest_of_prompts(prompts: PromptSet) -> str:
    """Return the sha256 of ids and texts, in order, with the turns of questions."""
    pairs = [(prompt.id, prompt.text, *filter(None, [prompt.turns])) for prompt in prompts.prompts]
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()


def _commit(files: Sequence[Mapping[str, Any]], option: str) -> str:
    """Return the commit of the files of an option; empty if it has none."""
    return next((str(entry["commit"]) for entry in files if entry.get("option") == option and entry.get("commit")), "")
