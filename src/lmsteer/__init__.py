"""Learn, apply, measure and export LM-Steers (Han et al., ACL 2024).

Public names are imported when they are first used (PEP 562), so that ``import lmsteer`` is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lmsteer.extras import explain_missing_extra

if TYPE_CHECKING:
    from lmsteer.data.corpus import Corpus
    from lmsteer.data.datamodule import SteerDataModule
    from lmsteer.errors import InputError
    from lmsteer.generation.generator import generate
    from lmsteer.generation.sampling import Greedy, Nucleus
    from lmsteer.methods.method_file import load_controller
    from lmsteer.models.language_model import LanguageModel
    from lmsteer.models.load import load_model, smollm2
    from lmsteer.one_pass.one_pass_solver import OnePassSolver
    from lmsteer.records import Generation, Prompt, Row
    from lmsteer.steering.provenance import Provenance
    from lmsteer.steering.steer import Steer
    from lmsteer.steering.steer_config import SteerConfig
    from lmsteer.steering.steer_file import load_steer, save_steer
    from lmsteer.training.fit import FitEnvironment, fit
    from lmsteer.training.gradient_solver import GradientSolver

_MODULES = {
    "data.corpus": ("Corpus",),
    "data.datamodule": ("SteerDataModule",),
    "errors": ("InputError",),
    "generation.generator": ("generate",),
    "generation.sampling": ("Greedy", "Nucleus"),
    "methods.method_file": ("load_controller",),
    "models.language_model": ("LanguageModel",),
    "models.load": ("load_model", "smollm2"),
    "one_pass.one_pass_solver": ("OnePassSolver",),
    "records": ("Generation", "Prompt", "Row"),
    "steering.steer": ("Steer",),
    "steering.provenance": ("Provenance",),
    "steering.steer_config": ("SteerConfig",),
    "steering.steer_file": ("load_steer", "save_steer"),
    "training.fit": ("FitEnvironment", "fit"),
    "training.gradient_solver": ("GradientSolver",),
}
_MODULE_OF = {name: f"lmsteer.{module}" for module, names in _MODULES.items() for name in names}

__all__ = [
    "Corpus",
    "FitEnvironment",
    "Generation",
    "GradientSolver",
    "Greedy",
    "InputError",
    "LanguageModel",
    "Nucleus",
    "OnePassSolver",
    "Prompt",
    "Provenance",
    "Row",
    "Steer",
    "SteerConfig",
    "SteerDataModule",
    "fit",
    "generate",
    "load_controller",
    "load_model",
    "load_steer",
    "save_steer",
    "smollm2",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'lmsteer' has no attribute {name!r}")
    with explain_missing_extra(f"lmsteer.{name}"):
        return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
