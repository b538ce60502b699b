"""Promises of the import of reference checkpoints: the same logits, and nothing in the file is run."""

import argparse
import json
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.reference.reference_checkpoint import read_reference
from lmsteer.steering.steer_file import load_steer, save_steer

IDS = torch.tensor([[5, 17, 3, 260, 99], [7, 7, 301, 12, 1]])
OPTIONS = {
    "model_name": "gpt2-large",
    "adaptor_class": "multiply",
    "adapted_component": "final_layer",
    "epsilon": 0.05,
    "rank": 4,
    "num_steers": 2,
    "dataset_name": "toxicity",
    "data_dir": "some/where",
    "n_steps": 1000,
    "batch_size": 32,
    "lr": 1e-2,
    "seed": 3,
    "training_steer": 0,
    "dummy_steer": 1,
    "steer_values": [5.0, 1.0],
    "cuda": True,
}


def projectors(steers: int = 2, width: int = 32, rank: int = 4) -> dict[str, Tensor]:
    noise = torch.Generator().manual_seed(steers)
    return {name: torch.randn(steers, width, rank, generator=noise) for name in ("projector1", "projector2")}


def saved(path: Path, state: Any, options: dict[str, Any] | None = OPTIONS, **changed: Any) -> Path:
    """A file as the reference writes it."""
    args = None if options is None else argparse.Namespace(**options | changed)
    torch.save([args, state, 1000], path)
    return path


def logits_of_the_reference(
    model: LanguageModel, state: dict[str, Tensor], epsilon: float, values: list[float]
) -> Tensor:
    """Its formula, one state, steer and column after the other: state + epsilon * sum of value * (state P1) P2ᵀ."""
    hidden = model.hidden(IDS).reshape(-1, 32).double()
    steered = []
    for h in hidden:
        delta = torch.zeros(32, dtype=torch.double)
        for first, second, value in zip(
            state["projector1"].double(), state["projector2"].double(), values, strict=True
        ):
            for column in range(first.shape[1]):
                delta += value * (h @ first[:, column]) * second[:, column]
        steered.append(h + epsilon * delta)
    return (torch.stack(steered) @ model.head.weight.double().T).float().reshape(2, 5, -1)


@pytest.mark.parametrize("values", [[5.0, 1.0], [-3.0, 0.0], [0.0, 2.0]])
def test_logits_are_those_of_the_reference_formula(
    tiny_model: LanguageModel, tmp_path: Path, values: list[float]
) -> None:
    state = projectors()
    steer, _ = read_reference(saved(tmp_path / "c.pt", state), tiny_model)
    with torch.no_grad(), steer.apply(tiny_model.lm, torch.tensor([values])) as lm:
        steered = lm(input_ids=IDS).logits
    assert (steered - tiny_model.lm(input_ids=IDS).logits).abs().max() > 0.1
    torch.testing.assert_close(steered, logits_of_the_reference(tiny_model, state, 0.05, values), rtol=1e-4, atol=1e-4)


def test_the_file_says_what_its_steers_are(tiny_model: LanguageModel, tmp_path: Path) -> None:
    steer, provenance = read_reference(saved(tmp_path / "c.pt", projectors()), tiny_model)
    assert (steer.dimensions, steer.rank, steer.epsilon) == (("detox", "dummy"), 4, 0.05)
    assert (provenance.model, provenance.fingerprint, provenance.seed) == ("tiny-0", tiny_model.head.fingerprint(), 3)
    assert provenance.meaning == {"detox": "not toxic"}
    assert provenance.corpus == {"name": "toxicity"}
    assert provenance.training == {"steps": 1000, "batch_size": 32, "lr": 1e-2}
    assert provenance.derivation["options"] == OPTIONS
    assert len(provenance.derivation["digest"]) == 64


def test_a_dummy_in_front_goes_behind_with_its_own_matrix(tiny_model: LanguageModel, tmp_path: Path) -> None:
    state = projectors()
    path = saved(tmp_path / "c.pt", state, training_steer=1, dummy_steer=0, dataset_name="sentiment-sst5")
    steer, provenance = read_reference(path, tiny_model)
    assert steer.dimensions == ("sentiment", "dummy")
    assert torch.equal(steer.p1[0], state["projector1"][1])
    assert torch.equal(steer.p1[1], state["projector1"][0])
    assert provenance.derivation["steers"] == [1, 0]


def test_steers_that_were_never_trained_are_left_out(tiny_model: LanguageModel, tmp_path: Path) -> None:
    state = projectors(steers=10)
    path = saved(tmp_path / "c.pt", state, num_steers=10, training_steer=6, dummy_steer=None, dataset_name="own-set")
    steer, _ = read_reference(path, tiny_model)
    assert steer.dimensions == ("own-set",)
    assert torch.equal(steer.p1, state["projector1"][6:7])


def test_names_are_for_all_steers_in_the_order_of_the_file(tiny_model: LanguageModel, tmp_path: Path) -> None:
    state = projectors(steers=3)
    steer, _ = read_reference(saved(tmp_path / "c.pt", state), tiny_model, names=["a", "dummy", "b"])
    assert steer.dimensions == ("a", "b", "dummy")
    assert torch.equal(steer.p1, state["projector1"][[0, 2, 1]])
    with pytest.raises(InputError, match=r"names=\['a'\]: .* has 3 steers"):
        read_reference(tmp_path / "c.pt", tiny_model, names=["a"])


@pytest.mark.parametrize("bare", [False, True])
def test_a_transferred_file_has_no_options_so_names_and_epsilon_are_asked_for(
    tiny_model: LanguageModel, tmp_path: Path, bare: bool
) -> None:
    state, path = projectors(), tmp_path / "c.pt"
    if bare:
        torch.save(state, path)
    else:
        saved(path, state, options=None)
    with pytest.raises(InputError, match=r"does not say what its 2 steers are for; give names=\[…\]"):
        read_reference(path, tiny_model, epsilon=0.05)
    with pytest.raises(InputError, match="does not contain its epsilon; give epsilon="):
        read_reference(path, tiny_model, names=["detox", "dummy"])
    steer, _ = read_reference(path, tiny_model, names=["detox", "dummy"], epsilon=0.05)
    whole, _ = read_reference(saved(tmp_path / "d.pt", state), tiny_model)
    assert all(torch.equal(a, b) for a, b in zip(steer.parameters(), whole.parameters(), strict=True))


def test_an_epsilon_that_is_not_the_files_is_refused(tiny_model: LanguageModel, tmp_path: Path) -> None:
    path = saved(tmp_path / "c.pt", projectors())
    with pytest.raises(InputError, match=r"epsilon=0\.001: .* says 0\.05"):
        read_reference(path, tiny_model, epsilon=1e-3)
    assert read_reference(path, tiny_model, epsilon=0.05)[0].epsilon == 0.05


def test_half_precision_parameters_of_a_gpu_are_read_on_a_machine_without_one(
    tiny_model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {name: nn.Parameter(tensor.half()) for name, tensor in projectors().items()}
    with monkeypatch.context() as patched:
        patched.setattr("torch.serialization.location_tag", lambda storage: "cuda:0")
        path = saved(tmp_path / "c.pt", state)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(path, weights_only=False)
    steer, _ = read_reference(path, tiny_model)
    assert steer.p1.dtype == torch.float32
    assert torch.equal(steer.p1, state["projector1"].float())


class Malicious:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("part", ["options", "state", "whole", "steps", "pickle"])
def test_nothing_in_a_file_is_run(tiny_model: LanguageModel, tmp_path: Path, part: str) -> None:
    path, mark = tmp_path / "c.pt", tmp_path / "mark"
    bad, options = Malicious(mark), argparse.Namespace(**OPTIONS)
    if part == "options":
        saved(path, projectors(), data_dir=bad)
    elif part == "pickle":
        path.write_bytes(pickle.dumps([options, bad, 1], protocol=2))
    else:
        torch.save({"state": [options, {"x": bad}, 1], "whole": bad, "steps": [options, projectors(), bad]}[part], path)
    with pytest.raises(InputError, match=r"c\.pt: (refused|damaged)") as caught:
        read_reference(path, tiny_model)
    assert "\n" not in str(caught.value)
    assert not mark.exists()
    if part != "pickle":
        torch.load(path, weights_only=False)
        assert mark.exists(), "the file does what it should not"


def test_a_damaged_file_is_refused_whatever_the_damage(tiny_model: LanguageModel, tmp_path: Path) -> None:
    whole = saved(tmp_path / "c.pt", projectors(steers=2, rank=1)).read_bytes()
    noise, path, refused = random.Random(0), tmp_path / "d.pt", list[str]()
    for number in range(150):
        damaged = bytearray(whole[: noise.randrange(len(whole))] if number % 3 == 0 else whole)
        for _ in range(0 if number % 3 == 0 else 1 + number % 7):
            damaged[noise.randrange(len(damaged))] = noise.randrange(256)
        path.write_bytes(damaged)
        try:
            read_reference(path, tiny_model)
        except InputError as error:
            refused.append(str(error))
    assert len(refused) >= 50, "every shortened file at least"
    assert not any("\n" in message for message in refused)


@pytest.mark.parametrize(
    ("state", "changed", "message"),
    [
        ({"add_vec": torch.ones(2, 32)}, {"adaptor_class": "add"}, r"class add at final_layer \(add_vec\); only class"),
        ({"offset_vec": torch.ones(2, 384)}, {}, "offset_vec"),
        (projectors(), {"adapted_component": "input_embedding"}, "class multiply at input_embedding"),
        (
            projectors(width=16),
            {},
            "width 16, but model tiny-0 has 32; choose the model on which it was trained .gpt2-large",
        ),
        (projectors(rank=33), {}, "a rank of at most the width"),
        ({"projector1": torch.ones(2, 32, 4)}, {}, "no projector1 and projector2"),
        (
            {"projector1": torch.ones(2, 32, 4), "projector2": torch.ones(2, 32, 3)},
            {},
            r"\(2, 32, 3\); two tensors of one",
        ),
        ({"projector1": torch.ones(32, 4), "projector2": torch.ones(32, 4)}, {}, "two tensors of one shape"),
        ({name: tensor / 0 for name, tensor in projectors().items()}, {}, "not finite"),
        (projectors(), {"training_steer": 5}, r"its options name steers \[1, 5\] of 2"),
        (projectors(), {"dataset_name": None}, "does not say what its 2 steers are for"),
        (projectors(), {"epsilon": 0.0}, "epsilon=0"),
        ([1, 2], {}, "another layout"),
    ],
)
def test_what_cannot_be_taken_over_is_refused_by_name(
    tiny_model: LanguageModel, tmp_path: Path, state: Any, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_reference(saved(tmp_path / "c.pt", state, **changed), tiny_model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [5, [1], ["args", projectors(), 3]])
def test_other_content_is_refused(tiny_model: LanguageModel, tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(InputError, match=r"expected torch\.save"):
        read_reference(tmp_path / "c.pt", tiny_model)
    with pytest.raises(InputError, match="no such file"):
        read_reference(tmp_path / "other.pt", tiny_model)


def test_hostile_options_are_kept_as_plain_values(tiny_model: LanguageModel, tmp_path: Path) -> None:
    changed = {"a\ud800": "b\udfff", "large": 10**400, "bad": float("nan"), "deep": [[1], 2.5, None], "other": {"x": 1}}
    steer, provenance = read_reference(saved(tmp_path / "c.pt", projectors(), **changed), tiny_model)
    save_steer(tmp_path / "s.safetensors", steer, provenance)
    options = load_steer(tmp_path / "s.safetensors", tiny_model)[1].derivation["options"]
    assert options["large"] == str(10**400)
    assert (options["a?"], options["bad"], options["deep"]) == ("b?", "nan", ["[1]", 2.5, "None"])
    json.dumps(options, allow_nan=False)
