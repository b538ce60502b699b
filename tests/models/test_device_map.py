"""Promises of models that a device map spreads over memory and disk: nothing but the place of their weights differs."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from tests.conftest import ARCHITECTURES, build_lm

from lmsteer.data.features import FeatureExtractor
from lmsteer.errors import InputError
from lmsteer.export.checkpoint import write_checkpoint
from lmsteer.generation.generator import generate
from lmsteer.generation.sampling import Nucleus
from lmsteer.models.device_map import is_spread
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.load import load_model
from lmsteer.models.random_models import tiny
from lmsteer.scoring.perplexity import continuation_nll
from lmsteer.steering.steer import Steer

TEXTS = ["The film is a warm and funny story.", "This is dull", "I would like to know where you were", "slow"]
IDS = torch.arange(1, 13).view(2, 6)


def spread_map(lm: torch.nn.Module) -> dict[str, int | str]:
    """Every block of a model in turn on disk and in memory, all that stands around them on disk but the last norm."""
    devices: dict[str, int | str] = {}
    for name, part in lm.base_model.named_children():
        whole = f"{lm.base_model_prefix}.{name}"
        if isinstance(part, torch.nn.ModuleList):
            devices |= {f"{whole}.{number}": ("disk", "cpu")[number % 2] for number in range(len(part))}
        else:
            devices[whole] = "disk" if isinstance(part, torch.nn.Embedding) else "cpu"
    head = next(name for name, part in lm.named_modules() if part is lm.get_output_embeddings())
    return devices | {head: "disk"}


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[LanguageModel, LanguageModel]:
    """A model of the hub's layout, loaded whole and spread."""
    folder = tmp_path_factory.mktemp(request.param)
    lm = build_lm(request.param)
    lm.save_pretrained(folder)
    tiny().tokenizer.save_pretrained(folder)
    whole = load_model(str(folder), device="cpu", dtype="float32")
    return whole, load_model(str(folder), dtype="float32", device_map=spread_map(lm))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama in the hub's layout."""
    path = tmp_path_factory.mktemp("model")
    model = tiny()
    model.lm.save_pretrained(path)
    model.tokenizer.save_pretrained(path)
    return path


def away(model: LanguageModel) -> set[str]:
    """Names of the tensors that are not in memory."""
    return {name for name, tensor in model.lm.state_dict().items() if tensor.is_meta}


def test_the_map_does_put_weights_on_disk(pair: tuple[LanguageModel, LanguageModel]) -> None:
    whole, spread = pair
    assert not away(whole)
    assert not is_spread(whole.lm)
    assert is_spread(spread.lm)
    assert 0 < len(away(spread)) < len(spread.lm.state_dict())
    assert not spread.head.weight.is_meta


def test_hidden_states_logits_and_fingerprints_are_those_of_the_whole_model(
    pair: tuple[LanguageModel, LanguageModel],
) -> None:
    whole, spread = pair
    assert torch.equal(spread.hidden(IDS), whole.hidden(IDS))
    assert torch.equal(spread.head(spread.hidden(IDS)), whole.head(whole.hidden(IDS)))
    features = [FeatureExtractor(model)(TEXTS) for model in pair]
    assert torch.equal(features[0].hidden_ND, features[1].hidden_ND)
    assert spread.fingerprint() == whole.fingerprint()
    assert spread.head.fingerprint() == whole.head.fingerprint()
    away_now = away(spread)
    assert away_now, "reading for the fingerprint leaves the weights where they were"


def test_texts_and_perplexities_are_those_of_the_whole_model(pair: tuple[LanguageModel, LanguageModel]) -> None:
    steer = Steer(32, dimensions=["tone"], rank=4, epsilon=0.1, init_std=0.5, seed=1)
    written = [
        generate(model, TEXTS, steer=steer, strength={"tone": 2.0}, samples=3, decoding=Nucleus(max_new_tokens=6))
        for model in pair
    ]
    assert written[0] == written[1]
    prompts = [text for text in TEXTS for _ in range(3)]
    texts = [" and" + sample for one in written[0] for sample in one.texts]
    nats, spread_nats = (continuation_nll(model, prompts, texts)[0] for model in pair)
    assert torch.equal(nats, spread_nats)


def test_a_steered_forward_pass_and_transformers_own_generation_are_those_of_the_whole_model(
    pair: tuple[LanguageModel, LanguageModel],
) -> None:
    strength, outputs = torch.tensor([[3.0]]), []
    for model in pair:
        steer = Steer(32, dimensions=["tone"], rank=4, epsilon=0.1, init_std=0.5, seed=1)
        with steer.apply(model, strength) as lm, torch.inference_mode():
            outputs.append((lm(input_ids=IDS).logits, lm.generate(IDS, max_new_tokens=4, do_sample=False)))
    assert all(torch.equal(one, other) for one, other in zip(*outputs, strict=True))


@pytest.mark.parametrize("device_map", ["auto", "cpu", {"": "disk"}])
def test_maps_that_transformers_makes_are_taken(folder: Path, device_map: str | dict[str, int | str]) -> None:
    if device_map == "auto" and torch.cuda.is_available():
        pytest.skip("auto is the GPU here")
    whole = load_model(str(folder), device="cpu", dtype="float32")
    spread = load_model(str(folder), dtype="float32", device_map=device_map)
    assert torch.equal(spread.hidden(IDS), whole.hidden(IDS))
    assert spread.fingerprint() == whole.fingerprint()


def test_what_does_not_fit_the_memory_it_may_use_stays_on_disk(folder: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("without a GPU only")
    whole = load_model(str(folder), device="cpu", dtype="float32")
    size = sum(parameter.nbytes for parameter in whole.lm.parameters())
    spread = load_model(str(folder), dtype="float32", device_map="auto", max_memory={"cpu": int(0.8 * size)})
    in_memory = sum(parameter.nbytes for parameter in spread.lm.parameters() if not parameter.is_meta)
    assert 0 < in_memory <= 0.8 * size
    assert torch.equal(spread.hidden(IDS), whole.hidden(IDS))


def test_weights_move_between_dtypes_as_in_the_whole_model(folder: Path) -> None:
    whole = load_model(str(folder), device="cpu", dtype="bfloat16")
    spread = load_model(str(folder), dtype="bfloat16", device_map={"": "disk"})
    assert torch.equal(spread.hidden(IDS), whole.hidden(IDS))
    assert spread.fingerprint() == whole.fingerprint()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device_map": "auto", "device": "cpu"}, "model.device_map=auto: it says where .* leave device=cpu out"),
        ({"device_map": "autoo"}, "autoo is not available; one of auto, .*sequential, cpu, disk"),
        ({"device_map": {"": "cuda:99"}}, "cuda:99 is not available; one of cpu, disk"),
        ({"device_map": {"": 99}}, "99 is not available; one of cpu, disk"),
        ({"device_map": {"model.layers.0": "disk"}}, "cannot be loaded .*does not give any device"),
        ({"device_map": {"model": "cpu", "lm_head": "disk"}}, "lm_head.weight and model.embed_tokens.weight are one"),
        ({"max_memory": {"cpu": "1GiB"}}, "model.max_memory=.*model.device_map=auto"),
    ],
)
def test_maps_that_do_not_fit_model_or_machine_are_refused_in_one_line(
    folder: Path, options: Mapping[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message) as refused:
        load_model(str(folder), **options)  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)


def test_a_spread_model_is_not_written_as_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    spread = load_model(str(folder), dtype="float32", device_map={"": "disk"})
    with pytest.raises(InputError, match=re.escape("leave model.device_map out")):
        write_checkpoint(tmp_path / "out", spread, spread.head)
    assert not (tmp_path / "out").exists()
