"""Promises of what is told and checked before a long job: needs are those of the real tensors and files."""

import re
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import ARCHITECTURES, build_lm
from torch import Tensor
from transformers import PreTrainedConfig

from lmsteer.data import feature_store as store_module
from lmsteer.data.corpus import Corpus
from lmsteer.data.datamodule import SteerDataModule
from lmsteer.data.feature_store import FeatureStore, FeatureStoreConfig
from lmsteer.data.features import FeatureExtractor
from lmsteer.data.prompts.selection import PromptSet
from lmsteer.errors import InputError
from lmsteer.evaluation.plan import Plan
from lmsteer.evaluation.protocol import Protocol
from lmsteer.generation.generator import Generator
from lmsteer.generation.sampling import Noise, Nucleus
from lmsteer.models import memory
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.load import load_model
from lmsteer.models.memory import CacheSize, free_memory, weight_bytes
from lmsteer.models.random_models import tiny
from lmsteer.records import Prompt, Row
from lmsteer.runs import preflight as resources
from lmsteer.runs import probe
from lmsteer.runs.preflight import Need
from lmsteer.steering.fold import fold
from lmsteer.steering.steer import Steer
from lmsteer.training.fit import FitConfig, SteerConfig

Usage = namedtuple("Usage", "total used free")
WORDS = ["film", "story", "night", "storm", "warm", "dull", "slow", "people"]


def prompts(count: int) -> list[Prompt]:
    return [Prompt(str(n), " ".join(WORDS[n % 8 :] + WORDS[: n % 5])) for n in range(count)]


def generator(
    model: LanguageModel, *, count: int = 12, samples: int = 3, batch_size: int = 12, new: int = 5
) -> Generator:
    decoding = Nucleus(max_new_tokens=new)
    return Generator(model, prompts(count), decoding=decoding, samples=samples, batch_size=batch_size)


def corpus(rows: int = 40) -> Corpus:
    texts = [f"{' '.join(WORDS[(n * k) % 8] for k in range(1, 9))} number {n}" for n in range(rows)]
    train = [Row(text, (-1.0, 1.0)[n % 2]) for n, text in enumerate(texts)]
    return Corpus("c", train=train[:-8], dev=train[-8:])


def data(extract: FeatureExtractor | FeatureStore, steps: int = 20) -> SteerDataModule:
    return SteerDataModule(corpus(), extract, dimensions=2, batch_size=4, steps=steps, dev_rows=8)


def have(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    for module in (resources, memory):
        monkeypatch.setattr(module, "free_memory", lambda _: int(free))


def test_a_cache_has_the_size_that_is_foretold_of_it(model: LanguageModel) -> None:
    size = CacheSize(model)
    for tokens in (1, 6, 23):
        ids = torch.ones(3, tokens, dtype=torch.long)
        with torch.inference_mode():
            cache = model.body(input_ids=ids, attention_mask=ids, use_cache=True).past_key_values
        assert 3 * size(tokens) == sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)


def test_decoding_takes_the_cache_the_logits_and_the_folded_head(tiny_model: LanguageModel, steer: Steer) -> None:
    seen = []

    class Spy(Nucleus):
        def choose(self, logits_BV: Tensor, noise: Noise) -> Tensor:
            seen.append(logits_BV)
            return super().choose(logits_BV.clone(), noise)

    one = generator(tiny_model)
    one.decoding = Spy(max_new_tokens=5)
    list(one.run([{"sentiment": 2.0}], steer))
    folded = fold(tiny_model.head, steer, torch.tensor([2.0, 0.0])).weight.nbytes
    cache = CacheSize(tiny_model)
    longest = [max(one.lengths()[index] for index in batch) for batch in one.batches]
    rows = [len(batch) * one.samples for batch in one.batches]
    assert [len(logits) for logits in seen] == [row for row in rows for _ in range(5)]
    largest = max(
        row * cache(length + 4) + logits.nbytes for row, length, logits in zip(rows, longest, seen[::5], strict=True)
    )
    assert resources.decoding_bytes(one, cache, steered=True) == largest + folded


def test_a_batch_size_that_cannot_fit_is_refused_with_one_that_does(
    tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = generator(tiny_model, count=32, batch_size=96)
    need = resources.check_decoding([(one, 1)], steered=True)
    have(monkeypatch, need)
    assert resources.check_decoding([(one, 1)], steered=True) == need, "what just fits is not refused"
    have(monkeypatch, need / 5)
    with pytest.raises(InputError, match=r"96 sequences .* protocol\.batch_size=\d+ would fit$") as refused:
        resources.check_decoding([(one, 1)], steered=True, option="protocol.")
    size = int(re.findall(r"batch_size=(\d+)", str(refused.value))[0])
    fits = generator(tiny_model, count=32, batch_size=size)
    assert resources.check_decoding([(fits, 1)], steered=True) <= need / 5
    with pytest.raises(InputError):
        resources.check_decoding([(generator(tiny_model, count=32, batch_size=2 * size), 1)], steered=True)


def test_where_a_prompts_samples_cannot_fit_fewer_samples_are_named(
    tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = generator(tiny_model, samples=8, batch_size=8)
    have(monkeypatch, resources.check_decoding([(one, 1)], steered=False) * 0.6)
    with pytest.raises(InputError, match="samples=4 batch_size=4 would fit"):
        resources.check_decoding([(one, 1)], steered=False)
    resources.check_decoding([(generator(tiny_model, samples=4, batch_size=4), 1)], steered=False)
    have(monkeypatch, 1)
    with pytest.raises(InputError, match="one alone does not fit either; take a smaller model"):
        resources.check_decoding([(one, 1)], steered=False)
    assert resources.check_decoding([(one, 0)], steered=False) == 0, "what is not done needs nothing"


def test_a_rank_that_cannot_fit_is_refused_with_one_that_does(
    tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = resources.check_steer(tiny_model, SteerConfig(name="tone", rank=16))
    steer = SteerConfig(name="tone", rank=16).build(tiny_model.width, 0)
    assert need == 5 * sum(parameter.nbytes for parameter in steer.parameters())
    full = SteerConfig(name="tone", rank="full")
    assert resources.check_steer(tiny_model, full) == 5 * full.build(tiny_model.width, 0).p1.nbytes
    have(monkeypatch, need / 2 + 1)
    with pytest.raises(InputError, match=r"steer\.rank=8 would fit"):
        resources.check_steer(tiny_model, SteerConfig(name="tone", rank=16))
    resources.check_steer(tiny_model, SteerConfig(name="tone", rank=8))


@pytest.mark.parametrize("name", list(ARCHITECTURES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_weights_are_counted_before_they_are_loaded(name: str, dtype: torch.dtype) -> None:
    lm = build_lm(name).to(dtype)
    assert weight_bytes(lm.config, dtype) == sum(parameter.nbytes for parameter in lm.parameters())


def test_weights_beyond_memory_are_refused_before_loading_with_what_would_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tiny()
    whole.lm.save_pretrained(tmp_path)
    whole.tokenizer.save_pretrained(tmp_path)
    size = sum(parameter.nbytes for parameter in whole.lm.parameters())
    have(monkeypatch, size)
    load_model(str(tmp_path), device="cpu", dtype="float32")
    have(monkeypatch, size - 1)
    with pytest.raises(InputError, match=r"weights take .* in float32, .* dtype=bfloat16 would do$"):
        load_model(str(tmp_path), device="cpu", dtype="float32")
    load_model(str(tmp_path), device="cpu", dtype="bfloat16")
    have(monkeypatch, size / 4)
    with pytest.raises(InputError, match=r"model\.device_map=auto would do$"):
        load_model(str(tmp_path), device="cpu", dtype="bfloat16")
    spread = load_model(str(tmp_path), dtype="bfloat16", device_map="auto", max_memory={"cpu": size // 4})
    assert resources.check_decoding([(generator(spread), 1)], steered=True) == 0, "several places: no check"


def test_a_quantized_model_is_not_counted() -> None:
    assert weight_bytes(PreTrainedConfig(quantization_config={"quant_method": "x"}), torch.float32) == 0


@pytest.mark.parametrize(
    ("own", "group", "names"),
    [
        ("0::/", "", ("memory.max", "memory.current")),
        ("0::/slurm/job_7/step_0\n", "slurm/job_7", ("memory.max", "memory.current")),
        (
            "5:cpu:/\n4:memory,rdma:/slurm/job_7\n0::/\n",
            "memory/slurm/job_7",
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ),
        ("4:memory:/hidden/in/a/container", "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")),
    ],
)
def test_memory_is_that_of_the_control_groups_around_the_process(
    own: str, group: str, names: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "own")
    assert free_memory(torch.device("cpu")) > 10_000, "no such file, as where there is no Linux"
    (tmp_path / "own").write_text(own)
    folder, (most, used) = tmp_path / "cgroup" / group, names
    folder.mkdir(parents=True)
    (folder / most).write_text("max\n")
    (folder / used).write_text("700\n")
    (folder / "memory.stat").write_text("active_file 5\ninactive_file 200\ntotal_inactive_file 200\n")
    assert free_memory(torch.device("cpu")) > 10_000
    (folder / most).write_text("1000\n")
    assert free_memory(torch.device("cpu")) == 1000 - 700 + 200


def test_the_disk_a_store_will_take_is_that_of_its_files(tiny_model: LanguageModel, tmp_path: Path) -> None:
    kept = FeatureStore(FeatureExtractor(tiny_model), tmp_path)
    rows = data(kept)
    foretold = resources.store_bytes(rows)
    assert not list(tmp_path.rglob("*.safetensors"))
    rows.prepare_data()
    written = sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    assert foretold == pytest.approx(written, rel=0.05)
    assert resources.store_bytes(rows) == 0, "what is there takes no more"
    assert resources.store_bytes(data(kept.extract)) == 0


def test_hidden_states_beyond_the_disk_are_refused_or_not_stored(
    tiny_model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    need = resources.store_bytes(data(FeatureStore(FeatureExtractor(tiny_model), tmp_path)))
    free = need // 2
    monkeypatch.setattr(store_module.shutil, "disk_usage", lambda _: Usage(2 * need, 0, free))
    with pytest.raises(InputError, match=r"are free on the disk of .*: data\.store=FOLDER on another, or off"):
        data(FeatureStore(FeatureExtractor(tiny_model), tmp_path)).prepare_data()
    data(FeatureStore(FeatureExtractor(tiny_model), tmp_path, strict=False)).prepare_data()
    assert "continuing without storing" in caplog.text
    assert not list(tmp_path.rglob("*.safetensors"))
    free = 2 * need
    data(FeatureStore(FeatureExtractor(tiny_model), tmp_path)).prepare_data()
    assert list(tmp_path.rglob("*.safetensors"))


def test_texts_beyond_the_disk_are_refused(
    tiny_model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, folder = generator(tiny_model), tmp_path / "new" / "run"
    bytes_at_least = 12 * 3 * 5 * 2
    monkeypatch.setattr(resources.shutil, "disk_usage", lambda _: Usage(0, 0, bytes_at_least))
    resources.check_outputs(folder, [(one, 2)])
    monkeypatch.setattr(resources.shutil, "disk_usage", lambda _: Usage(0, 0, bytes_at_least - 1))
    with pytest.raises(InputError, match=r"hydra\.run\.dir=FOLDER on another disk"):
        resources.check_outputs(folder, [(one, 2)])


def test_probes_change_neither_results_nor_random_state_nor_files(
    tiny_model: LanguageModel, tmp_path: Path, steer: Steer
) -> None:
    def results(name: str) -> tuple[bytes, Tensor]:
        path = tmp_path / name
        generator(tiny_model).write(path, [{"sentiment": 2.0}], steer)
        return path.read_bytes(), data(FeatureExtractor(tiny_model)).train_batches([0, 1])[1].hidden_ND

    before, state = results("before"), torch.get_rng_state()
    one, weights = generator(tiny_model), steer.p1.clone()
    assert probe.batch_seconds(one) > 0
    assert probe.fit_seconds(data(FeatureExtractor(tiny_model)), FeatureExtractor(tiny_model), steer, dev_every=5) > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(steer.p1, weights)
    assert one.decoding == generator(tiny_model).decoding
    assert [path.name for path in tmp_path.iterdir()] == ["before"]
    after = results("after")
    assert after[0] == before[0]
    assert torch.equal(after[1], before[1])


def test_the_time_of_decoding_is_that_of_reading_and_of_all_steps(
    tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 0.0

    def batch(own: Generator, *_: object) -> None:
        nonlocal clock
        clock += 7.0 + 2.0 * own.decoding.max_new_tokens

    monkeypatch.setattr(probe.time, "perf_counter", lambda: clock)
    monkeypatch.setattr(Generator, "batch", batch)
    assert probe.batch_seconds(generator(tiny_model, new=20)) == 7.0 + 2.0 * 20


def test_the_time_of_a_fit_counts_hidden_states_steps_and_looks(
    tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, steer: Steer
) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr(probe.time, "perf_counter", lambda: float(next(ticks)))  # every part takes a second
    bare = FeatureExtractor(tiny_model)
    steps, looks = 20, 4 * 2  # of two batches of dev rows, at half the price of a step
    texts = 20 * 4 + 8
    # Four texts are padded to the longest of them; twenty batches in order of length, a hundred or so a pass.
    lengths = [[len(ids) - 1 for ids in bare.encode([row.text for row in data(bare).rows(t)])] for t in range(20)]
    together = sorted(length for batch in lengths for length in batch)
    passes, group = 0, list[int]()
    for length in [*together, 10**6]:
        if group and length * (len(group) + 1) > bare.tokens:
            passes, group = passes + len(group) * group[-1], []
        group.append(length)
    alone = passes / len(together) / (4 * max(lengths[0]))
    assert probe.fit_seconds(data(bare), bare, steer, dev_every=5) == pytest.approx(texts * alone + steps + looks / 2)
    kept = data(FeatureStore(bare, tmp_path))
    unique = 32 + 8
    assert probe.fit_seconds(kept, bare, steer, dev_every=5) == pytest.approx(unique * alone + steps + looks / 2)
    kept.prepare_data()
    assert probe.fit_seconds(kept, bare, steer, dev_every=5) == steps + looks / 2


def test_long_jobs_are_told_in_one_line_and_short_ones_are_not(
    tiny_model: LanguageModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resources.before_generation(tmp_path, generator(tiny_model), steered=False)
    assert capsys.readouterr().out == ""
    resources.before_generation(tmp_path, generator(tiny_model, count=50, samples=1, batch_size=1), steered=False)
    line = r"generate: about \d+ (s|min) \(generate \d+ (s|min), [\d,]+ tokens/s\), [\d.]+ of [\d,.]+ GiB memory\n"
    assert re.fullmatch(line, capsys.readouterr().out)


def test_a_need_is_worded_for_people(tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = sum(parameter.nbytes for parameter in tiny_model.lm.parameters())
    have(monkeypatch, 22 * 2**30 - weights)
    need = Need({"fit": 60.4, "generate": 540.0}, 2100.4, int(3.1 * 2**30) - weights, int(0.4 * 2**30))
    assert resources.words(need, tiny_model) == (
        "about 10 min (fit 60 s, generate 9 min, 2,100 tokens/s), 3.1 of 22 GiB memory, 0.40 GiB disk for hidden states"
    )
    assert resources.words(Need({"fit": 9000.0}, None, 0, 0), tiny_model).startswith("about 2.5 h (fit 2.5 h), 0.00 of")


def plan(model: LanguageModel) -> Plan:
    """Two prompt sets, of which one is steered up only; budgets of both kinds."""
    sets = {
        "both": lambda: PromptSet("both", tuple(prompts(40))),
        "up": lambda: PromptSet("up", tuple(Prompt(f"up-{prompt.id}", prompt.text) for prompt in prompts(6))),
    }
    options = {"one_way": {"up": "positive"}, "kl": 0.3, "perplexity": 2.0, "calibration_prompts": 4}
    protocol = Protocol(name="p", metric="tone", prompts=sets, strengths=(-5, 2, 5), samples=2, batch_size=4, **options)
    return Plan(model, ["tone"], protocol, Nucleus(max_new_tokens=5))


def test_a_run_counts_what_it_generates(tiny_model: LanguageModel, tmp_path: Path) -> None:
    own = plan(tiny_model)
    # Plain; three strengths or two; two budgets in each direction; a calibration for perplexity in each direction.
    both, up = own.generators["both"], own.generators["up"]
    few_both, few_up = own.calibration_generators["both"], own.calibration_generators["up"]
    tries = resources.TRIES
    expected = [(both, 1 + 3 + 4), (few_both, 2 * tries), (up, 1 + 2 + 2), (few_up, tries)]
    assert resources._load(own, None) == expected
    (tmp_path / f"{both.identity()}.jsonl").touch()
    assert resources._load(own, tmp_path)[0] == (both, 7), "texts that are kept are not written again"


def test_training_is_told_with_all_its_parts_and_less_what_is_done(
    tiny_model: LanguageModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FeatureStoreConfig(where=str(tmp_path / "store"))

    def told(steps: int, *done: str) -> str:
        resources.before_training(
            tmp_path / "run",
            tiny_model,
            corpus(),
            SteerConfig(name="tone", rank=4),
            FitConfig(steps=steps, batch_size=4, dev_rows=8),
            plan(tiny_model),
            seed=0,
            store=store,
            plain=None,
            done=done,
        )
        return capsys.readouterr().out

    assert re.fullmatch(
        r"train: about \d+ (s|min) \(fit \d+ (s|min), generate \d+ (s|min), [\d,]+ tokens/s\), [\d.]+ of [\d,.]+ GiB "
        r"memory, 0\.00 GiB disk for hidden states\n",
        told(60),
    )
    assert "fit" not in told(49)
    assert "fit" not in told(60, "fit")
    assert "generate" not in told(60, "generate")
    assert told(60, "fit", "generate") == ""
    assert not (tmp_path / "run").exists()


def test_batches_of_fewer_rows_than_processes_are_refused_before_the_folder_is_taken(
    tiny_model: LanguageModel, tmp_path: Path
) -> None:
    steer_config, fit_config = SteerConfig(name="tone", rank=4), FitConfig(batch_size=4, dev_rows=8)
    options: dict[str, Any] = {"seed": 0, "store": FeatureStoreConfig(where=str(tmp_path / "store")), "plain": None}
    with pytest.raises(InputError, match=r"fit\.batch_size: 4, but 5 processes"):
        resources.before_training(
            tmp_path / "run", tiny_model, corpus(), steer_config, fit_config, None, processes=5, **options
        )
    assert not (tmp_path / "run").exists()
