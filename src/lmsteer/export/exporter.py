"""Export a model with a folded steer, or a steer alone, with a model card."""

import contextlib
import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from lmsteer.errors import InputError
from lmsteer.evaluation.results import Result, read_result
from lmsteer.evaluation.run_files import check_files
from lmsteer.export.attached_steer import AttachedSteer, refuse_schedules
from lmsteer.export.checkpoint import next_tokens, write_checkpoint
from lmsteer.export.model_card import Base, Folded, card
from lmsteer.export.verification import Part, Parts
from lmsteer.models.head import Head
from lmsteer.models.language_model import LanguageModel
from lmsteer.runs import stages
from lmsteer.runs.run import CONFIG, LOCK, Run
from lmsteer.steering.fold import fold
from lmsteer.steering.provenance import FORMAT, read_metadata
from lmsteer.steering.steer_file import load_steer
from lmsteer.steering.steer_location import locate_steer
from lmsteer.storage.atomic_files import atomic_write_lines

Form = Literal["checkpoint", "factors", "adapter", "gguf", "processor"]
Attached = Literal["adapter", "gguf", "processor"]
CARD = "README.md"
CUSTOM_GENERATE = "custom_generate/generate.py"
"""The file that ``generate`` of transformers looks for in a repository."""
PROMPT = "In my opinion, this film"
"""Prompt of the log-probabilities on the card."""
QUANTIZED = "The weights here are not those of the hub, but of its {} quantization, which was turned back into numbers."
EMBEDDED = (
    Base(
        "smollm2",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        license="apache-2.0",
        note=QUANTIZED.format("Q4_1"),
        code="lmsteer.smollm2()",
    ),
    Base(
        "gemma-3-270m-embedded",
        hub_id="google/gemma-3-270m",
        license="gemma",
        note=QUANTIZED.format("Q4_K_M"),
        code="lmsteer.models.load.gemma_3_270m()",
    ),
)
"""Models that do not come from the hub."""


class Export:
    """Export a steer file with its model, in either form.

    Args:
        steer_file: Its name, as for ``load_steer``: a file, a folder with one, or a repository of the hub.
        base_model: Hub id of the model for the card; empty: the one by which it was loaded, if any.
        license: License of the export, for the card; empty: that of the model for a checkpoint, if known.

    Raises:
        InputError: If the steer belongs to another model, or the ``metrics.json`` next to it cannot be read or is that
            of another steer.
    """

    def __init__(self, model: LanguageModel, steer_file: Path, *, base_model: str = "", license: str = "") -> None:
        self.model, self.steer_file = model, (steer_file := locate_steer(steer_file))
        self.steer, self.provenance = load_steer(steer_file, model)
        self.digest = _digest(steer_file)
        self.metrics = steer_file.with_name(stages.METRICS)
        self.result: Result | None = read_result(self.metrics) if self.metrics.is_file() else None
        if self.result:
            check_files(steer_file.parent, self.result, [steer_file.name])
        self.base, self.license = base_of(model, base_model), license

    def checkpoint(self, folder: Path, strength: Mapping[str, float]) -> None:
        """Write a checkpoint of the model steered at ``strength``, in the dtype of the model.

        Raises:
            InputError: If the strength is 0, unknown to the steer, far too large or follows a schedule, transformers
                does not read back what was written, or the folder holds anything else.
        """
        strength_K = self.steer.strengths(strength)
        if not strength_K.any():
            raise InputError(
                "a checkpoint needs a strength other than 0, which is the plain model: give strength=5, or "
                f"{{name: number}} of {', '.join(self.steer.dimensions)}; form=factors keeps every strength"
            )
        refuse_schedules(self.steer, [name for name, value in strength.items() if value])
        head = fold(self.model.head, self.steer, strength_K)
        if not head.weight.isfinite().all():
            raise InputError(f"strength {dict(strength)}: the folded head is not finite; take one nearer to 0")

        def write(target: Path) -> None:
            write_checkpoint(target, self.model, head)
            self._write_card(target, self._folded(strength, head))

        write_folder(folder, self._identity("checkpoint", strength), write)

    def factors(self, folder: Path) -> None:
        """Write the steer alone, as a byte-equal copy of its file, and the code by which transformers alone uses it.

        Files of older formats, or with a schedule, are written without that code.

        Raises:
            InputError: If the folder holds anything else.
        """

        def write(target: Path) -> None:
            shutil.copyfile(self.steer_file, target / stages.STEER)
            if is_of_format := read_metadata(self.steer_file)["format"] == FORMAT:
                (target / CUSTOM_GENERATE).parent.mkdir()
                shutil.copyfile(Path(__file__).with_name("custom_generate.py"), target / CUSTOM_GENERATE)
            self._write_card(target, None, custom_generate=is_of_format)

        write_folder(folder, self._identity("factors", {}), write)

    def attached(
        self, form: Attached, folder: Path, strength: Mapping[str, float], *, rank: int | None = None
    ) -> list[Part]:
        """Write what engines attach to the base model: adapters of PEFT or llama.cpp, one a dimension, or a processor.

        Args:
            strength: Strength at the adapter's own scale, and that of a processor where a request gives none; its
                dimensions other than 0 are written. Empty: all dimensions, at a strength of run time.
            rank: Rank to which the steer is cut by what it changes in the logits. None: it is not.

        Returns:
            The files, with their ranks and sizes and what a cut left.

        Raises:
            InputError: If the strength is 0, unknown to the steer or follows a schedule, the form cannot hold the
                steer, or the folder holds anything else.
        """
        written = strength or dict.fromkeys(self.steer.dimensions, 1.0)
        refuse_schedules(self.steer, [name for name, value in written.items() if value])
        plan = AttachedSteer(self.model, self.steer, form, strength, rank=rank)

        def write(target: Path) -> None:
            plan.write(target, self.base.hub_id)
            self._write_card(target, None, plan.describe(target))

        write_folder(folder, self._identity(form, strength, {} if rank is None else {"rank": rank}), write)
        return plan.files(folder)

    def _folded(self, strength: Mapping[str, float], head: Head) -> Folded:
        ids, tokens = next_tokens(self.model, head, PROMPT)
        return Folded(strength, str(head.weight.dtype).removeprefix("torch."), PROMPT, ids, tokens)

    def _write_card(
        self, target: Path, folded: Folded | None, parts: Parts | None = None, *, custom_generate: bool = False
    ) -> None:
        text = card(
            self.base,
            self.steer,
            self.provenance,
            digest=self.digest,
            folded=folded,
            parts=parts,
            result=self.result,
            license=self.license,
            custom_generate=custom_generate,
        )
        atomic_write_lines(target / CARD, [text.rstrip("\n")])

    def _identity(self, form: Form, strength: Mapping[str, float], options: Mapping[str, int] | None = None) -> str:
        """Return all inputs of an export as YAML (a superset of JSON), without paths of this machine."""
        inputs = {
            "form": form,
            "model": self.base.hub_id or self.base.name,
            "revision": self.base.revision,
            "fingerprint": self.provenance.fingerprint,
            "steer": self.digest,
            "strength": dict(strength),
            **(options or {}),
            "dtype": str(self.model.head.weight.dtype).removeprefix("torch."),
            "metrics": _digest(self.metrics) if self.result else "",
            "license": self.license,
            "lmsteer": version("lmsteer"),
        }
        return "\n".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in inputs.items()) + "\n"


def base_of(model: LanguageModel, hub_id: str = "") -> Base:
    """Describe a model for the card: by the given hub id, by the one it was loaded by, or as an embedded model."""
    for base in EMBEDDED:
        if base.name == model.name:
            return replace(base, hub_id=hub_id or base.hub_id)
    loaded = str(model.lm.name_or_path or "")
    by_id = loaded if "/" in loaded and not Path(loaded).is_dir() else ""
    return Base(model.name, hub_id or by_id, model.commit if by_id else "")


def write_folder(folder: Path, record: str, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary folder, then rename it to ``folder``; a complete folder is not written again.

    Of several processes that write the same folder at once, each has a temporary one, and the first to finish counts.

    Args:
        record: Inputs of the content, which are written into the folder too.

    Raises:
        InputError: If ``folder`` holds anything else.
    """
    if Run(folder, record).is_complete(CONFIG):
        return
    _remove_abandoned(folder)
    unfinished = folder.with_name(f"{_unfinished(folder)}{secrets.token_hex(4)}")
    try:
        run = Run(unfinished, record)  # its lock is held as long as it lives
        run.begin()
        write(unfinished)
        (unfinished / LOCK).unlink(missing_ok=True)
        for path in filter(Path.is_file, unfinished.rglob("*")):
            shutil.copymode(unfinished / CONFIG, path)  # safetensors makes files that only their owner can read
        try:
            unfinished.replace(folder)  # an empty folder may be there
        except OSError:
            if not Run(folder, record).is_complete(CONFIG):
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _unfinished(folder: Path) -> str:
    return f".{folder.name}.unfinished-"


def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary folders of exports that were killed; those of running ones are locked."""
    for path in folder.parent.iterdir() if folder.parent.is_dir() else ():
        if path.name.startswith(_unfinished(folder)):
            lock = FileLock(path / LOCK)
            with contextlib.suppress(Timeout, OSError), lock.acquire(blocking=False):
                shutil.rmtree(path, ignore_errors=True)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
