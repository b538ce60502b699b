"""Promises of a steer's constant part: it moves every hidden state alike, wherever the steer goes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lmsteer.analysis.interpretation import interpret
from lmsteer.errors import InputError
from lmsteer.export.exporter import Export
from lmsteer.models.head import Head
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import TextsSoFar
from lmsteer.records import Row
from lmsteer.steering.composition import compose
from lmsteer.steering.fold import fold, steered_rows
from lmsteer.steering.kl import divergence
from lmsteer.steering.provenance import KEY, Provenance
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer, save_steer
from lmsteer.transfer.effect_agreement import agreement
from lmsteer.transfer.steer_maps import AlignedStates, Maps, apply_maps

IDS = torch.tensor([[5, 17, 33, 2, 9], [8, 1, 40, 7, 3]])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def steer_of(rank: Any = 4, *dimensions: str, width: int = 32, epsilon: float = 0.1, seed: int = 1) -> Steer:
    names = dimensions or ("tone", "dummy")
    steer = Steer(width, dimensions=names, rank=rank, epsilon=epsilon, init_std=0.5, seed=seed, bias=True)
    assert steer.bias is not None
    steer.bias.data = random(len(names), width, seed=seed)
    return steer


def shift(steer: Steer, name: str, hidden: Tensor) -> Tensor:
    """``epsilon (W h + b)``, plainly."""
    k = steer.dimensions.index(name)
    assert steer.bias is not None
    return steer.epsilon * (hidden @ steer.matrix(k) + steer.bias[k]).detach()


@pytest.mark.parametrize("rank", [0, 3, "full"])
def test_forward_adds_the_constant_by_the_strength_of_each_row(rank: Any) -> None:
    steer, hidden, strength = steer_of(rank), random(2, 5, 32), torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    expected = torch.stack(
        [h + v[0] * shift(steer, "tone", h) + v[1] * shift(steer, "dummy", h) for h, v in zip(hidden, strength)]  # noqa: B905
    )
    torch.testing.assert_close(steer(hidden, strength).detach(), expected)
    packed = steer(hidden.reshape(10, 32), strength.repeat_interleave(5, dim=0)).detach()
    torch.testing.assert_close(packed, expected.reshape(10, 32))
    assert torch.equal(steer(hidden, torch.zeros(1, 2)), hidden)


def test_a_steer_without_it_is_what_it_was_bit_for_bit() -> None:
    plain, beside = (Steer(8, dimensions=["a"], rank=2, seed=5, bias=bias) for bias in (False, True))
    assert plain.bias is None
    assert list(plain.state_dict()) == ["p1", "p2"]
    assert torch.equal(plain.p1, beside.p1)
    assert torch.equal(plain(random(3, 8), torch.ones(1, 1)), beside(random(3, 8), torch.ones(1, 1))), "0 at first"


def test_rank_0_needs_a_constant_part() -> None:
    assert steer_of(0).matrix(0).T.abs().max() == 0
    with pytest.raises(InputError, match=r"steer\.rank=0: an integer in \[1, 8\]"):
        Steer(8, dimensions=["a"], rank=0)


@pytest.mark.parametrize("rank", [0, 4, "full"])
def test_folded_hooked_and_by_row_agree(model: LanguageModel, rank: Any) -> None:
    steer, strength = steer_of(rank), torch.tensor([2.0, -1.0])
    hidden = model.hidden(IDS)
    with torch.no_grad(), steer.apply(model.lm, strength[None]) as lm:
        hooked = lm(input_ids=IDS).logits.float()
        (source,) = steered_rows(model, steer, strength.expand(5, 2)).sources
        assert source.shift_rows is not None
        shifted = source.shift_rows(hidden[0], TextsSoFar(model, torch.arange(5), hidden[0], [[]] * 5))
        rows = source.readout(shifted)
    plain, folded = model.head(hidden), fold(model.head, steer, strength)(hidden)
    torch.testing.assert_close(folded, hooked, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(rows, hooked[0], rtol=1e-4, atol=1e-4)
    assert (folded - plain).abs().max() > 1e-2
    assert torch.equal(fold(model.head, steer, torch.zeros(2))(hidden), plain)


def test_its_divergence_is_that_of_the_folded_head(tiny_model: LanguageModel) -> None:
    steer, hidden = steer_of(0), tiny_model.hidden(IDS)[0]
    strength = torch.tensor([3.0, 0.0])
    folded, plain = (h(hidden).log_softmax(-1) for h in (fold(tiny_model.head, steer, strength), tiny_model.head))
    expected = (folded.exp() * (folded - plain)).sum(-1)
    with torch.inference_mode():
        result = divergence(tiny_model.head, steer(hidden, strength[None]), hidden)
    torch.testing.assert_close(result, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("rank", [0, 4, "full"])
def test_the_file_keeps_it_and_says_so(tmp_path: Path, tiny_model: LanguageModel, rank: Any) -> None:
    provenance, path = Provenance(model="tiny-0", fingerprint=tiny_model.head.fingerprint()), tmp_path / "s.safetensors"
    steer = steer_of(rank)
    save_steer(path, steer, provenance)
    loaded, again = load_steer(path, tiny_model)
    assert again == provenance
    assert (loaded.rank, list(loaded.state_dict())) == (rank, list(steer.state_dict()))
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), steer.parameters(), strict=True))
    assert metadata(path)["bias"] is True
    save_steer(path, Steer(32, dimensions=["tone"], rank=2), provenance)
    assert metadata(path)["bias"] is False
    assert load_steer(path)[0].bias is None


def metadata(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return json.loads(header["__metadata__"][KEY])  # type: ignore[no-any-return]


def test_a_file_that_lacks_it_or_hides_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    save_steer(path, steer_of(), Provenance(model="tiny-0", fingerprint=""))
    tensors, known = load_file(path), metadata(path)
    for has_bias, left in ((True, {name: tensors[name] for name in ("p1", "p2")}), (False, tensors)):
        save_file(left, path, metadata={KEY: json.dumps(known | {"bias": has_bias})})
        with pytest.raises(InputError, match="damaged steer file"):
            load_steer(path)


def test_composition_adds_constant_parts_as_it_adds_matrices() -> None:
    joy, calm = steer_of(4, "joy", "dummy"), steer_of(0, "calm", epsilon=0.02, seed=2)
    plain = Steer(32, dimensions=["wit", "dummy"], rank=2, init_std=0.5, seed=3)
    both, hidden = compose([joy, calm, plain]), random(6, 32)
    assert both.dimensions == ("joy", "calm", "wit", "dummy")
    wit = plain.epsilon * (hidden @ plain.matrix(0)).detach()
    always = shift(joy, "dummy", hidden) + plain.epsilon * (hidden @ plain.matrix(1)).detach()
    expected = hidden + 2 * shift(joy, "joy", hidden) - 3 * shift(calm, "calm", hidden) + wit + 0.5 * always
    result = both(hidden, torch.tensor([[2.0, -3.0, 1.0, 0.5]])).detach()
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
    assert compose([plain]).bias is None


def test_truncation_leaves_it_alone() -> None:
    steer = steer_of(4)
    assert torch.equal(steer.truncated(rank=2).bias, steer.bias)  # type: ignore[arg-type]


def test_in_a_linear_image_of_the_source_it_does_what_it_did() -> None:
    steer, states, words = steer_of(3, "mood", width=8), random(8, 13, seed=4).double(), random(8, 13, seed=5).double()
    hidden, embeddings = random(300, 8, seed=6).double(), random(60, 8, seed=7).double()
    to_source = Maps(torch.linalg.pinv(states), torch.linalg.pinv(words))  # h' = h states, e' = e words
    transferred = apply_maps(steer, to_source, scale=0.5)
    expected = 0.5 * shift(steer, "mood", hidden.float()) @ embeddings.float().T
    actual = shift(transferred, "mood", (hidden @ states).float()) @ (embeddings @ words).float().T
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3)
    heads = Head(embeddings), Head(embeddings @ words)
    result = agreement(
        *heads, steer, transferred, AlignedStates(hidden, hidden @ states, torch.arange(300)), name="mood"
    )
    assert (result.correlation, result.gain) == pytest.approx((1, 2), rel=1e-3)


def test_a_checkpoint_keeps_it_where_the_head_has_a_bias_and_is_refused_elsewhere(
    model: LanguageModel, tmp_path: Path
) -> None:
    provenance = Provenance(model=model.name, fingerprint=model.head.fingerprint())
    save_steer(tmp_path / "s.safetensors", steer_of(), provenance)
    export = Export(model, tmp_path / "s.safetensors")
    if model.head.bias is not None:
        export.checkpoint(
            tmp_path / "out", {"tone": 2.0}
        )  # which compares what transformers reads with what was written
        assert "*e* *W*, and its bias grew by ε Σ *v* *e* *b*." in (tmp_path / "out/README.md").read_text(
            encoding="utf-8"
        )
        return
    with pytest.raises(InputError, match=r"reads back other output bias.* no checkpoint is left; form=factors exports"):
        export.checkpoint(tmp_path / "out", {"tone": 2.0})
    assert [path.name for path in tmp_path.iterdir()] == ["s.safetensors"]
    export.factors(tmp_path / "out")
    assert "*h* + ε Σ *v* (*h* *W* + *b*)." in (tmp_path / "out/README.md").read_text(encoding="utf-8")


def test_what_has_no_directions_is_not_read(tiny_model: LanguageModel) -> None:
    rows = [Row("a good film", 1.0), Row("a bad film", -1.0)]
    with pytest.raises(InputError, match="a constant part, which has no directions"):
        interpret(tiny_model, steer_of(), "tone", rows)
    with pytest.raises(InputError, match="its matrix is zero"):
        steer_of(0).truncated(energy=0.5)
