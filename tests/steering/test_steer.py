"""Promises of the steer."""

import pytest
import torch

from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.steering.steer import Steer


@pytest.mark.parametrize("rank", [3, "full"])
def test_forward_is_the_papers_formula(rank: int | str) -> None:
    steer = Steer(8, dimensions=["a", "b"], rank=rank, epsilon=0.01, init_std=1.0)  # type: ignore[arg-type]
    hidden, strength = torch.randn(2, 5, 8), torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    expected = hidden.clone()
    for b in range(2):
        for t in range(5):
            for k in range(2):
                expected[b, t] += 0.01 * strength[b, k] * steer.matrix(k).T @ hidden[b, t]
    torch.testing.assert_close(steer(hidden, strength), expected)
    packed = steer(hidden.reshape(10, 8), strength.repeat_interleave(5, dim=0))
    torch.testing.assert_close(packed, expected.reshape(10, 8))


def test_the_seed_alone_decides_the_initial_weights() -> None:
    torch.manual_seed(123)
    first = Steer(8, dimensions=["a"], rank=2, seed=5)
    second = Steer(8, dimensions=["a"], rank=2, seed=5)
    other = Steer(8, dimensions=["a"], rank=2, seed=6)
    assert torch.equal(first.p1, second.p1)
    assert not torch.equal(first.p1, other.p1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, r"steer.rank=0: an integer in \[1, 8\]"),
        ({"rank": 9}, r"steer.rank=9"),
        ({"epsilon": -1.0}, "steer.epsilon=-1.0"),
        ({"init_std": 0.0}, "steer.init_std=0.0"),
        ({"dimensions": ["a", "a"]}, "distinct"),
        ({"dimensions": []}, "one or more"),
    ],
)
def test_impossible_settings_are_refused_by_name(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Steer(8, **{"dimensions": ["a"], "rank": 2} | options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("strength", "message"), [({"joy": 1.0}, "dimensions are a, b"), ({"a": float("nan")}, "finite")]
)
def test_impossible_strengths_are_refused_by_name(strength: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Steer(8, dimensions=["a", "b"], rank=2).strengths(strength)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rank", [3, "full"])
def test_epsilon_and_scale_change_the_shift_by_their_factor(rank: int | str, bias: bool) -> None:
    steer = Steer(8, dimensions=["a", "b"], rank=rank, epsilon=0.01, init_std=1.0, bias=bias)  # type: ignore[arg-type]
    if steer.bias is not None:
        torch.nn.init.normal_(steer.bias)
    hidden, strength = torch.randn(5, 8), torch.tensor([[1.0, -2.0]])
    shift = steer(hidden, strength) - hidden
    torch.testing.assert_close(steer.with_epsilon(0.5)(hidden, strength), hidden + shift)
    scaled = steer.scaled(0, 4.0)
    torch.testing.assert_close(scaled(hidden, strength), steer(hidden, torch.tensor([[4.0, -2.0]])))


@pytest.mark.parametrize("rank", [3, "full"])
def test_delta_logits_are_the_difference_of_two_forward_passes(rank: int | str, tiny_model: LanguageModel) -> None:
    steer = Steer(32, dimensions=["a", "b"], rank=rank, epsilon=0.01, init_std=1.0, bias=True)  # type: ignore[arg-type]
    torch.nn.init.normal_(steer.bias)  # type: ignore[arg-type]
    ids = torch.arange(1, 8)[None]
    with torch.no_grad(), steer.apply(tiny_model, {"b": 1.0}) as lm:
        steered = lm(ids).logits[0]
    with torch.no_grad():
        result = tiny_model.lm(ids, output_hidden_states=True)
        delta = steer.delta_logits(tiny_model.head, result.hidden_states[-1][0], 1)
    torch.testing.assert_close(delta, steered - result.logits[0], rtol=1e-4, atol=1e-4)


def test_apply_takes_a_number_names_or_a_tensor_and_leaves_the_model_plain(
    tiny_model: LanguageModel, steer: Steer
) -> None:
    ids, outputs = torch.tensor([[1, 2, 3]]), []
    with torch.no_grad():
        plain = tiny_model.lm(ids).logits
        for strength in (2.0, {"sentiment": 2.0}, torch.tensor([[2.0, 0.0]])):
            with steer.apply(tiny_model, strength) as lm:
                outputs.append(lm(ids).logits)
        assert torch.equal(tiny_model.lm(ids).logits, plain)
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
    assert not torch.equal(outputs[0], plain)
    with pytest.raises(InputError, match="strength of shape"), steer.apply(tiny_model, torch.ones(2)):
        pass
    narrow = Steer(8, dimensions=["a"], rank=2)
    with pytest.raises(InputError, match=r"width 8, the model .* 32"), narrow.apply(tiny_model, 1.0):
        pass
