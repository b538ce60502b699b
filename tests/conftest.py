"""Small models of every architecture, built from a seed; no hub, no account."""

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")

import logging
import sys
from collections.abc import Iterator
from copy import deepcopy

import pytest
import torch
from tests.handmade import PROTOCOL, row, value
from tests.handmade_commands import refusal as refusal
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPTJConfig,
    GPTNeoConfig,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3Config,
)

from lmsteer.evaluation.results import Result, ResultRow
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.steering.steer import Steer

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}


SLOW = ("faults", "distributed", "experiments", "commands", "export", "slurm", "embedded", "cli/test_sweeps.py")
SLOW += ("cli/test_rescore.py", "cli/test_launch.py", "cli/test_shared_jobs.py", "scoring/test_deferred.py")
"""Folders and files of tests that run whole commands."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of whole commands as slow, and skip those for a GPU where there is none."""
    tests = Path(__file__).parent
    needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(needs_gpu)
        name = item.path.relative_to(tests).as_posix()
        if name.startswith(SLOW):
            item.add_marker(pytest.mark.slow)
        if name.startswith("hub/"):
            item.add_marker(pytest.mark.hub)


@pytest.fixture(autouse=True)
def _own_objects() -> None:
    """Let no test find the objects that the jobs of another one shared."""
    if module := sys.modules.get("lmsteer.cli.shared_objects"):
        module.SHARED.retain(())


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """Undo what a command does to the logger of the library, whose handler writes to the standard error of its test."""
    logger = logging.getLogger("lmsteer")
    before = logger.handlers, logger.propagate, logger.level
    yield
    logger.handlers, logger.propagate = before[:2]
    logger.setLevel(before[2])


# Vocabularies are padded beyond the tokenizer's 384 tokens, as those of Pythia and Qwen are.
ARCHITECTURES: dict[str, PreTrainedConfig] = {
    "gpt2": GPT2Config(vocab_size=384, n_embd=32, n_layer=2, n_head=2, n_positions=128),
    "gpt-neo": GPTNeoConfig(
        vocab_size=384,
        hidden_size=32,
        num_layers=2,
        num_heads=2,
        max_position_embeddings=128,
        attention_types=[[["global", "local"], 1]],
        window_size=8,
    ),
    "gpt-neox": GPTNeoXConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
    ),
    "gpt-j": GPTJConfig(vocab_size=400, n_embd=32, n_layer=2, n_head=2, n_positions=128, rotary_dim=8),
    "llama": LlamaConfig(vocab_size=384, **SMALL),
    "qwen3": Qwen3Config(vocab_size=400, **SMALL, head_dim=8, tie_word_embeddings=True),
    "gemma-3": Gemma3TextConfig(
        vocab_size=384,
        **SMALL,
        head_dim=8,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"],
        final_logit_softcapping=5.0,
    ),
}


def build_lm(name: str, vocabulary: int | None = None) -> PreTrainedModel:
    """A random model of an architecture, with weights large enough to tell its logits apart."""
    torch.manual_seed(0)
    config = deepcopy(ARCHITECTURES[name])
    config.vocab_size = vocabulary or config.vocab_size
    lm = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in lm.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    lm.generation_config.eos_token_id = 0
    lm.generation_config.pad_token_id = 0
    return lm.eval()


@pytest.fixture(scope="session", params=list(ARCHITECTURES))
def model(request: pytest.FixtureRequest) -> LanguageModel:
    """Every architecture in turn."""
    return LanguageModel(build_lm(request.param), tiny().tokenizer, name=request.param)


@pytest.fixture(scope="session")
def tiny_model() -> LanguageModel:
    """One small model, where the architecture does not matter."""
    return tiny()


@pytest.fixture
def steer() -> Steer:
    """A two-dimensional steer that is large enough to be felt."""
    return Steer(32, dimensions=["sentiment", "dummy"], rank=4, epsilon=0.1, init_std=0.5, seed=1)


@pytest.fixture(autouse=True)
def _private_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmsteer.scoring.cache.cache_folder", lambda: tmp_path / "cache")
    for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb"))


@pytest.fixture
def plain() -> ResultRow:
    return row({}, {"positivity": value(0.47, 0.43, 0.51, "tfidf"), "perplexity": value(16.4, 15.8, 17.0, "smollm2")})


@pytest.fixture
def result(plain: ResultRow) -> Result:
    """Steering up has an effect; steering down is within the intervals of the plain model."""
    up = {"positivity": value(0.74, 0.70, 0.78, "tfidf"), "perplexity": value(32.8, 31.0, 36.0, "smollm2")}
    down = {"positivity": value(0.44, 0.40, 0.48, "tfidf"), "perplexity": value(123.4, 101.0, 150.0, "smollm2")}
    return Result(protocol=PROTOCOL, rows=[row({"sentiment": 5.0}, up), plain, row({"sentiment": -5.0}, down)])
