"""vLLM itself steers each request of one batch at its own strength: ``make test-vllm``, which needs minutes.

Skipped where vLLM is not installed. A request is compared with the steered model of transformers, in float32.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lmsteer.export.head_adapter import HeadAdapter, write_peft_adapter
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.processors.logit_steer import FILE, LogitSteer
from lmsteer.processors.vllm_processor import FOLDER, INTERFACES, VllmSteerProcessor
from lmsteer.steering.steer import Steer

vllm = pytest.importorskip("vllm")

PROMPTS = ([5, 17, 3, 260, 99], [7, 7, 301])
STRENGTHS: tuple[dict[str, float], ...] = ({}, {"tone": 3.0}, {"tone": -2.5, "dummy": 0.5}, {"dummy": 1.0})
NEW = 6


def steer_of(width: int) -> Steer:
    return Steer(width, dimensions=["tone", "dummy"], rank=8, epsilon=0.1, init_std=0.2, seed=1).requires_grad_(False)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return tiny(width=128)  # heads of 32, the least that the attention of vLLM takes


@pytest.fixture(scope="module")
def folder(model: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a processor and an adapter in it."""
    path, steer = tmp_path_factory.mktemp("engine"), steer_of(model.width)
    model.lm.save_pretrained(path / "base")
    model.tokenizer.save_pretrained(path / "base")
    (path / "processor").mkdir()
    LogitSteer.of(model.head, steer).save(path / "processor" / FILE)
    write_peft_adapter(path / "tone", model, HeadAdapter.of(model, steer, 0), strength=3.0)
    return path


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Any]:
    os.environ[FOLDER] = str(folder / "processor")
    options = {"dtype": "float32", "enforce_eager": True, "max_model_len": 64, "max_num_seqs": 8}
    yield vllm.LLM(
        str(folder / "base"), logprobs_mode="processed_logprobs", enable_lora=True, max_lora_rank=8, **options
    )
    del os.environ[FOLDER]


def by_the_steer(model: LanguageModel, prompt: list[int], strength: dict[str, float]) -> tuple[list[int], list[float]]:
    ids, logprobs = list(prompt), []
    for _ in range(NEW):
        with torch.no_grad(), steer_of(model.width).apply(model, strength) as lm:
            values = lm(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        ids.append(int(values.argmax()))
        logprobs.append(float(values.max()))
    return ids[len(prompt) :], logprobs


def by_vllm(engine: Any, prompts: list[list[int]], params: list[Any], **options: Any) -> list[tuple[list[int], Any]]:
    outputs = engine.generate([{"prompt_token_ids": prompt} for prompt in prompts], params, use_tqdm=False, **options)
    texts = [output.outputs[0] for output in outputs]
    return [
        (list(text.token_ids), [values[token].logprob for token, values in zip(text.token_ids, text.logprobs)])  # noqa: B905
        for text in texts
    ]


def greedy(**strength: float) -> Any:
    arguments = {f"steer.{name}": value for name, value in strength.items()} or None
    return vllm.SamplingParams(temperature=0, max_tokens=NEW, logprobs=1, ignore_eos=True, extra_args=arguments)


def test_requests_of_one_batch_have_their_own_strength(model: LanguageModel, engine: Any) -> None:
    cases = [(prompt, strength) for prompt in PROMPTS for strength in STRENGTHS]
    found = by_vllm(engine, [prompt for prompt, _ in cases], [greedy(**strength) for _, strength in cases])
    for (prompt, strength), (tokens, logprobs) in zip(cases, found, strict=True):
        expected, values = by_the_steer(model, prompt, strength)
        assert tokens == expected
        assert logprobs == pytest.approx(values, abs=1e-3)


def test_an_adapter_of_the_head_is_the_steer_at_its_strength(model: LanguageModel, engine: Any, folder: Path) -> None:
    request = vllm.lora.request.LoRARequest("tone", 1, str(folder / "tone"))
    for prompt in PROMPTS:
        ((tokens, logprobs),) = by_vllm(engine, [prompt], [greedy()], lora_request=request)
        expected, values = by_the_steer(model, prompt, {"tone": 3.0})
        assert tokens == expected
        assert logprobs == pytest.approx(values, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extra_args": {"steer.mood": 1.0}}, "steer.mood=1.0: a finite number for one of tone, dummy expected"),
        (
            {"extra_args": {"steer": 1.0}, "min_tokens": 1},
            "min_tokens=1: a steered request needs",
        ),
    ],
)
def test_a_request_that_cannot_be_steered_is_refused(engine: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(vllm.exceptions.VLLMValidationError, match=message):
        engine.generate([{"prompt_token_ids": PROMPTS[0]}], vllm.SamplingParams(max_tokens=2, **options))


def test_the_plugin_implements_the_interfaces_of_both_runners() -> None:
    from importlib import import_module

    assert VllmSteerProcessor.__bases__ == tuple(import_module(name).LogitsProcessor for name in INTERFACES)
    assert not VllmSteerProcessor.__abstractmethods__
