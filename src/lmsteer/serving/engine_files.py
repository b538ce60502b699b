"""The files by which llama.cpp serves a model with a steer: a base model and an adapter for each dimension."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gguf import GGUFReader

from lmsteer.errors import InputError
from lmsteer.export.attached_steer import AttachedSteer, refuse_schedules
from lmsteer.export.gguf_base import check_same_model, context_length, copy_with_output, is_tied
from lmsteer.export.head_adapter import refuse_constant
from lmsteer.models.language_model import LanguageModel
from lmsteer.steering.composition import compose_files
from lmsteer.steering.dimensions import DUMMY
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer


@dataclass(frozen=True)
class EngineFiles:
    """What llama.cpp loads.

    Attributes:
        base: GGUF model with output embeddings of its own.
        adapters: An adapter for each dimension of the steer, of strength 1 at scale 1.
        context: Tokens of a text for which the model was trained.
    """

    base: Path
    adapters: Sequence[Path]
    context: int


def load_steers(paths: Sequence[Path]) -> tuple[Steer, Provenance]:
    """Read steer files that adapters can hold; several become one steer, with the sum of their dummies.

    Raises:
        InputError: If a file is no steer, has a schedule or a constant part, two have a dimension of the same name, or
            they are of different models.
    """
    loaded = [load_steer(path) for path in paths]
    owners: dict[str, Path] = {}
    for path, (steer, _) in zip(paths, loaded, strict=True):
        try:
            refuse_schedules(steer, steer.dimensions)
            refuse_constant(steer, dict.fromkeys(steer.dimensions, 1.0))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        for name in set(steer.dimensions) - {DUMMY}:
            if name in owners:
                raise InputError(
                    f"steer_file: {owners[name]} and {path} both have the dimension {name}; compose names=[…] gives it "
                    "another name"
                )
            owners[name] = path
    return loaded[0] if len(loaded) == 1 else compose_files(paths)


def write_engine_files(folder: Path, model: LanguageModel, steer: Steer, gguf: Path, reader: GGUFReader) -> EngineFiles:
    """Write adapters into a folder, and a copy of the GGUF model if its embeddings are tied.

    Raises:
        InputError: If the file is another model, llama.cpp does not know its architecture, or the name of a dimension
            cannot be that of a file.
    """
    adapters = AttachedSteer(model, steer, "gguf", {})
    check_same_model(reader, gguf, model)
    adapters.write(folder, "")
    base = gguf
    if is_tied(reader):
        base = folder / f"{gguf.stem}-untied.gguf"
        copy_with_output(reader, base)
    return EngineFiles(base, [folder / f"{name}.gguf" for name in steer.dimensions], context_length(reader))
