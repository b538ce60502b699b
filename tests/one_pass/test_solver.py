"""Promises of the one-pass solver: on a tiny model, from texts to a steer file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from lmsteer.cli.configuration import CONF
from lmsteer.commands.train import train
from lmsteer.data.corpus import Corpus
from lmsteer.data.feature_store import FeatureStore, FeatureStoreConfig
from lmsteer.data.features import FeatureExtractor
from lmsteer.errors import InputError
from lmsteer.models.cross_entropy import nll
from lmsteer.models.language_model import LanguageModel
from lmsteer.one_pass.corpus_pass import statistics
from lmsteer.one_pass.natural_gradient import Estimate, Step
from lmsteer.one_pass.permutation_test import permuted
from lmsteer.one_pass.residual_store import ResidualStore
from lmsteer.one_pass.residuals import Residuals
from lmsteer.one_pass.solver import UNIT_KL, OnePassConfig, orthogonal, solve, steer_of
from lmsteer.records import Row
from lmsteer.runs.stages import settings_of
from lmsteer.steering.kl import divergence
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer, save_steer
from lmsteer.training.fit import FitConfig, SteerConfig, fit

WHAT = SteerConfig(name="tone", rank=8, solver="one_pass")
TONES = {1.0: "warm and funny", -1.0: "dull, slow and far too long"}


def rows(count: int = 40) -> tuple[Row, ...]:
    return tuple(Row(f"the story number {n} is {tone}", label) for n in range(count) for label, tone in TONES.items())


def corpus() -> Corpus:
    return Corpus("toy", rows()[:60], rows()[60:])


def labels(some: tuple[Row, ...]) -> Tensor:
    return torch.tensor([[row.label] for row in some])


@pytest.fixture(scope="module")
def solved(tiny_model: LanguageModel) -> tuple[Steer, Any]:
    return fit(tiny_model, corpus(), WHAT)


def mean_nats(model: LanguageModel, steer: Steer, strength: float, label: float) -> float:
    features = FeatureExtractor(model)([row.text for row in corpus().dev if row.label == label])
    steered = steer(features.hidden_ND, torch.tensor([[strength]]))
    return float(nll(model.head, steered, features.targets_N).detach().mean())


def test_a_steer_of_one_pass_makes_each_kind_of_text_likelier_in_its_direction(
    tiny_model: LanguageModel, solved: tuple[Steer, Any]
) -> None:
    steer, _ = solved
    for label in (1.0, -1.0):
        with_it, plain, against = (mean_nats(tiny_model, steer, v * label, label) for v in (2.0, 0.0, -2.0))
        assert with_it < plain < against


def test_five_units_of_strength_cost_what_is_said(tiny_model: LanguageModel, solved: tuple[Steer, Any]) -> None:
    steer, provenance = solved
    features = FeatureExtractor(tiny_model)([row.text for row in corpus().dev])
    both = [divergence(tiny_model.head, steer, torch.tensor([v]), features.hidden_ND).mean() for v in (5.0, -5.0)]
    assert float(sum(both)) / 2 == pytest.approx(UNIT_KL, rel=0.02)
    assert provenance.training["solver_result"]["unit"] == {
        "strength": 5.0,
        "kl": pytest.approx(UNIT_KL, rel=0.01),
        "tokens": len(features.hidden_ND),
    }


@pytest.mark.parametrize("extreme", [{"epsilon": 1e-30}, {"epsilon": 1e30}, {"damping": 1e30}])
def test_weights_beyond_float32_are_refused(tiny_model: LanguageModel, extreme: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"steer of tone: its weights are beyond float32; steer\.damping and"):
        fit(tiny_model, corpus(), replace(WHAT, **extreme))


def test_the_file_holds_the_steer_and_what_was_found(tmp_path: Path, tiny_model: LanguageModel, solved: Any) -> None:
    steer, provenance = solved
    save_steer(tmp_path / "steer.safetensors", steer, provenance)
    loaded, again = load_steer(tmp_path / "steer.safetensors", tiny_model)
    assert torch.equal(loaded.p1, steer.p1)
    assert loaded.dimensions == ("tone",)
    assert again == provenance
    found = provenance.training["solver_result"]
    assert found["rank"] == loaded.rank == min(8, found["null"]["above"])
    assert found["null"]["permutations"] == 199
    assert sum(size > found["null"]["threshold"] for size in found["spectrum"]) == found["null"]["above"] >= 1


def test_the_same_corpus_gives_the_same_steer_and_the_seed_moves_the_null_alone(
    tiny_model: LanguageModel, solved: Any
) -> None:
    steer, provenance = solved
    again, same = fit(tiny_model, corpus(), WHAT)
    assert torch.equal(again.p1, steer.p1)
    assert same == provenance
    _, other = fit(tiny_model, corpus(), WHAT, seed=1)
    assert other.training["solver_result"]["spectrum"] == provenance.training["solver_result"]["spectrum"]
    assert (
        other.training["solver_result"]["null"]["threshold"]
        != provenance.training["solver_result"]["null"]["threshold"]
    )


def test_without_a_null_the_rank_is_the_one_given(tiny_model: LanguageModel) -> None:
    for rank, expected in ((3, 3), ("full", "full"), (32, "full")):
        steer, provenance = fit(tiny_model, corpus(), replace(WHAT, rank=rank, permutations=0))  # type: ignore[arg-type]
        assert steer.rank == expected
        assert provenance.training["solver_result"]["null"] == {}


def test_permutations_that_do_not_fit_at_once_take_further_passes_to_the_same_null(
    tiny_model: LanguageModel, solved: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmsteer.one_pass.solver.NULL_NUMBERS", 60 * tiny_model.width**2)
    most = []
    monkeypatch.setattr(
        "lmsteer.one_pass.solver.statistics",
        lambda *args, null_BKP, **more: most.append(null_BKP.shape[2]) or statistics(*args, null_BKP=null_BKP, **more),
    )
    steer, provenance = fit(tiny_model, corpus(), WHAT)
    assert most == [60, 60, 60, 19]
    torch.testing.assert_close(steer.p1, solved[0].p1)
    null, before = provenance.training["solver_result"]["null"], solved[1].training["solver_result"]["null"]
    assert null == before | {"threshold": pytest.approx(before["threshold"], rel=1e-5)}


@pytest.mark.parametrize("form", ["add", "both"])
@pytest.mark.parametrize("solver", ["one_pass", "paper"])
def test_a_constant_part_is_learned_by_either_solver(
    tiny_model: LanguageModel, tmp_path: Path, form: Any, solver: Any
) -> None:
    steer_config = replace(WHAT, form=form, solver=solver, dummy=False, epsilon=0.05)
    steer, provenance = fit(tiny_model, corpus(), steer_config, FitConfig(steps=20, batch_size=8, dev_every=10))
    assert steer.bias is not None
    assert (steer.rank == 0) == (form == "add")
    assert steer.bias.detach().abs().max() > 0
    signs = (1.0, -1.0)
    with_it, plain, against = (sum(mean_nats(tiny_model, steer, v * y, y) for y in signs) for v in (1.0, 0.0, -1.0))
    assert with_it < plain < against
    save_steer(tmp_path / "steer.safetensors", steer, provenance)
    loaded, again = load_steer(tmp_path / "steer.safetensors", tiny_model)
    assert torch.equal(loaded.bias, steer.bias)  # type: ignore[arg-type]
    assert settings_of(loaded, again)["form"] == form


@pytest.mark.parametrize("form", ["matrix", "both"])
@pytest.mark.parametrize("solver", ["one_pass", "paper"])
def test_a_matrix_of_rank_0_is_refused_whatever_is_beside_it(solver: Any, form: Any) -> None:
    with pytest.raises(InputError, match=r"steer\.rank=0: an integer in \[1, 32\]"):
        replace(WHAT, solver=solver, form=form, rank=0).build(32, 0)
    assert replace(WHAT, solver=solver, form="add", rank=0).build(32, 0).rank == 0


def test_the_unit_of_strength_is_that_of_the_sum(tiny_model: LanguageModel) -> None:
    hidden = FeatureExtractor(tiny_model)([row.text for row in corpus().dev]).hidden_ND
    found = {form: fit(tiny_model, corpus(), replace(WHAT, form=form)) for form in ("matrix", "add", "both")}
    for steer, provenance in found.values():
        both = [divergence(tiny_model.head, steer, torch.tensor([v]), hidden).mean() for v in (5.0, -5.0)]
        assert float(sum(both)) / 2 == pytest.approx(UNIT_KL, rel=0.02)
        assert provenance.training["solver_result"]["unit"]["kl"] == pytest.approx(UNIT_KL, rel=0.01)
    _, (add, with_add), (both, _) = found.values()
    assert add.bias is not None
    assert both.bias is not None
    mean_D = FeatureExtractor(tiny_model)([row.text for row in corpus().train]).hidden_ND.mean(0)  # labels are ±1
    in_the_mean = mean_D @ both.matrix(0) + both.bias[0]
    assert torch.cosine_similarity(in_the_mean, add.bias[0], dim=0) > 0.999, "there a joint step is the constant's"
    assert with_add.training["solver_result"]["null"] == {}, "no permutations where no rank is sought"


def test_labels_that_mean_nothing_keep_one_direction_and_say_so(
    tiny_model: LanguageModel, capsys: pytest.CaptureFixture[str]
) -> None:
    signs = torch.randint(2, (40,), generator=torch.Generator().manual_seed(1)) * 2.0 - 1
    mixed = tuple(Row(f"the story number {n} is long", float(sign)) for n, sign in enumerate(signs))
    steer, provenance = fit(tiny_model, Corpus("mixed", mixed), WHAT)
    assert provenance.training["solver_result"]["null"]["above"] == 0
    assert steer.rank == 1
    assert "tone: no direction stands above the label-permutation null" in capsys.readouterr().out


def test_rows_of_a_table_differ_by_the_solver_and_not_by_options_it_does_not_use(
    tiny_model: LanguageModel, solved: Any
) -> None:
    fit_config = FitConfig(steps=2, batch_size=4)
    paper = settings_of(*fit(tiny_model, corpus(), replace(WHAT, solver="paper"), fit_config))
    ours = settings_of(*fit(tiny_model, corpus(), WHAT, fit_config))
    assert {name for name in paper if paper[name] != ours.get(name)} == {"solver", "dummy", "steps"}
    assert set(ours) - set(paper) == {"damping", "context_damping", "permutations"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"damping": 0.0}, r"steer\.damping=0"),
        ({"damping": float("inf")}, r"steer\.damping=inf"),
        ({"context_damping": -1.0}, r"steer\.context_damping=-1"),
        ({"permutations": 20}, r"steer\.permutations=20: 0 \(no null\), or 39 and more expected"),
        ({"permutations": -1}, r"steer\.permutations=-1"),
    ],
)
def test_impossible_settings_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SteerConfig(name="tone", **options)


@pytest.mark.parametrize(
    ("texts", "label", "message"),
    [
        (("I", "a"), (1.0, -1.0), "no text is longer than one token"),
        (("the story", "the film"), (1.0, 1.0), "labels are all alike"),
        (("the story", "the film"), (2.0, -1.0), r"labels up to 2: values in \[-1, 1\]"),
        ((), (), r"no rows to learn from"),
    ],
)
def test_a_corpus_that_teaches_nothing_is_refused(
    tiny_model: LanguageModel, texts: tuple[str, ...], label: tuple[float, ...], message: str
) -> None:
    given = tuple(Row(text, y) for text, y in zip(texts, label, strict=True))
    with pytest.raises(InputError, match=message):
        fit(tiny_model, Corpus("few", given), WHAT)


def test_stored_residuals_serve_other_labels_without_the_vocabulary(
    tmp_path: Path, tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = FeatureStore(FeatureExtractor(tiny_model), tmp_path)
    texts, given = [row.text for row in corpus().train], labels(corpus().train)
    plain = statistics(FeatureExtractor(tiny_model), texts, given)
    features.add(texts)
    first = statistics(features, texts, given, store=ResidualStore(features))

    def refuse(*_: object) -> None:
        raise AssertionError("the vocabulary was gone through again")

    monkeypatch.setattr(Residuals, "_part", refuse)
    again = statistics(features, texts, given, store=ResidualStore(features))
    turned = statistics(features, texts, -given, store=ResidualStore(features))
    for name, value in vars(plain).items():
        torch.testing.assert_close(getattr(first, name), value, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(getattr(again, name), value, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(turned.pull_KDD, -plain.pull_KDD, rtol=1e-5, atol=1e-5)
    with pytest.raises(AssertionError, match="gone through again"):  # another set has another spread
        statistics(features, texts[:5], given[:5], store=ResidualStore(features))


def test_a_solver_with_stored_states_makes_the_same_steer(
    tmp_path: Path, tiny_model: LanguageModel, solved: Any
) -> None:
    store = FeatureStoreConfig(where=str(tmp_path / "states"))
    for _ in range(2):
        steer, _ = fit(tiny_model, corpus(), WHAT, store=store)
        torch.testing.assert_close(steer.p1, solved[0].p1, rtol=1e-3, atol=1e-4)


def two(overlap: float, count: int = 60) -> tuple[list[str], Tensor]:
    """Texts of two attributes, the second of which follows the first in a share of the texts."""
    noise = torch.Generator().manual_seed(0)
    tone = 2.0 * torch.randint(2, (count,), generator=noise) - 1
    place = torch.where(
        torch.rand(count, generator=noise) < overlap, tone, 2.0 * torch.randint(2, (count,), generator=noise) - 1
    )
    texts = [
        f"number {n}: the {'story' if b > 0 else 'night of the storm'} is {TONES[float(a)]}"
        for n, (a, b) in enumerate(zip(tone, place, strict=True))
    ]
    return texts, torch.stack([tone, place], dim=1)


def test_several_attributes_of_one_pass_are_those_of_a_pass_each(tiny_model: LanguageModel) -> None:
    texts, both = two(0.5)
    settings, options = OnePassConfig(rank=4, permutations=0), {"unit_texts": texts}
    steer, found = solve(tiny_model, texts, both, ["tone", "place"], settings, **options)  # type: ignore[arg-type]
    assert steer.dimensions == ("tone", "place")
    assert set(found) == {"tone", "place"}
    for k, name in enumerate(steer.dimensions):
        alone, _ = solve(tiny_model, texts, both[:, k : k + 1], [name], settings, **options)  # type: ignore[arg-type]
        torch.testing.assert_close(steer.matrix(k).T, alone.matrix(0).T, rtol=1e-3, atol=1e-4)


def test_texts_without_a_label_for_an_attribute_do_not_teach_it(tiny_model: LanguageModel) -> None:
    texts, both = two(0.0)
    some = both.clone()
    some[30:, 1] = torch.nan
    whole, part = (
        Estimate.of(statistics(FeatureExtractor(tiny_model), texts[:end], own), 1)
        for end, own in ((60, some), (30, both[:30]))
    )
    one, other = (p1 @ p2.T for p1, p2 in (whole.factors(2), part.factors(2)))
    # The same but for the spread, which is that of all texts.
    assert torch.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.98


def test_steers_that_are_set_apart_are_orthogonal_in_the_whitened_space_and_stay_near(
    tiny_model: LanguageModel,
) -> None:
    texts, both = two(0.7)
    sums = statistics(FeatureExtractor(tiny_model), texts, both)
    settings = OnePassConfig(rank=3, permutations=0)
    near, _ = steer_of(sums, ["tone", "place"], settings)
    apart, _ = steer_of(sums, ["tone", "place"], replace(settings, apart=True))
    a, s = (sums.context_KDD / sums.known_K[:, None, None]).mean(0), sums.spread_DD / sums.tokens
    a, s = (x + x.diagonal().mean() * torch.eye(len(x)) for x in (a, s))

    def cosine(one: Tensor, other: Tensor) -> float:
        one, other = one.detach().double(), other.detach().double()
        product, *sizes = (
            torch.einsum("ij,ik,kl,jl->", x, a, y, s) for x, y in ((one, other), (one, one), (other, other))
        )
        return float(product / (sizes[0] * sizes[1]).sqrt())

    before, after = ([own.matrix(k) for k in (0, 1)] for own in (near, apart))
    assert abs(cosine(*before)) > 0.3
    assert abs(cosine(*after)) < 1e-4
    assert all(cosine(old, new) > 0.8 for old, new in zip(before, after, strict=True))


def test_constants_are_not_set_apart() -> None:
    with pytest.raises(InputError, match="form=both, apart=True: only matrices"):
        OnePassConfig(form="both", apart=True)


def test_attributes_that_are_one_cannot_be_set_apart(tiny_model: LanguageModel) -> None:
    texts, both = two(1.0)
    sums = statistics(FeatureExtractor(tiny_model), texts, both)
    parts = [Estimate.of(sums, k).factors(2) for k in (0, 1)]
    with pytest.raises(InputError, match="not independent"):
        orthogonal(parts, sums, Step())


def test_permutations_reach_the_null_of_every_attribute(tiny_model: LanguageModel) -> None:
    texts, both = two(0.2)
    null = permuted(both, 39, seed=3)
    sums = statistics(FeatureExtractor(tiny_model), texts, both, null_BKP=null)
    other = statistics(FeatureExtractor(tiny_model), texts, null[:, :, 11])
    for k in (0, 1):
        expected = Estimate.of(other, k)
        got = Estimate.of(replace(sums, context_KDD=other.context_KDD), k)
        assert float(got.null_P[11]) == pytest.approx(float(expected.sizes_R[0]), rel=1e-4)


def test_the_train_command_does_the_whole_job_with_this_solver(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    numbers = [" ".join(str(n * k % 17) for k in range(1, 9)) for n in range(150)]
    lines = [
        "text\tlabel",
        *(f"story {n} {words} is {tone}\t{label}" for n, words in enumerate(numbers) for label, tone in TONES.items()),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = ["model=tiny", "dtype=float32", "data=file", f"data.path={path}", "data.store=off", "scores=off"]
    options += [
        "steer.name=tone",
        "steer.rank=8",
        "steer.solver=one_pass",
        "logger=none",
        "protocol.samples=2",
        "protocol.prompts.own.n=3",
    ]
    with initialize_config_dir(CONF, version_base="1.3"):
        result = train(compose("train", overrides=[f"run_dir={tmp_path / 'run'}", *options]))
    assert result is not None
    assert [row.strength for row in result.rows] == [{}, {"tone": -5.0}, {"tone": 5.0}]
    assert result.rows[1].settings["solver"] == "one_pass"
    _, provenance = load_steer(tmp_path / "run" / "steer.safetensors")
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert f"directions {provenance.training['solver_result']['rank']}" in page
    assert "Loss while the steer was fitted" not in page
