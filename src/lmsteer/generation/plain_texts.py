"""Cache the generations of the plain model, which are the same for every steer and training seed."""

import shutil
from contextlib import nullcontext
from pathlib import Path

from filelock import FileLock

from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError
from lmsteer.generation.generation_files import expected_generations, read_generation_file
from lmsteer.generation.generator import Generator
from lmsteer.storage.atomic_files import atomic_write, is_complete


class PlainTexts:
    """Generations of the plain model by their inputs, in a folder that any number of processes may share.

    Args:
        folder: Folder of the cache; None: no cache.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def write(self, generator: Generator, path: Path, process_group: ProcessGroup | None = None) -> None:
        """Write the plain model's generations to ``path``, from the cache or by generating and caching them.

        Args:
            process_group: Processes that generate together, all of which call this; None: one.

        Raises:
            InputError: If the folder cannot be written to.
        """
        process_group = process_group or ProcessGroup()
        if self.folder is None:
            generator.write(path, [({}, "")], process_group=process_group)
            return
        cached = self.folder / f"{generator.identity()}.jsonl"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(cached.with_suffix(".lock")) if process_group.is_rank_zero else nullcontext():
                if not process_group.broadcast(is_complete(cached)):
                    generator.write(cached, [({}, "")], process_group=process_group)
            if not process_group.is_rank_zero:
                return
            read_generation_file(cached, expected_generations(generator.prompts, [({}, "")]), samples=generator.samples)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InputError(f"cache={self.folder.parent}: {reason}; another folder or off expected") from error
        with atomic_write(path) as temporary:
            shutil.copyfile(cached, temporary)
