"""llama.cpp reads the adapter: its greedy texts and log-probabilities are those of the steered model."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import xllamacpp
from gguf import GGUFReader
from tests.conftest import ARCHITECTURES, build_lm
from tests.export.tiny_gguf import write_base

from lmsteer.errors import InputError
from lmsteer.export.gguf_base import copy_with_output, read_tied_gguf
from lmsteer.export.head_adapter import HeadAdapter, write_gguf_adapter
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.steering.steer import Steer

PROMPT = [5, 17, 3, 260, 99]
NEW = 6


def server(base: Path, *adapters: Path) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = str(base)
    params.n_ctx, params.n_parallel, params.warmup, params.port, params.verbosity = 128, 1, False, 0, 0
    params.cpuparams.n_threads = 1
    found = []
    for path in adapters:
        adapter = xllamacpp.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = str(path), 0.0
        found.append(adapter)
    params.lora_adapters = found
    return xllamacpp.Server(params)


def by_llama_cpp(running: Any, scales: list[float], banned: list[int]) -> tuple[list[int], list[float]]:
    """Greedy tokens of a request with scales of its own, and their log-probabilities."""
    request = {"prompt": PROMPT, "n_predict": NEW, "temperature": 0, "n_probs": 1, "ignore_eos": False}
    lora = [{"id": index, "scale": scale} for index, scale in enumerate(scales)]
    bias = [[token, False] for token in banned]
    answer = running.handle_completions(request | {"lora": lora, "logit_bias": bias, "cache_prompt": False})
    content = answer["choices"][0]["logprobs"]["content"]
    return [token["id"] for token in content], [token["logprob"] for token in content]


def by_the_steer(model: LanguageModel, steer: Steer, strength: dict[str, float]) -> tuple[list[int], list[float]]:
    ids, logprobs = list(PROMPT), []
    for _ in range(NEW):
        with torch.no_grad(), steer.apply(model, strength) as lm:
            logits = lm(input_ids=torch.tensor([ids])).logits[0, -1].float()
        token = int(logits[1 : model.head.vocabulary].argmax()) + 1  # no end of text, no row that is no word
        logprobs.append(float(logits.log_softmax(-1)[token]))
        ids.append(token)
    return ids[len(PROMPT) :], logprobs


def language_model(name: str) -> LanguageModel:
    lm = build_lm(name)
    return LanguageModel(lm, tiny().tokenizer, name=name)


@pytest.mark.parametrize("name", ["gpt2", "gpt-neox", "llama", "qwen3", "gemma-3"])
def test_greedy_texts_of_llama_cpp_are_those_of_the_steered_model(
    name: str, steer: Steer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = deepcopy(ARCHITECTURES["gemma-3"])  # llama.cpp has its own pattern of windows and its own scale
    config.layer_types, config.sliding_window, config.query_pre_attn_scalar = ["sliding_attention"] * 2, 64, 8
    monkeypatch.setitem(ARCHITECTURES, "gemma-3", config)
    model = language_model(name)
    base = write_base(tmp_path / "base.gguf", model)
    if model.lm.get_input_embeddings().weight is model.lm.get_output_embeddings().weight:
        copy_with_output(read_tied_gguf(base), tmp_path / "untied.gguf")
        base = tmp_path / "untied.gguf"
    adapters = [tmp_path / f"{dimension}.gguf" for dimension in steer.dimensions]
    for k, path in enumerate(adapters):
        write_gguf_adapter(path, model, HeadAdapter.of(model, steer, k), strength=2.0, name="any")
    running = server(base, *adapters)
    barred = [0, *range(model.head.vocabulary, len(model.head.weight))]
    by_scales = []
    for scales in ([0.0, 0.0], [1.5, 0.0], [-1.5, 0.25]):
        strength = dict(zip(steer.dimensions, (2 * scale for scale in scales), strict=True))
        tokens, logprobs = by_the_steer(model, steer, strength)
        found, values = by_llama_cpp(running, scales, barred)
        assert found == tokens
        assert values == pytest.approx(logprobs, abs=2e-3)
        by_scales.append(torch.tensor(values))
    assert all((values - by_scales[0]).abs().max() > 0.02 for values in by_scales[1:])


def test_a_copy_of_a_tied_base_is_the_same_model_with_one_more_matrix(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base.gguf", tiny())
    copy_with_output(read_tied_gguf(base), tmp_path / "untied.gguf")
    before, after = GGUFReader(base), GGUFReader(tmp_path / "untied.gguf")
    counts = ("GGUF.tensor_count",)
    assert {n: f.contents() for n, f in after.fields.items() if n not in counts} == {
        n: f.contents() for n, f in before.fields.items() if n not in counts
    }
    expected = {tensor.name: tensor.data.tobytes() for tensor in before.tensors}
    expected["output.weight"] = expected["token_embd.weight"]
    assert {tensor.name: tensor.data.tobytes() for tensor in after.tensors} == expected


def test_a_base_that_needs_no_copy_and_a_file_of_something_else_are_refused(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base.gguf", language_model("llama"))
    with pytest.raises(InputError, match=r"base.gguf: a model without output.weight expected"):
        read_tied_gguf(base)
    (tmp_path / "text").write_text("text of no GGUF file")
    (tmp_path / "half").write_bytes(base.read_bytes()[:2000])
    for path in (tmp_path / "text", tmp_path / "half", tmp_path / "missing", tmp_path):
        with pytest.raises(InputError, match="not a whole GGUF file") as caught:
            read_tied_gguf(path)
        assert "\n" not in str(caught.value)
