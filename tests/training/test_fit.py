"""Promises of fitting a steer."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.fitting import GradientFit

from lmsteer.data.batching import batch_rows
from lmsteer.data.corpus import Corpus
from lmsteer.data.datamodule import Batch, SteerDataModule
from lmsteer.data.features import FeatureExtractor
from lmsteer.errors import InputError
from lmsteer.models.cross_entropy import nll
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Row
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.training.fit import FitEnvironment
from lmsteer.training.gradient_solver import GradientSolver
from lmsteer.training.module import SteerModule

FIT = GradientFit(steps=20, batch_size=4, dev_every=6)
STEER_CONFIG = SteerConfig(name="tone", rank=4, epsilon=0.05)


def corpus(*, dev: bool = True) -> Corpus:
    rows = tuple(
        Row(f"the story number {n} is {'warm and funny' if label > 0 else 'dull, slow and far too long'}", label)
        for n in range(40)
        for label in (1.0, -1.0)
    )
    return Corpus("toy", rows[:60], rows[60:] if dev else ())


def test_a_fitted_steer_tells_the_two_kinds_of_text_apart(tiny_model: LanguageModel) -> None:
    steer, _ = GradientFit(steps=60, batch_size=8)(tiny_model, corpus(), STEER_CONFIG)
    data = SteerDataModule(corpus(), tiny_model, dimensions=2)
    module = SteerModule(steer, tiny_model.head)
    right = data.batch(corpus().dev)
    wrong = Batch(right.hidden_ND, right.targets_N, right.strength_NK * torch.tensor([-1.0, 1.0]))
    untrained = SteerModule(Steer(32, dimensions=["tone", "dummy"], rank=4), tiny_model.head)
    assert module.nll(right).mean() < module.nll(wrong).mean()
    assert module.nll(right).mean() < untrained.nll(right).mean()


@pytest.mark.parametrize(("width", "rank"), [(32, 32), (100, 64)])
def test_without_a_rank_a_steer_has_64_columns_or_as_many_as_the_model_is_wide(width: int, rank: int) -> None:
    assert SteerConfig(name="tone").build(width, 0).rank == rank
    with pytest.raises(InputError, match=rf"steer\.rank=101: an integer in \[1, {width}\]"):
        SteerConfig(name="tone", rank=101).build(width, 0)


def test_same_seed_same_weights_other_seed_other_weights(tiny_model: LanguageModel) -> None:
    torch.manual_seed(1)
    first, _ = FIT(tiny_model, corpus(), STEER_CONFIG, seed=3)
    torch.manual_seed(2)
    second, _ = FIT(tiny_model, corpus(), STEER_CONFIG, seed=3)
    third, _ = FIT(tiny_model, corpus(), STEER_CONFIG, seed=4)
    assert torch.equal(first.p1, second.p1)
    assert not torch.equal(first.p1, third.p1)


@pytest.mark.parametrize("dev", [True, False])
@pytest.mark.parametrize("killed_at", [2, 6, 7, 13, 19])
def test_a_resumed_fit_equals_an_unbroken_one(
    tmp_path: Path, tiny_model: LanguageModel, killed_at: int, dev: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken, provenance = FIT(tiny_model, corpus(dev=dev), STEER_CONFIG)
    original = SteerModule.training_step

    def die(module: SteerModule, *args: Any) -> Any:
        if module.global_step == killed_at:
            raise RuntimeError("killed")
        return original(module, *args)

    monkeypatch.setattr(SteerModule, "training_step", die)
    with pytest.raises(RuntimeError, match="killed"):
        FIT(tiny_model, corpus(dev=dev), STEER_CONFIG, environment=FitEnvironment(folder=tmp_path))
    monkeypatch.setattr(SteerModule, "training_step", original)
    resumed, resumed_origin = FIT(
        tiny_model, corpus(dev=dev), STEER_CONFIG, environment=FitEnvironment(folder=tmp_path)
    )
    assert torch.equal(resumed.p1, unbroken.p1)
    assert torch.equal(resumed.p2, unbroken.p2)  # type: ignore[arg-type]
    assert resumed_origin == provenance


def test_the_best_steer_by_dev_loss_is_kept(tiny_model: LanguageModel) -> None:
    foreign = Corpus("toy", corpus().train, tuple(Row(f"Q{n} = [{n}, {n}]; X?", 1.0) for n in range(20)))
    fast = GradientFit(steps=30, batch_size=4, dev_every=3, lr=0.1)
    wild, provenance = fast(tiny_model, foreign, STEER_CONFIG)
    dev = provenance.training["curve"]["dev"]
    best_step = min(dev, key=lambda entry: entry[1])[0]
    assert best_step < 30, "the case needs a fit that gets worse"
    short, _ = replace(fast, steps=best_step)(tiny_model, foreign, STEER_CONFIG)
    assert torch.equal(wild.p1, short.p1)


def test_without_a_stop_the_last_steer_is_taken_whatever_dev_says(tiny_model: LanguageModel) -> None:
    fast = replace(FIT, lr=0.1)
    with_dev, _ = replace(fast, stop="none")(tiny_model, corpus(), STEER_CONFIG)
    without, _ = fast(tiny_model, corpus(dev=False), STEER_CONFIG)
    assert torch.equal(with_dev.p1, without.p1)


def test_the_steer_of_the_best_control_is_kept(tiny_model: LanguageModel) -> None:
    noise = torch.Generator().manual_seed(0)
    mixed = tuple(Row(f"number {n}", float(2 * torch.randint(2, (1,), generator=noise) - 1)) for n in range(30))
    unlike = Corpus("toy", corpus().train, (*corpus().dev, *mixed, Row("I", 1.0), Row("no label here", 0.0)))
    by_control = GradientFit(steps=24, batch_size=4, dev_every=3, lr=0.05, stop="control")
    chosen, provenance = by_control(tiny_model, unlike, STEER_CONFIG)
    looks = provenance.training["curve"]["control"]
    best_step, best = max(looks, key=lambda look: look[1])
    assert len(looks) == 8
    assert len({control for _, control in looks}) > 1
    last, _ = replace(by_control, steps=int(best_step), stop="none")(tiny_model, unlike, STEER_CONFIG)
    assert torch.equal(chosen.p1, last.p1)
    evidence = {
        row: [tiny_nats(tiny_model, chosen, row.text, v) for v in (-1.0, 1.0)]
        for row in unlike.dev
        if len(tiny_model.tokenizer(row.text)["input_ids"]) > 1
    }
    gain = {row: down - up for row, (down, up) in evidence.items()}
    pairs = [(gain[a] > gain[b]) + (gain[a] == gain[b]) / 2 for a in gain for b in gain if a.label > 0 > b.label]
    assert best == pytest.approx(sum(pairs) / len(pairs), abs=0.003)


def tiny_nats(model: LanguageModel, steer: Steer, text: str, strength: float) -> float:
    features = FeatureExtractor(model)([text])
    steered = steer(features.hidden_ND, torch.tensor([[strength, 1.0]]))
    return float(nll(model.head, steered, features.targets_N).detach().mean())


@pytest.mark.parametrize("factor", [1.0, 0.0])
def test_control_needs_dev_rows_of_both_signs(tiny_model: LanguageModel, factor: float) -> None:
    dev = tuple(replace(row, label=factor * row.label) for row in corpus().dev if row.label > 0)
    one_sided = Corpus("toy", corpus().train, dev)
    with pytest.raises(InputError, match=r"module\.stop=control: dev rows with labels above 0 and below 0"):
        replace(FIT, stop="control")(tiny_model, one_sided, STEER_CONFIG)


@pytest.mark.parametrize(
    ("steps", "lr", "message"),
    [(30, 1e30, r"loss is (nan|inf) at step \d+"), (1, 1e37, "dev loss is (nan|inf) at step 1")],
)
def test_a_loss_that_is_not_finite_stops_with_advice(
    tiny_model: LanguageModel, steps: int, lr: float, message: str
) -> None:
    with pytest.raises(InputError, match=f"{message}.*: try a lower optimizer.lr"):
        GradientFit(steps=steps, batch_size=4, lr=lr)(tiny_model, corpus(), STEER_CONFIG)


def test_weights_that_are_not_finite_are_not_saved(tiny_model: LanguageModel) -> None:
    module = SteerModule(Steer(32, dimensions=["tone"], rank=4), tiny_model.head)
    assert module.best() is module.steer
    module.steer.p1.data[0, 0, 0] = torch.nan
    with pytest.raises(InputError, match=r"weights are not finite: try a lower optimizer.lr"):
        module.best()


def test_the_loss_is_per_token_of_the_text_and_padding_never_counts(tiny_model: LanguageModel) -> None:
    rows = [
        Row("The film is", 1.0),
        Row("This is not the worst thing that could happen to people", -0.5),
        Row("I", 1.0),
    ]
    steer = Steer(32, dimensions=["tone", "dummy"], rank=4, epsilon=0.1, init_std=0.5)
    batch = SteerDataModule(Corpus("x", tuple(rows)), tiny_model, dimensions=2).batch(rows)
    ours = SteerModule(steer, tiny_model.head).nll(batch)
    expected = []
    for row in rows:
        ids = tiny_model.tokenizer(row.text, return_tensors="pt")["input_ids"]
        hidden = tiny_model.hidden(ids, torch.ones_like(ids)).clone()
        steered = steer(hidden, torch.tensor([[row.label, 1.0]]))
        expected.append(F.cross_entropy(tiny_model.head(steered)[0, :-1], ids[0, 1:], reduction="none"))
    torch.testing.assert_close(ours, torch.cat(expected), rtol=1e-4, atol=1e-4)


def test_features_do_not_depend_on_the_texts_beside_them(model: LanguageModel) -> None:
    texts = ["The film is", "people who learn to live with what they have lost, far too long", "and why", "a"]
    extract = FeatureExtractor(model)
    extract.tokens = 64
    together = extract(texts)
    alone = [FeatureExtractor(model)([text]) for text in texts]
    assert together.lengths.tolist() == [len(features.targets_N) for features in alone]
    torch.testing.assert_close(together.hidden_ND, torch.cat([f.hidden_ND for f in alone]), rtol=1e-4, atol=1e-4)
    assert torch.equal(together.targets_N, torch.cat([f.targets_N for f in alone]))


def test_batches_are_a_function_of_seed_and_step_and_use_every_row_equally() -> None:
    batches = [batch_rows(t, rows=10, batch_size=4, seed=1) for t in range(25)]
    counts = [sum(batch.count(row) for batch in batches) for row in range(10)]
    assert counts == [10] * 10
    assert batches[7] == batch_rows(7, rows=10, batch_size=4, seed=1)
    assert batches[:5] != batches[5:10], "each round has an order of its own"
    assert batches != [batch_rows(t, rows=10, batch_size=4, seed=2) for t in range(25)]
    assert all(len(batch_rows(0, rows=3, batch_size=8, seed=s)) == 8 for s in range(3))


def test_the_origin_says_what_made_the_steer(tiny_model: LanguageModel) -> None:
    _, provenance = FIT(tiny_model, corpus(), STEER_CONFIG, seed=3)
    assert provenance.fingerprint == tiny_model.head.fingerprint()
    sizes = {"train_rows": 60, "dev_rows": 20, "removed": {}, "text_rule": 2}
    assert provenance.corpus == {"name": "toy", "digest": corpus().digest(), "source": corpus().digest(), **sizes}
    assert provenance.seed == 3
    assert [step for step, _ in provenance.training["curve"]["train"]] == list(range(1, 21))
    assert [step for step, _ in provenance.training["curve"]["dev"]] == [6, 12, 18]


def test_a_fit_on_fewer_rows_is_one_on_a_subset_of_the_corpus_and_says_so(tiny_model: LanguageModel) -> None:
    counted = replace(corpus(), removed={"duplicates": 3, "overlaps": 1})
    few, provenance = replace(FIT, rows=10)(tiny_model, counted, STEER_CONFIG, seed=3)
    subset = counted.subset(10, seed=3)
    expected, _ = FIT(tiny_model, subset, STEER_CONFIG, seed=3)
    assert torch.equal(few.p1, expected.p1)
    sizes = {"train_rows": 10, "dev_rows": 20, "removed": {"duplicates": 3, "overlaps": 1}, "text_rule": 2}
    assert provenance.corpus == {"name": "toy", "digest": subset.digest(), "source": corpus().digest(), **sizes}
    assert provenance.training["rows"] == 10


def test_a_checkpoint_holds_no_language_model(tmp_path: Path, tiny_model: LanguageModel) -> None:
    FIT(tiny_model, corpus(), STEER_CONFIG, environment=FitEnvironment(folder=tmp_path))
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert set(state) == {"weights.p1", "weights.p2", "best_weights.p1", "best_weights.p2", "best_loss"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, r"data\.batch_size=0: an integer from 1 to 65536 expected"),
        ({"batch_size": 10**12}, r"data\.batch_size=1000000000000: an integer from 1 to 65536 expected"),
        ({"dev_rows": 0}, r"data\.dev_rows=0: an integer of 1 or more expected"),
        ({"max_length": 1}, r"data\.max_length=1: an integer of 2 or more expected"),
        ({"rows": 1}, r"data\.rows=1: an integer of 2 or more expected"),
    ],
)
def test_impossible_sizes_are_refused_by_name(tiny_model: LanguageModel, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SteerDataModule(corpus(), tiny_model, dimensions=2, **options)


def test_a_batch_that_does_not_fit_in_memory_is_refused_before_any_hidden_state(
    tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = sum(len(tiny_model.tokenize([row.text])[0]) for row in corpus().train) / len(corpus().train)
    bytes_of_text = tokens * 32 * 4  # width, float32
    monkeypatch.setattr("lmsteer.data.datamodule.free_memory", lambda device: int(2001 * bytes_of_text))
    monkeypatch.setattr(LanguageModel, "hidden", None)
    SteerDataModule(corpus(), tiny_model, dimensions=2, batch_size=2000)
    message = r"data\.batch_size=2002: .* take about .* GiB, .* are free on cpu; at most 200[01] texts fit"
    with pytest.raises(InputError, match=message):
        SteerDataModule(corpus(), tiny_model, dimensions=2, batch_size=2002)


@pytest.mark.parametrize(("batch_size", "batches"), [(1, 25), (32, 25), (64, 25), (65, 24), (800, 2), (5000, 1)])
def test_few_large_batches_are_computed_together(tiny_model: LanguageModel, batch_size: int, batches: int) -> None:
    assert SteerDataModule(corpus(), tiny_model, dimensions=2, batch_size=batch_size).prefetch == batches


@pytest.mark.parametrize("label", [1.0, -0.5, 0.0])
@pytest.mark.parametrize("rows", [None, 2])
def test_labels_that_teach_nothing_are_refused(tiny_model: LanguageModel, label: float, rows: int | None) -> None:
    train = tuple(replace(row, label=label) for row in corpus().train)
    alone = replace(corpus(), train=train)  # the dev rows have both labels
    message = rf"corpus toy: all {rows or 60} train rows have the label {label:g}, .*two or more labels expected"
    with pytest.raises(InputError, match=message):
        replace(FIT, rows=rows)(tiny_model, alone, STEER_CONFIG)


def test_one_row_of_another_label_is_enough(tiny_model: LanguageModel) -> None:
    rows = (*(replace(row, label=1.0) for row in corpus().train), Row("the last one", 0.5))
    _, provenance = FIT(tiny_model, replace(corpus(), train=rows), STEER_CONFIG)
    assert provenance.corpus["train_rows"] == len(rows)


@pytest.mark.parametrize("name", ["max_steps", "val_check_interval"])
def test_impossible_numbers_of_steps_are_refused_by_name(name: str) -> None:
    with pytest.raises(InputError, match=rf"trainer\.{name}=0: an integer of 1 or more expected"):
        GradientSolver(trainer={name: 0})


@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan")])
def test_an_impossible_regularization_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"steer\.regularization="):
        SteerConfig(name="tone", regularization=value)


def test_a_damaged_checkpoint_is_refused_by_name(tmp_path: Path, tiny_model: LanguageModel) -> None:
    FIT(tiny_model, corpus(), STEER_CONFIG, environment=FitEnvironment(folder=tmp_path))
    checkpoint = tmp_path / "last.ckpt"
    whole = checkpoint.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"not a checkpoint"):
        checkpoint.write_bytes(damaged)
        with pytest.raises(InputError, match=r"last\.ckpt: damaged checkpoint"):
            FIT(tiny_model, corpus(), STEER_CONFIG, environment=FitEnvironment(folder=tmp_path))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"train": (Row("I", 1.0), Row("a", -1.0))}, "no text is longer than one token"),
        ({"dev": (Row("I", 1.0), Row("a", -1.0))}, "no text is longer than one token"),
        ({"train": (), "dev": ()}, "corpus toy has no rows to learn from"),
    ],
)
def test_rows_that_teach_nothing_are_refused(
    tiny_model: LanguageModel, rows: dict[str, tuple[Row, ...]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        FIT(tiny_model, replace(corpus(), **rows), STEER_CONFIG)
