"""Learn, apply, measure and export LM-Steers (Han et al., ACL 2024)."""

from lmsteer.data.corpus import Corpus
from lmsteer.errors import InputError
from lmsteer.generation.generator import generate
from lmsteer.generation.sampling import Greedy, Nucleus
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.load import load_model, smollm2
from lmsteer.records import Generation, Prompt, Row
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import Provenance, load_steer, save_steer
from lmsteer.training.fit import FitEnvironment, fit
from lmsteer.training.fit_config import FitConfig, SteerConfig

__all__ = [
    "Corpus",
    "FitConfig",
    "FitEnvironment",
    "Generation",
    "Greedy",
    "InputError",
    "LanguageModel",
    "Nucleus",
    "Prompt",
    "Provenance",
    "Row",
    "Steer",
    "SteerConfig",
    "fit",
    "generate",
    "load_model",
    "load_steer",
    "save_steer",
    "smollm2",
]
