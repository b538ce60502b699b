"""Promises of the memory check: weights are counted before they are loaded, and refused where they do not fit."""

from pathlib import Path

import pytest
import torch
from tests.conftest import ARCHITECTURES, build_lm
from transformers import PreTrainedConfig

from lmsteer.errors import InputError, explain_out_of_memory
from lmsteer.models import memory
from lmsteer.models.load import load_model
from lmsteer.models.memory import cache_bytes, free_memory, weight_bytes
from lmsteer.models.random_models import tiny


@pytest.mark.parametrize("name", list(ARCHITECTURES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_weights_are_counted_before_they_are_loaded(name: str, dtype: torch.dtype) -> None:
    lm = build_lm(name).to(dtype)
    assert weight_bytes(lm.config, dtype) == sum(parameter.nbytes for parameter in lm.parameters())


def test_weights_beyond_memory_are_refused_before_loading_with_what_would_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limit(free: float) -> None:
        monkeypatch.setattr(memory, "free_memory", lambda _: int(free))

    whole = tiny()
    whole.lm.save_pretrained(tmp_path)
    whole.tokenizer.save_pretrained(tmp_path)
    size = sum(parameter.nbytes for parameter in whole.lm.parameters())
    limit(size)
    load_model(str(tmp_path), device="cpu", dtype="float32")
    limit(size - 1)
    with pytest.raises(InputError, match=r"weights take .* in float32, .* dtype=bfloat16 would do$"):
        load_model(str(tmp_path), device="cpu", dtype="float32")
    load_model(str(tmp_path), device="cpu", dtype="bfloat16")
    limit(size / 4)
    with pytest.raises(InputError, match=r"model\.device_map=auto would do$"):
        load_model(str(tmp_path), device="cpu", dtype="bfloat16")


@pytest.mark.parametrize("name", list(ARCHITECTURES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_keys_and_values_are_counted_before_they_are_computed(name: str, dtype: torch.dtype) -> None:
    lm = build_lm(name).to(dtype)
    cache = lm(input_ids=torch.ones(1, 5, dtype=torch.long), use_cache=True).past_key_values
    assert 5 * cache_bytes(lm.config, dtype) == sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)


def test_of_an_unknown_architecture_no_keys_and_values_are_counted() -> None:
    assert cache_bytes(PreTrainedConfig(), torch.float32) == 0


def test_a_quantized_model_is_not_counted() -> None:
    assert weight_bytes(PreTrainedConfig(quantization_config={"quant_method": "x"}), torch.float32) == 0


@pytest.mark.parametrize("group", ["", "slurm/job_7"])
def test_free_memory_is_bounded_by_the_control_groups_around_the_process(
    group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "PROCESS_GROUPS", tmp_path / "groups")
    assert free_memory(torch.device("cpu")) > 10_000, "no such file, as where there is no Linux"
    (tmp_path / "groups").write_text("0::/slurm/job_7/step_0\n")
    folder = tmp_path / "cgroup" / group
    folder.mkdir(parents=True)
    (folder / "memory.max").write_text("max\n")
    (folder / "memory.current").write_text("700\n")
    (folder / "memory.stat").write_text("active_file 5\ninactive_file 200\n")
    assert free_memory(torch.device("cpu")) > 10_000
    (folder / "memory.max").write_text("1000\n")
    assert free_memory(torch.device("cpu")) == 1000 - 700 + 200


def test_a_failed_allocation_ends_with_advice() -> None:
    with (
        pytest.raises(InputError, match=r"^out of memory \(\d+ bytes at once\): a smaller batch"),
        explain_out_of_memory(),
    ):
        torch.empty(2**60)
    with pytest.raises(InputError, match=r"^out of memory: a smaller"), explain_out_of_memory():
        raise MemoryError
    with pytest.raises(RuntimeError, match="other"), explain_out_of_memory():
        raise RuntimeError("other")
