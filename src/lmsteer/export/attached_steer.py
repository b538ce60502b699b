"""A steer in files that an engine attaches to its base model: adapters of the output head, or a logits processor."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from lmsteer.errors import InputError
from lmsteer.export.head_adapter import (
    HeadAdapter,
    gguf_architecture,
    refuse_constant,
    write_gguf_adapter,
    write_peft_adapter,
)
from lmsteer.export.verification import RUN_TIME_STRENGTH, Part, Parts, check_tokens, prompt_states
from lmsteer.models.language_model import LanguageModel
from lmsteer.processors.logit_steer import FILE, LogitSteer
from lmsteer.reporting.text import file_size
from lmsteer.steering.logit_truncation import logit_errors, truncate_logits
from lmsteer.steering.steer import Steer

FILE_NAME = re.compile(r"\w[\w.+-]{0,99}")


class AttachedSteer:
    """The files of a steer in one of the forms that leave the model as it is.

    Args:
        form: ``adapter`` (PEFT), ``gguf`` (llama.cpp) or ``processor`` (any engine that shows its logits).
        strength: Strength by dimension; empty: it is left to run time.
        rank: Rank to which the steer is cut. None: it is not.

    Raises:
        InputError: If the strength is 0 or unknown, a name cannot be that of a file, or the form cannot hold the steer.
    """

    def __init__(
        self,
        model: LanguageModel,
        steer: Steer,
        form: Literal["adapter", "gguf", "processor"],
        strength: Mapping[str, float],
        *,
        rank: int | None = None,
    ) -> None:
        if strength and not steer.strengths(strength).any():
            raise InputError("strength: 0 is the plain model; another number expected, or none to leave it to run time")
        self.model, self.form, self.strength, self.whole = model, form, strength, steer
        self.shown = {name: value for name, value in strength.items() if value} or dict.fromkeys(
            steer.dimensions, RUN_TIME_STRENGTH
        )
        for name in self.shown if form != "processor" else ():
            if not FILE_NAME.fullmatch(name):
                raise InputError(f"dimension {name!r}: not the name of a file; compose names=[…] gives it another")
        if form == "gguf":
            gguf_architecture(model)
            refuse_constant(steer, self.shown)
        self.steer, self.kept = steer, dict.fromkeys(steer.dimensions, 1.0)
        if rank is not None:
            self.steer, self.kept = truncate_logits(steer, model.head, rank)

    def write(self, target: Path, base_model: str) -> None:
        """Fill a folder; ``base_model`` is the id of the model on the hub, if known."""
        if self.form == "processor":
            LogitSteer.of(self.model.head, self.steer, self.strength).save(target / FILE)
            return
        for name in self.shown:
            adapter = HeadAdapter.of(self.model, self.steer, self.steer.dimensions.index(name))
            path, strength = target / self._path(name), self.strength.get(name, 1.0)
            if self.form == "adapter":
                write_peft_adapter(path, self.model, adapter, strength=strength, base_model=base_model)
            else:
                write_gguf_adapter(path, self.model, adapter, strength=strength, name=name)

    def files(self, folder: Path) -> list[Part]:
        """Describe the written files, without the tables that verify them."""
        errors = logit_errors(self.whole, self.steer, self.model.head, prompt_states(self.model))
        rank = self.steer.p1.shape[2]
        return [
            Part(
                dimension=name,
                path=self._path(name),
                rank=rank,
                size=file_size(_size(folder / self._path(name))),
                kept=self.kept[name],
                error=errors[name] * abs(shown),
                shown=shown,
            )
            for name, shown in self.shown.items()
        ]

    def describe(self, folder: Path) -> Parts:
        """Describe the written files for the card."""
        lm, steer = self.model.lm, self.steer
        return Parts(
            form=self.form,
            strength=self.strength,
            dtype=str(self.model.head.weight.dtype).removeprefix("torch."),
            is_tied=lm.get_input_embeddings().weight is lm.get_output_embeddings().weight,
            has_constant=steer.bias is not None and bool(steer.bias.any()),
            files=[
                replace(part, checks=check_tokens(self.model, self.steer, part.dimension, part.shown))
                for part in self.files(folder)
            ],
        )

    def _path(self, name: str) -> str:
        return {"adapter": name, "gguf": f"{name}.gguf", "processor": FILE}[self.form]


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def refuse_schedules(steer: Steer, names: Sequence[str]) -> None:
    """Refuse dimensions whose strength follows a schedule, which no engine does.

    Raises:
        InputError: Naming them.
    """
    if scheduled := [name for name in steer.schedules if name in names]:
        raise InputError(
            f"the strength of {', '.join(scheduled)} follows a schedule, which no engine does; compose the file with a "
            "constant one, or export it with form=factors"
        )
