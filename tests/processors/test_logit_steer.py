"""Steered logits are those of the steered hidden state on every architecture; files are read as they were written."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.models.head import Head
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.processors.logit_steer import FILE, KEY, LogitSteer
from lmsteer.steering.steer import Steer

STRENGTHS = torch.tensor([[3.0, -1.0], [0.0, 0.0], [-2.0, 0.5]])
STEERS = {
    "low rank": {"rank": 4},
    "full": {"rank": "full"},
    "with a constant": {"rank": 4, "bias": True},
    "constant alone": {"rank": 0, "bias": True},
}


def make(kind: str) -> Steer:
    steer = Steer(32, dimensions=["sentiment", "dummy"], epsilon=0.1, init_std=0.3, seed=1, **STEERS[kind])
    if steer.bias is not None:
        torch.nn.init.normal_(steer.bias)
    return steer.requires_grad_(False)


def states(model: LanguageModel) -> Tensor:
    return model.hidden(torch.tensor([[5, 17, 3], [7, 301, 12], [1, 2, 383]]))[:, -1]


@pytest.mark.parametrize("kind", list(STEERS))
def test_it_is_the_head_on_steered_hidden_states(model: LanguageModel, kind: str) -> None:
    steer, hidden = make(kind), states(model)
    plain, expected = model.head(hidden), model.head(steer(hidden, STRENGTHS))
    function = LogitSteer.of(model.head, steer)
    steered = function(plain, STRENGTHS)
    torch.testing.assert_close(steered, expected, rtol=0, atol=2e-3 if model.head.softcap else 2e-4)
    assert (expected - plain)[[0, 2]].abs().max() > 0.1
    assert torch.equal(steered[1], plain[1]), "strength 0 changes no bit"
    words = model.head.vocabulary
    cut = function(plain[:, :words], STRENGTHS)
    torch.testing.assert_close(cut, steered[:, :words], rtol=0, atol=1e-5)
    barred = plain.clone()
    barred[:, words:] = float("-inf")  # as engines set rows that are no words
    torch.testing.assert_close(function(barred, STRENGTHS)[:, :words], steered[:, :words], rtol=0, atol=1e-5)


def test_a_scale_and_a_bias_of_the_head_are_accounted_for() -> None:
    weight, bias = torch.randn(50, 32), torch.randn(50)
    head, steer, hidden = Head(weight, bias=bias, scale=0.25), make("with a constant"), torch.randn(3, 32)
    steered = LogitSteer.of(head, steer)(head(hidden), STRENGTHS)
    torch.testing.assert_close(steered, head(steer(hidden, STRENGTHS)), rtol=0, atol=1e-4)


def test_in_bfloat16_it_costs_little_of_the_effect() -> None:
    model, steer = tiny(dtype="bfloat16"), make("low rank")
    hidden = states(model)
    plain, expected = model.head(hidden), model.head(steer(hidden, STRENGTHS)).log_softmax(-1)
    steered = LogitSteer.of(model.head, steer)(plain, STRENGTHS).log_softmax(-1)
    divergence = (expected.exp() * (expected - steered)).sum(-1)[[0, 2]]
    effect = (expected.exp() * (expected - plain.log_softmax(-1))).sum(-1)[[0, 2]]
    assert (divergence < 0.02 * effect).all()
    assert (effect > 0.01).all()


def test_logits_at_the_soft_cap_stay_finite() -> None:
    head, steer = Head(torch.randn(50, 32), softcap=5.0), make("low rank")
    assert LogitSteer.of(head, steer)(torch.full((3, 50), 5.0), STRENGTHS).isfinite().all()


def test_embeddings_that_do_not_tell_hidden_states_apart_are_refused() -> None:
    for weight in (torch.randn(20, 32), torch.ones(50, 32)):
        with pytest.raises(InputError, match="cannot be recovered from the logits"):
            LogitSteer.of(Head(weight), make("low rank"))
    with pytest.raises(InputError, match="40 logits, but the steer is of a model of 50 words"):
        LogitSteer.of(Head(torch.randn(50, 32)), make("low rank"))(torch.randn(3, 40), STRENGTHS)


def test_a_file_is_read_as_it_was_written_and_the_same_bytes_again(tmp_path: Path) -> None:
    written = LogitSteer.of(Head(torch.randn(50, 32), softcap=5.0, vocabulary=48), make("full"), {"dummy": 1.0})
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        written.save(tmp_path / name / FILE)
    assert (tmp_path / "a" / FILE).read_bytes() == (tmp_path / "b" / FILE).read_bytes()
    read, logits = LogitSteer.load(tmp_path / "a"), torch.randn(3, 50)
    assert torch.equal(read(logits, STRENGTHS), written(logits, STRENGTHS))
    assert read.strengths({"sentiment": 2}).tolist() == [2.0, 1.0]
    assert read.strengths({"dummy": 0}).tolist() == [0.0, 0.0]
    with pytest.raises(InputError, match="strength mood=1: a finite number for one of sentiment, dummy"):
        read.strengths({"mood": 1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2, this version reads 1"),
        ({"dimensions": ["a"]}, "other shapes"),
        ({"dimensions": ["a", "a"]}, "distinct non-empty names"),
        ({"softcap": -1.0}, "soft-cap -1.0"),
        ({"softcap": "5"}, "soft-cap 5"),
        ({"strength": {"mood": 1}}, "strength"),
        ({"strength": {"sentiment": "x"}}, "could not convert"),
        ({"strength": [1]}, "damaged"),
        ({"write": torch.ones(2, 50)}, "damaged"),
        ({"offset": torch.ones(9)}, "other shapes"),
        ({"offset": torch.full((50,), float("nan"))}, "not finite"),
        ({"read": None}, "damaged"),
    ],
)
def test_a_file_of_any_wrong_kind_is_refused_in_one_line(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    LogitSteer.of(Head(torch.randn(50, 32)), make("low rank")).save(tmp_path / FILE)
    tensors = load_file(tmp_path / FILE)
    facts = {"format": 1, "dimensions": ["sentiment", "dummy"], "softcap": None, "strength": {}}
    facts |= {name: value for name, value in change.items() if name in facts}
    tensors |= {name: value for name, value in change.items() if name in tensors}  # type: ignore[dict-item]
    present = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(present, tmp_path / FILE, metadata={KEY: json.dumps(facts)})
    with pytest.raises(InputError, match=message) as caught:
        LogitSteer.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_the_file_and_a_file_of_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="form=processor` expected"):
        LogitSteer.load(tmp_path)
    (tmp_path / FILE).write_bytes(b"text")
    with pytest.raises(InputError, match="damaged or not the file of a processor"):
        LogitSteer.load(tmp_path)
