"""The rows that add a vector to the output of one layer: a difference of means, and a trained one.

Shapes: B texts, T tokens, N packed tokens, L layers, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lmsteer.data.datamodule import SteerDataModule
from lmsteer.data.text_datamodule import TextDataModule
from lmsteer.errors import InputError
from lmsteer.methods.class_rows import require_classes
from lmsteer.methods.learned_method import FitJob, Learned, LearnedMethod, check_packed, check_positive
from lmsteer.metrics.auc import auc
from lmsteer.models.body_edit import Edit, edited, layer_names
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Mixture, Source
from lmsteer.records import Row
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.training.body_module import BodyModule
from lmsteer.training.fit import Solver
from lmsteer.training.weights import Weights

VECTOR, LAYER = "vector", "layer"


@dataclass(frozen=True, kw_only=True)
class LayerMethod(LearnedMethod):
    """A method that adds ``v`` times a vector (D,) to the output of one layer, at all positions. One pass a token.

    Attributes:
        layer: Number of the layer, from 0. None: see the method.
    """

    value_kinds: ClassVar[Mapping[str, Any]] = {LAYER: int}
    layer: int | None = None

    def check_data(self, data: SteerDataModule, steer_config: SteerConfig, solver: Solver) -> None:
        """Refuse a corpus without one of the classes, and a layer that the model lacks."""
        check_packed(data, self.name)
        self.layers(data.extract.model)
        require_classes(data.corpus.train, self.name)

    def mixture(self, model: LanguageModel, learned: Learned, strength: float) -> Mixture:
        """Return the model with the vector added."""
        name = layer_names(model.lm)[learned.values[LAYER]]
        vector_D = learned.tensors[VECTOR].to(model.device) * strength
        edits: dict[str, Edit] = {name: partial(_add, vector_D)}
        return Mixture((Source(model, model.head, edit=lambda: edited(model.lm, edits)),))

    def check_learned(self, model: LanguageModel, learned: Learned, path: Path) -> None:
        """Refuse a vector of another width, or for a layer that the model lacks.

        Raises:
            InputError: Naming the file.
        """
        number, width = len(layer_names(model.lm)), model.lm.config.get_text_config().hidden_size
        vector = learned.tensors.get(VECTOR)
        if vector is None or vector.shape != (width,) or not 0 <= learned.values[LAYER] < number:
            raise InputError(f"{path}: a vector of width {width} for a layer from 0 to {number - 1} expected")

    def layers(self, model: LanguageModel) -> list[str]:
        """Return the names of the layers.

        Raises:
            InputError: If the layer is not one of them.
        """
        names = layer_names(model.lm)
        if self.layer is not None and not 0 <= self.layer < len(names):
            raise InputError(f"method.layer={self.layer}: model {model.name} has layers 0 to {len(names) - 1}")
        return names


def _add(vector: Tensor, x_BTD: Tensor, y_BTD: Tensor) -> Tensor:
    return y_BTD + vector.to(y_BTD.device, y_BTD.dtype)


@dataclass(frozen=True, kw_only=True)
class DiffMean(LayerMethod):
    """Add the difference of the mean hidden states of the two classes (CAA, DiffMean in AxBench, Wu et al., 2025).

    The vector has the direction of the difference, over all tokens, and the length of the largest projection of a
    training token on it, so strength 1 moves as far as the clearest token lies. Rows are those of a steer's batches.

    Attributes:
        layer: None: the layer of the middle half in which the mean projection of a dev text tells the classes apart
            best, by AUC; without dev rows, the middle one.
    """

    name: ClassVar[str] = "diffmean"

    def check_data(self, data: SteerDataModule, steer_config: SteerConfig, solver: Solver) -> None:
        """Refuse a corpus without one of the classes, in its dev rows too, and a layer that the model lacks."""
        super().check_data(data, steer_config, solver)
        if self.layer is None and data.dev:
            require_classes(data.dev, f"{self.name}, dev rows")

    def learn(self, job: FitJob) -> Learned:
        """Compute the vector and choose the layer.

        Raises:
            InputError: If a class has no rows in the batches.
        """
        number = len(self.layers(job.model))
        steps = range(job.solver.bound_options["max_steps"])
        rows = list(dict.fromkeys(row for t in steps for row in job.data.rows(t)))
        positive, negative = require_classes(rows, f"{self.name}, rows of {len(steps)} batches")
        layers = range(number // 4, max(number // 4 + 1, (3 * number + 3) // 4)) if self.layer is None else [self.layer]
        unit_LD = torch.nn.functional.normalize(
            self._mean(job, positive, layers) - self._mean(job, negative, layers), dim=-1
        )
        chosen, aucs = len(layers) // 2, list[float]()
        if self.layer is None and job.data.dev:
            aucs = self._aucs(job, unit_LD, layers)
            chosen = int(np.argmax(aucs))
        largest = max(
            float((states_LND[chosen].double() @ unit_LD[chosen]).abs().max())
            for states_LND in _states(job, rows, layers)
        )
        largest = max(job.data.process_group.all_gather(largest))
        training: dict[str, Any] = {"dev_auc": {str(n): value for n, value in zip(layers, aucs, strict=False)}}
        training["seen"] = job.data.count(rows)
        return Learned({VECTOR: (unit_LD[chosen] * largest).float()}, {LAYER: layers[chosen]}, training)

    def _mean(self, job: FitJob, rows: Sequence[Row], layers: Sequence[int]) -> Tensor:
        """Return the mean hidden state (L, D) over all tokens of the rows, float64."""
        total_LD, count = torch.zeros(len(layers), 1, dtype=torch.float64), 0
        for states_LND in _states(job, job.data.process_group.shard(rows), layers):
            total_LD = total_LD + states_LND.double().sum(1)
            count += states_LND.shape[1]
        totals = job.data.process_group.all_gather((total_LD, count))
        return torch.stack([total_LD for total_LD, _ in totals]).sum(0) / sum(count for _, count in totals)

    def _aucs(self, job: FitJob, unit_LD: Tensor, layers: Sequence[int]) -> list[float]:
        """Return the AUC of the mean projection of dev texts, by layer."""
        positive, negative = require_classes(job.data.dev, f"{self.name}, dev rows")
        rows = [*positive, *negative]
        projections = [
            torch.einsum("lnd,ld->ln", states_LND.double(), unit_LD).mean(1)
            for row in rows
            for states_LND in _states(job, [row], layers)
        ]
        labels = np.array([1.0] * len(positive) + [0.0] * len(negative))
        return [float(auc(np.array(column), labels, axis=-1)) for column in torch.stack(projections, 1).tolist()]


@torch.inference_mode()
def _states(job: FitJob, rows: Sequence[Row], layers: Sequence[int]) -> Any:
    """Yield the outputs (L, N, D) of layers at the tokens of batches of rows, where they predict its targets."""
    extract, model = job.data.extractor, job.model
    names = [layer_names(model.lm)[layer] for layer in layers]
    encoded = extract.encode(job.data.texts(rows))
    for group in extract.groups(encoded):
        outputs: dict[str, Tensor] = {}
        edits: dict[str, Edit] = {name: partial(_record, outputs, name) for name in names}
        with edited(model.lm, edits):
            extract.states([encoded[index] for index in group])
        ends_B1 = torch.tensor([[len(encoded[index].inputs)] for index in group])
        first_B1 = torch.tensor([[encoded[index].start - 1] for index in group])
        positions_T = torch.arange(outputs[names[0]].shape[1])
        mask_BT = (positions_T >= first_B1) & (positions_T < ends_B1)
        if mask_BT.any():
            yield torch.stack([outputs[name].cpu()[mask_BT] for name in names])


def _record(outputs: dict[str, Tensor], name: str, x_BTD: Tensor, y_BTD: Tensor) -> Tensor:
    outputs[name] = y_BTD
    return y_BTD


@dataclass(frozen=True, kw_only=True)
class ResidualVector(LayerMethod):
    """Add a vector that is trained by the loss of a steer: at strength +1 and -1 on rows with these labels.

    Attributes:
        layer: None: the middle layer.
        lr: Learning rate, in place of that of the optimizer's choice.
    """

    name: ClassVar[str] = "residual_vector"
    lr: float = 1e-2

    def __post_init__(self) -> None:
        check_positive(lr=self.lr)

    def learn(self, job: FitJob) -> Learned:
        """Train the vector.

        Raises:
            InputError: If the loss is not finite.
        """
        names = self.layers(job.model)
        layer = len(names) // 2 if self.layer is None else self.layer

        def edit(tensors: Mapping[str, Tensor], label_B: Tensor) -> AbstractContextManager[object]:
            return edited(job.model.lm, {names[layer]: partial(_add, label_B[:, None, None] * tensors[VECTOR])})

        weights = Weights({VECTOR: torch.zeros(job.model.lm.config.get_text_config().hidden_size)})
        module = BodyModule(weights, job.model, edit, **job.module_options(self.lr)).to(job.model.device)
        job.solver.run(module, job.data, TextDataModule(job.data), folder=job.folder, loggers=job.loggers)
        training = {"curve": module.curve, **job.settings(self.lr)}
        return Learned(module.best().detached(), {LAYER: layer}, training)
