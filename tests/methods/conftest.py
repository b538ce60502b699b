"""Every method of the tables, fitted on a small corpus."""

from functools import partial

import pytest
import torch

from lmsteer.data.corpus import Corpus
from lmsteer.data.datamodule import SteerDataModule
from lmsteer.methods.blacklist import Blacklist
from lmsteer.methods.layer_vector import DiffMean, ResidualVector
from lmsteer.methods.learned_method import FittedMethod, LearnedMethod
from lmsteer.methods.logit_offset import LogitOffset
from lmsteer.methods.lora import DExperts, Lora
from lmsteer.methods.prompt import Contrast, Prompt
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Row
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.training.gradient_solver import GradientSolver

NAMES = ("film", "story", "night", "storm", "people", "place", "help", "end")
ROWS = tuple(
    Row(f"the {name} {number} {tone}", label)
    for number, name in enumerate(NAMES)
    for tone, label in (("is warm and funny", 1.0), ("is dull and slow", -1.0))
)
CORPUS = Corpus("tones", train=ROWS[:12], dev=ROWS[12:])
PREFIXES = {"positive": "warm and funny ", "negative": "dull and slow "}
METHODS: dict[str, LearnedMethod] = {
    "prompt": Prompt(**PREFIXES),
    "contrast": Contrast(**PREFIXES),
    "blacklist": Blacklist(words=5, min_count=2),
    "logit_offset": LogitOffset(epsilon=0.5),
    "lora": Lora(rank=2, lr=0.05),
    "dexperts": DExperts(rank=2, lr=0.05),
    "anti_only": DExperts(rank=2, lr=0.05, form="anti_only"),
    "whole_copies": DExperts(lr=0.01, form="full"),
    "diffmean": DiffMean(),
    "residual_vector": ResidualVector(lr=0.1),
}


def solver(steps: int) -> GradientSolver:
    options = {"max_steps": steps, "val_check_interval": 2, "enable_progress_bar": False}
    return GradientSolver(optimizer=partial(torch.optim.Adam, lr=0.05), trainer=options)


def fit(
    method: LearnedMethod, model: LanguageModel, corpus: Corpus = CORPUS, *, steps: int = 4, batch_size: int = 6
) -> FittedMethod:
    data = SteerDataModule(corpus, model, dimensions=1, batch_size=batch_size)
    fitted, _ = method.fit(data, SteerConfig(name="tone"), solver(steps))
    assert isinstance(fitted, FittedMethod)
    return fitted


@pytest.fixture(scope="session", params=list(METHODS))
def method(request: pytest.FixtureRequest) -> LearnedMethod:
    """Every method in turn."""
    return METHODS[request.param]


@pytest.fixture(scope="session")
def fitted(method: LearnedMethod, model: LanguageModel) -> FittedMethod:
    """Every method, fitted for every architecture."""
    return fit(method, model)
