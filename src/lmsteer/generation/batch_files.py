"""Files of finished batches, from which an interrupted generation resumes."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from lmsteer.errors import InputError
from lmsteer.generation.generation_files import ExpectedGeneration, read_generation_file
from lmsteer.records import Generation, read_generations
from lmsteer.storage.atomic_files import atomic_write_lines, batch_folder


class BatchFiles:
    """One file a batch in a folder next to ``path``, written at once, until all are merged into ``path``.

    Batches are numbered from 0. Any number of processes may write them; none writes a batch of another.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, batch_folder(path)

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06d}.jsonl"

    def holds(self, number: int, expected: Sequence[ExpectedGeneration], samples: int) -> bool:
        """Return whether a batch is finished; a file that holds anything else than expected is not, and is replaced."""
        if not self._file(number).exists():
            return False
        try:
            read_generation_file(self._file(number), expected, samples=samples)
        except InputError:
            return False
        return True

    def write(self, number: int, generations: Sequence[Generation]) -> None:
        """Write a batch.

        Raises:
            InputError: If the disk is full or cannot be written to.
        """
        self.folder.mkdir(exist_ok=True)
        atomic_write_lines(self._file(number), (generation.to_json() for generation in generations))

    def merge(self, keys: Sequence[Sequence[tuple[int, int]]]) -> None:
        """Write ``path`` from all batches and delete them.

        Args:
            keys: For each batch, the sort keys of its generations.
        """
        pairs = [
            pair
            for number, batch in enumerate(keys)
            for pair in zip(batch, read_generations(self._file(number)), strict=True)
        ]
        pairs.sort(key=lambda pair: pair[0])
        atomic_write_lines(self.path, (generation.to_json() for _, generation in pairs))
        shutil.rmtree(self.folder)
