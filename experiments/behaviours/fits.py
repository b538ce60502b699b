"""Fit a steer, a layer vector and a LoRA expert for each behaviour; each is stored in the run folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

from experiments.behaviours.answer_folder import AnswerFolder
from lmsteer.behaviours import NAMES
from lmsteer.cli.configuration import build
from lmsteer.commands.train import build_solver
from lmsteer.data.datamodule import SteerDataModule
from lmsteer.data.feature_store import FeatureStoreConfig
from lmsteer.methods.layer_vector import DiffMean
from lmsteer.methods.learned_method import FitJob, FittedMethod, Learned
from lmsteer.methods.lora import POSITIVE, Lora
from lmsteer.methods.method_file import load_controller, save_controller
from lmsteer.models.body_edit import layer_names
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Controller
from lmsteer.one_pass.corpus_pass import sample_contexts, sum_statistics
from lmsteer.one_pass.one_pass_solver import StepConfig
from lmsteer.one_pass.solver import solve_jointly
from lmsteer.one_pass.statistics import Statistics
from lmsteer.runs.run import Run
from lmsteer.steering.budget import Budget
from lmsteer.steering.composition import NONE, compose
from lmsteer.steering.kl import divergence
from lmsteer.steering.merging import MERGED
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.steering.strength_search import find_strength
from lmsteer.training.fit import describe_fit, fit_on
from lmsteer.training.gradient_solver import GradientSolver

KINDS = ("steer", "vector", "adapter")
CONTEXTS = 512
"""Contexts on which the divergence of a joint steer is set to that of the sum."""


@dataclass(frozen=True, eq=False)
class Fits:
    """The fitted controllers of all behaviours, each fitted when it is first needed and its file is missing."""

    run: Run
    model: LanguageModel
    answers: AnswerFolder
    config: Mapping[str, Any]
    _data_of: dict[str, SteerDataModule] = field(default_factory=dict)
    _statistics_of: dict[str, Statistics] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse options that the model does not allow, and answers of another model, before any work.

        Raises:
            InputError: Naming the option.
        """
        self.answers.check_model(self.model)
        self._vectors.layers(self.model)
        self._adapters.kind.check(self.model)
        self._steer_config(MERGED).build(self.model.width, self.config["seed"])

    def get(self, kind: str, name: str) -> Any:
        """Return the controller of a behaviour: a ``steer``, a ``vector`` or an ``adapter``."""
        path = self.run.path(f"{kind}s") / f"{name}.safetensors"
        if not self.run.is_complete(str(path.relative_to(self.run.folder))):
            path.parent.mkdir(exist_ok=True)
            with self.run.timed(f"fit {kind}s"):
                save_controller(
                    path, *{"steer": self._steer, "vector": self._vector, "adapter": self._adapter}[kind](name)
                )
        return load_controller(path)[0]

    def steers(self, names: Sequence[str]) -> list[Steer]:
        """Return the steers of behaviours."""
        return [self.get("steer", name) for name in names]

    def _steer(self, name: str) -> tuple[Controller, Provenance]:
        solver, steer_config = build_solver(dict(self.config)), self._steer_config(name)
        return fit_on(self._data(name).with_dimensions(len(solver.dimensions(steer_config))), steer_config, solver)

    def _vector(self, name: str) -> tuple[Controller, Provenance]:
        solver = GradientSolver(trainer={"max_steps": self.config["vector_batches"]})
        return self._vectors.fit(self._data(name), self._steer_config(name), solver)

    def _adapter(self, name: str) -> tuple[Controller, Provenance]:
        """Tune the expert on the answers that have the behaviour; the tables need none on the plain ones."""
        steps = self.config["adapter_steps"]
        method, data = self._adapters, self._data(name)
        method.check_data(data, self._steer_config(name), GradientSolver())
        job = FitJob(data, name, GradientSolver(trainer={"max_steps": steps, "val_check_interval": steps}))
        tensors, curve = method.tune(job, POSITIVE)
        training = {**method.options(), "curve": curve, **job.settings(method.learning_rate)}
        fitted = FittedMethod(method, name, Learned(tensors))
        return fitted, describe_fit(data, self._steer_config(name), training)

    @cached_property
    def _vectors(self) -> DiffMean:
        vectors: DiffMean = build(self.config["vectors"])
        middle = len(layer_names(self.model.lm)) // 2
        return replace(vectors, layer=middle) if vectors.layer is None else vectors

    @cached_property
    def _adapters(self) -> Lora:
        adapters: Lora = build(self.config["adapters"])
        return adapters

    def _steer_config(self, name: str) -> SteerConfig:
        config: SteerConfig = build(self.config["steer"])
        return replace(config, name=name, meaning=f"answers with the behaviour {name}")

    def _data(self, name: str) -> SteerDataModule:
        if name not in self._data_of:
            self._data_of[name] = self._build_data(name)
        return self._data_of[name]

    def _build_data(self, name: str) -> SteerDataModule:
        store = FeatureStoreConfig(
            where=self.config["cache"], store_all=True
        )  # plain answers are those of all behaviours
        data: SteerDataModule = build(self.config["data"])(
            self.answers.corpus(name), self.model, dimensions=1, seed=self.config["seed"], store=store
        )
        return data

    def _statistics(self, name: str) -> Statistics:
        if name not in self._statistics_of:
            data = self._data(name)
            labels = torch.tensor([row.label for row in data.corpus.train])
            self._statistics_of[name] = sum_statistics(data.extract, data.texts(data.corpus.train), labels)
        return self._statistics_of[name]

    @cached_property
    def _contexts_ND(self) -> torch.Tensor:
        data = self._data(next(name for name in NAMES if name in self.answers.included))
        rows = [row for row in data.dev or data.corpus.train if row.label < 0]
        return sample_contexts(data.extract, data.texts(rows), limit=CONTEXTS)

    def joint(self, names: Sequence[str], strengths: Sequence[float]) -> Steer:
        """Fit one steer to several corpora in one pass; at strength 1 it diverges as the sum of the steers does."""
        step = StepConfig(damping=self.config["damping"])
        steer = solve_jointly([self._statistics(name) for name in names], self._steer_config(MERGED), step)
        together = compose(self.steers(names), dummy=NONE)
        budget = self._kl(together, dict(zip(names, strengths, strict=True)))
        start = self._kl(steer, {MERGED: 1.0})
        reached = find_strength(
            lambda strength: self._kl(steer, {MERGED: strength}),
            Budget("kl", budget),
            direction=1,
            start=min(999.0, max(1e-3, (budget / start) ** 0.5)),
            at_zero=0.0,
        )
        return steer.scaled(0, reached.strength)

    @torch.inference_mode()
    def _kl(self, steer: Steer, strength: Mapping[str, float]) -> float:
        strength_1K = steer.strengths(strength)[None].to(self.model.device)
        steered_ND = steer.to(self.model.device)(self._contexts_ND, strength_1K)
        return float(divergence(self.model.head, steered_ND, self._contexts_ND).double().mean())
