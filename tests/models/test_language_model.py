"""Promises of a steered language model, on every architecture."""

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from lmsteer.errors import InputError
from lmsteer.models.device import resolve_device
from lmsteer.models.head import Head
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.steering.fold import fold
from lmsteer.steering.steer import Steer

IDS = torch.tensor([[5, 17, 3, 260, 99], [7, 7, 301, 12, 1]])
MASK = torch.ones_like(IDS)


def logits(model: LanguageModel, steer: Steer, strength: list[list[float]]) -> Tensor:
    with torch.no_grad(), steer.apply(model.lm, torch.tensor(strength)) as lm:
        return lm(input_ids=IDS, attention_mask=MASK).logits


def plain(model: LanguageModel) -> Tensor:
    with torch.no_grad():
        return model.lm(input_ids=IDS, attention_mask=MASK).logits


def test_zero_strength_equals_the_plain_model_bit_for_bit(model: LanguageModel, steer: Steer) -> None:
    assert torch.equal(logits(model, steer, [[0.0, 0.0]]), plain(model))


def test_folded_hooked_and_formula_agree(model: LanguageModel, steer: Steer) -> None:
    hidden, strength = model.hidden(IDS, MASK), torch.tensor([2.0, -1.0])
    hooked = logits(model, steer, [[2.0, -1.0]])
    with torch.no_grad():
        folded = fold(model.head, steer, strength)(hidden)
        shift = sum(v * hidden @ steer.matrix(k) for k, v in enumerate(strength.tolist()))
        formula = model.head(hidden + steer.epsilon * shift)
    torch.testing.assert_close(folded, hooked, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(formula, hooked, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rank", [3, "full"])
def test_a_steer_on_the_cpu_folds_into_a_head_on_the_gpu(rank: int | str) -> None:
    strength = torch.tensor([2.0])
    with FakeTensorMode():  # tensors without values, which know their device and refuse to mix it with another
        steer = Steer(8, dimensions=["a"], rank=rank)  # type: ignore[arg-type]
        head = Head(torch.empty(5, 8, device="cuda"))
        folded = fold(head, steer, strength)
    assert folded.weight.device.type == "cuda"


def test_generate_of_transformers_is_steered_inside_and_plain_after(model: LanguageModel, steer: Steer) -> None:
    options = {"attention_mask": MASK, "max_new_tokens": 8, "do_sample": False}
    before = model.lm.generate(IDS, **options)
    with steer.apply(model.lm, torch.tensor([[20.0, 0.0]])) as lm:
        inside = lm.generate(IDS, **options)
    assert not torch.equal(before, inside)
    assert torch.equal(model.lm.generate(IDS, **options), before)


def test_the_model_is_plain_again_after_an_exception(tiny_model: LanguageModel, steer: Steer) -> None:
    before = plain(tiny_model)
    with pytest.raises(RuntimeError, match="stop"), steer.apply(tiny_model.lm, torch.ones(1, 2)):
        raise RuntimeError("stop")
    assert torch.equal(plain(tiny_model), before)


def test_a_model_whose_logits_are_not_its_heads_is_refused(tiny_model: LanguageModel) -> None:
    hook = tiny_model.lm.lm_head.register_forward_hook(lambda module, args, output: output * 2)
    try:
        with pytest.raises(InputError, match="logits are not those of"):
            LanguageModel(tiny_model.lm, tiny_model.tokenizer, name="strange")
    finally:
        hook.remove()


def test_a_device_that_is_not_there_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"device=cuda: this machine has .*cpu"):
        resolve_device("cuda")


def test_tokens_behind_a_gap_in_the_vocabulary_still_stand_for_tokens(tiny_model: LanguageModel) -> None:
    class Gap(type(tiny_model.tokenizer)):  # type: ignore[misc]
        def __len__(self) -> int:
            return 380

    tokenizer = tiny().tokenizer
    tokenizer.__class__ = Gap
    assert LanguageModel(tiny_model.lm, tokenizer, name="gap").head.vocabulary == 384
