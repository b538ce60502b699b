"""Learn, apply, measure and export LM-Steers (Han et al., ACL 2024)."""

from lmsteer.data.corpus import Corpus
from lmsteer.errors import InputError
from lmsteer.fitting import FitSettings, SteerSettings, fit
from lmsteer.generation.generate import generate
from lmsteer.generation.sampling import Greedy, Nucleus
from lmsteer.models import load_model, smollm2
from lmsteer.records import Generation, Prompt, Row
from lmsteer.steering.model import LanguageModel, SteeredLM
from lmsteer.steering.steer import Steer
from lmsteer.steering.store import Origin, load_steer, save_steer

__all__ = [
    "Corpus",
    "FitSettings",
    "Generation",
    "Greedy",
    "InputError",
    "LanguageModel",
    "Nucleus",
    "Origin",
    "Prompt",
    "Row",
    "Steer",
    "SteerSettings",
    "SteeredLM",
    "fit",
    "generate",
    "load_model",
    "load_steer",
    "save_steer",
    "smollm2",
]
