"""Promises of composition: every matrix keeps its own factors, and strengths keep their meaning."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import lmsteer
from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.reporting.interference_table import interference_table
from lmsteer.reporting.text import number
from lmsteer.steering.composition import compose, compose_files, kept_energy
from lmsteer.steering.interference import LEADING, Interference, interference
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer, save_steer

PROMPTS = ["the film is", "I would like to know", "nobody came"]

CALIBRATION = {
    **dict.fromkeys(("protocol", "budget", "dimension"), "x"),
    "direction": 1,
    "fixed_strengths": {},
    "strength": 5.0,
}


def steer_of(*dimensions: str, rank: int | str = 4, epsilon: float = 0.1, seed: int = 0, width: int = 32) -> Steer:
    return Steer(width, dimensions=dimensions, rank=rank, epsilon=epsilon, init_std=0.5, seed=seed)  # type: ignore[arg-type]


def effect(steer: Steer, name: str) -> Tensor:
    """What one unit of strength does to a hidden state: ``epsilon W``."""
    return steer.epsilon * steer.matrix(steer.dimensions.index(name)).T.detach()


@pytest.mark.parametrize("ranks", [(4, 4), (4, 7), (7, 4), (4, "full"), ("full", "full"), (20, 20)])
@pytest.mark.parametrize("epsilons", [(0.1, 0.1), (0.1, 0.02)])
def test_the_composed_steer_is_the_sum_of_the_matrices(
    ranks: tuple[int | str, int | str], epsilons: tuple[float, float]
) -> None:
    joy = steer_of("joy", "dummy", rank=ranks[0], epsilon=epsilons[0])
    calm = steer_of("calm", rank=ranks[1], seed=1, epsilon=epsilons[1])
    both = compose([joy, calm])
    assert both.dimensions == ("joy", "calm", "dummy")
    assert both.rank == ("full" if "full" in ranks else max(ranks))  # type: ignore[type-var]
    assert both.epsilon == epsilons[0]
    hidden, v = torch.randn(6, 32), torch.tensor([[2.0, -3.0, 0.5]])
    expected = hidden + hidden @ (2 * effect(joy, "joy") - 3 * effect(calm, "calm") + 0.5 * effect(joy, "dummy")).T
    torch.testing.assert_close(both(hidden, v), expected, rtol=1e-5, atol=1e-5)
    for name, source in (("joy", joy), ("calm", calm), ("dummy", joy)):
        torch.testing.assert_close(effect(both, name), effect(source, name), rtol=1e-5, atol=1e-6)


def test_one_epsilon_needs_no_change_of_a_single_bit() -> None:
    joy, calm = steer_of("joy", "dummy"), steer_of("calm", seed=1)
    both = compose([joy, calm])
    assert torch.equal(both.p1[0], joy.p1[0])
    assert torch.equal(both.p1[1], calm.p1[0])


@pytest.mark.parametrize("rank", [4, 30, "full"])  # 30 + 4 columns are more than the width
def test_dummies_are_added_kept_or_left_out_as_asked(rank: int | str) -> None:
    joy, calm = steer_of("joy", "dummy", rank=rank), steer_of("dummy", "calm", seed=1, epsilon=0.02)
    added = compose([joy, calm])
    assert (added.dimensions, added.rank) == (("joy", "calm", "dummy"), 8 if rank == 4 else "full")
    torch.testing.assert_close(effect(added, "dummy"), effect(joy, "dummy") + effect(calm, "dummy"))
    for name, source in (("joy", joy), ("calm", calm)):
        composed = compose([joy, calm], dummy=name)
        assert composed.dimensions == added.dimensions
        torch.testing.assert_close(effect(composed, "dummy"), effect(source, "dummy"))
    assert compose([joy, calm], dummy="none").dimensions == ("joy", "calm")
    assert compose([steer_of("joy"), steer_of("calm")]).dimensions == ("joy", "calm"), (
        "where no file has one, there is none"
    )


def test_composing_leaves_its_sources_alone() -> None:
    joy, calm = steer_of("joy", "dummy"), steer_of("calm", seed=1, epsilon=0.3)
    before = [steer.p1.detach().clone() for steer in (joy, calm)]
    with torch.no_grad():
        compose([joy, calm]).p1.zero_()
    assert all(torch.equal(steer.p1, copy) for steer, copy in zip((joy, calm), before, strict=True))


@pytest.mark.parametrize(
    ("steers", "options", "message"),
    [
        ([("joy",), ("joy",)], {}, r"attributes joy, joy: distinct .* as in names=\[joy-1,joy-2\]"),
        ([("joy",), ("calm",)], {"names": ["joy"]}, r"names=\['joy'\]: 2 expected, one for each of joy, calm"),
        ([("joy",), ("calm",)], {"names": ["joy", "dummy"]}, "not 'dummy'"),
        ([("joy",), ("calm",)], {"names": ["joy", ""]}, "not empty"),
        ([("joy",), ("calm",)], {"dummy": "wit"}, "dummy=wit: sum, none or one of the attributes joy, calm expected"),
        ([("joy", "dummy"), ("calm",)], {"dummy": "calm"}, "dummy=calm: the steer of calm has no dummy"),
        ([("dummy",)], {}, "nothing to compose"),
        ([], {}, "nothing to compose"),
    ],
)
def test_what_cannot_be_composed_is_refused(
    steers: list[tuple[str, ...]], options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        compose([steer_of(*dimensions) for dimensions in steers], **options)  # type: ignore[arg-type]


def test_steers_of_other_widths_are_refused() -> None:
    with pytest.raises(InputError, match="widths 32, 16: one width expected"):
        compose([steer_of("joy"), steer_of("calm", width=16)])


def test_names_are_given_in_the_order_of_the_attributes() -> None:
    joy, other = steer_of("joy", "dummy"), steer_of("joy", seed=1)
    both = compose([joy, other], names=["joy", "glee"], dummy="joy")
    torch.testing.assert_close(effect(both, "glee"), effect(other, "joy"))


@pytest.mark.parametrize("rank", [6, "full"])
def test_truncation_keeps_the_largest_singular_values_of_each_matrix(rank: int | str) -> None:
    steer = steer_of("joy", "calm", rank=rank)
    cut = steer.truncated(rank=3)
    assert (cut.rank, cut.dimensions, cut.epsilon) == (3, steer.dimensions, steer.epsilon)
    energies = kept_energy(steer, cut)
    for k, name in enumerate(steer.dimensions):
        u, s, vh = torch.linalg.svd(steer.matrix(k).T.detach().double())
        nearest = u[:, :3] * s[:3] @ vh[:3]
        torch.testing.assert_close(cut.matrix(k).T.detach().double(), nearest, rtol=1e-4, atol=1e-5)
        assert energies[name] == pytest.approx(float(s[:3].square().sum() / s.square().sum()), rel=1e-5)


def test_an_energy_is_kept_by_every_matrix_with_as_few_directions_as_that_takes() -> None:
    values = {"steep": [3.0, 1.0, 0.1], "flat": [1.0, 1.0, 1.0]}
    basis = torch.linalg.qr(torch.randn(2, 32, 3, generator=torch.Generator().manual_seed(0))).Q
    steer = Steer.from_factors(
        {name: (basis[0] * torch.tensor(sizes), basis[1]) for name, sizes in values.items()}, epsilon=0.1
    )
    # Of steep's energy 9 of 10.01 stand in one direction, of flat's a third in each.
    assert [steer.truncated(energy=e).rank for e in (0.3, 0.5, 0.66, 0.67, 1.0)] == [1, 2, 2, 3, 3]
    assert compose([steer]).truncated(energy=0.3).matrix(0).T.norm().item() == pytest.approx(3.0, rel=1e-5)
    energies = kept_energy(steer, steer.truncated(energy=0.5))
    assert energies == {"steep": pytest.approx(10 / 10.01), "flat": pytest.approx(2 / 3)}


def test_truncating_to_the_whole_energy_changes_nothing_but_the_zero_columns() -> None:
    steer = compose([steer_of("joy", rank=3), steer_of("calm", "dummy", rank=5, seed=1)], dummy="sum")
    cut = steer.truncated(energy=1.0)
    assert cut.rank == 5
    for k in range(3):
        torch.testing.assert_close(cut.matrix(k).T, steer.matrix(k).T)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one of the two expected"),
        ({"rank": 2, "energy": 0.9}, "one of the two expected"),
        ({"rank": 0}, r"rank=0: an integer in \[1, 4\]"),
        ({"rank": 5}, r"rank=5: an integer in \[1, 4\]"),
        ({"energy": 0.0}, "energy=0.0: a number above 0, at most 1"),
        ({"energy": 1.1}, "energy=1.1"),
        ({"energy": float("nan")}, "energy=nan"),
    ],
)
def test_impossible_truncations_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        steer_of("joy").truncated(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("ranks", [(12, 12), (12, 9), ("full", 12)])
def test_interference_is_that_of_the_dense_matrices(ranks: tuple[int | str, int | str]) -> None:
    steer = compose([steer_of("joy", rank=ranks[0]), steer_of("calm", rank=ranks[1], seed=1, epsilon=0.3)])
    result, (joy, calm) = interference(steer), (steer.matrix(k).T.detach().double() for k in range(2))
    cosine = torch.nn.functional.cosine_similarity(joy.flatten(), calm.flatten(), dim=0).item()
    assert result.cosine == [[pytest.approx(1), pytest.approx(cosine)], [pytest.approx(cosine), pytest.approx(1)]]
    spaces = [torch.linalg.svd(matrix) for matrix in (joy, calm)]
    left = [u[:, :LEADING] for u, _, _ in spaces]
    right = [vh[:LEADING].T for _, _, vh in spaces]
    for square, (one, other) in ((result.output_overlap, left), (result.context_overlap, right)):
        angles = torch.linalg.svdvals(one.T @ other)
        assert square[0][1] == pytest.approx(angles.square().mean().item(), abs=1e-5)
        assert square[0][0] == pytest.approx(1)
    assert (result.leading, result.chance_overlap, result.chance_cosine) == (LEADING, LEADING / 32, 1 / 32)


def test_planted_interference_is_found_on_its_own_side() -> None:
    basis = torch.linalg.qr(torch.randn(32, 8, generator=torch.Generator().manual_seed(0))).Q
    a, b, c, d = basis.split(2, dim=1)
    steer = Steer.from_factors({"one": (a, b), "same contexts": (a, c), "same words": (d, b)}, epsilon=0.1)
    result = interference(steer)
    assert result.leading == 2
    assert result.context_overlap[0] == pytest.approx([1, 1, 0], abs=1e-6)
    assert result.output_overlap[0] == pytest.approx([1, 0, 1], abs=1e-6)
    assert result.cosine[0] == pytest.approx([1, 0, 0], abs=1e-6)
    opposite = interference(Steer.from_factors({"one": (a, b), "opposite": (-a, b)}, epsilon=0.1))
    assert opposite.cosine[0] == pytest.approx([1, -1])


def test_matrices_turned_at_random_have_the_interference_of_chance() -> None:
    pairs = [interference(steer_of("joy", "calm", rank=8, seed=seed)) for seed in range(60)]
    overlaps = torch.tensor([[one.context_overlap[0][1], one.output_overlap[0][1]] for one in pairs])
    cosines = torch.tensor([one.cosine[0][1] for one in pairs])
    assert overlaps.mean(0).tolist() == pytest.approx([8 / 32] * 2, rel=0.1)
    assert cosines.square().mean().sqrt().item() == pytest.approx(1 / 32, rel=0.4)
    assert abs(cosines.mean().item()) < 0.4 / 32


def test_the_table_of_interference_has_a_line_for_each_pair_and_one_for_chance() -> None:
    result = interference(steer_of("joy", "calm", "dummy"))
    lines = interference_table(result).split("\n")
    assert len({line.count("|") for line in lines}) == 1
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "joy, calm", "joy, dummy", "calm, dummy", "by chance",
    ]  # fmt: skip
    assert number(result.cosine[0][1], 3, signed=True) in lines[2]


@pytest.fixture
def files(tmp_path: Path, tiny_model: LanguageModel) -> list[Path]:
    paths = []
    for seed, (name, rank) in enumerate((("joy", 4), ("calm", 6))):
        provenance = Provenance(
            model="tiny-0", fingerprint=tiny_model.head.fingerprint(), meaning={name: f"more {name}"}, seed=3,
            corpus={"name": f"texts of {name}"}, calibration=[CALIBRATION],
        )  # fmt: skip
        paths.append(tmp_path / f"{name}.safetensors")
        save_steer(paths[-1], steer_of(name, "dummy", rank=rank, seed=seed), provenance)
    return paths


def test_the_origin_says_what_was_composed_and_how(
    files: list[Path], tmp_path: Path, tiny_model: LanguageModel
) -> None:
    steer, provenance = compose_files(files, names=["joy", "peace"], dummy="joy", rank=3)
    save_steer(tmp_path / "both.safetensors", steer, provenance)
    loaded, origin = load_steer(tmp_path / "both.safetensors", tiny_model)
    assert loaded.dimensions == ("joy", "peace", "dummy")
    assert (origin.meaning, origin.seed, origin.calibration) == ({"joy": "more joy", "peace": "more calm"}, 3, [])
    derivation = origin.derivation
    assert (derivation["kind"], derivation["dummy"]) == ("composition", "joy")
    for path, source, rank in zip(files, derivation["sources"], (4, 6), strict=True):
        assert source["digest"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (source["attributes"], source["rank"], source["epsilon"]) == ([path.stem], rank, 0.1)
        assert (source["seed"], source["corpus"]) == (3, {"name": f"texts of {path.stem}"})
    assert derivation["sources"][1]["names"] == ["peace"]
    whole = compose([load_steer(path)[0] for path in files], names=["joy", "peace"], dummy="joy")
    assert derivation["truncation"]["kept_energy"] == kept_energy(whole, loaded)
    assert Interference(**derivation["interference"]) == interference(loaded)


def test_what_was_composed_before_is_told_with_its_own_sources(files: list[Path], tmp_path: Path) -> None:
    save_steer(tmp_path / "both.safetensors", *compose_files(files))
    _, provenance = compose_files([tmp_path / "both.safetensors"])
    (source,) = provenance.derivation["sources"]
    assert [inner["attributes"] for inner in source["derivation"]["sources"]] == [["joy"], ["calm"]]


def test_files_of_other_models_are_refused_by_name(files: list[Path]) -> None:
    steer, provenance = load_steer(files[1])
    save_steer(files[1], steer, replace(provenance, model="tiny-1", fingerprint="f" * 64))
    with pytest.raises(
        InputError, match=r"joy\.safetensors was fitted for model tiny-0 \(head .*calm\.safetensors for tiny-1"
    ):
        compose_files(files)


def test_each_prompt_of_a_batch_can_have_strengths_of_its_own(tiny_model: LanguageModel) -> None:
    joy, calm = steer_of("joy", "dummy"), steer_of("calm", rank=6, seed=1)
    both, how = compose([joy, calm]), lmsteer.Greedy(max_new_tokens=8)
    strengths = [{"joy": 3.0, "calm": -2.0}, {"joy": 3.0}, {"calm": 4.0, "dummy": 1.0}]
    rows = lmsteer.generate(tiny_model, PROMPTS, steer=both, strength=strengths, decoding=how)
    for prompt, strength, row in zip(PROMPTS, strengths, rows, strict=True):
        (alone,) = lmsteer.generate(tiny_model, [prompt], steer=both, strength=strength, decoding=how)
        assert row.texts == alone.texts
    # The second strength is that of one source alone, which therefore writes the same.
    (source,) = lmsteer.generate(tiny_model, PROMPTS[1:2], steer=joy, strength={"joy": 3.0}, decoding=how)
    assert rows[1].texts == source.texts
    (plain,) = lmsteer.generate(tiny_model, PROMPTS[1:2], decoding=how)
    assert rows[1].texts != plain.texts
