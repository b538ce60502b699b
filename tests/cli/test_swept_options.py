"""Promises about what a sweep varies: which options have several values, and whether its jobs read the same rows."""

import pytest
from omegaconf import OmegaConf

from lmsteer.cli.swept_options import measured_by_seed, set_swept, shares_rows, smallest_seed, swept_options


@pytest.mark.parametrize(
    ("params", "overrides", "expected"),
    [
        (None, ["seed=0,1", "steer.rank=4"], {"seed"}),
        ({"steer.rank": "1,4", "seed": "0,1"}, ["seed=3"], {"steer.rank"}),
        ({"seed": "0,1,2"}, ["steer.epsilon=1e-3,1e-2", "model=tiny"], {"seed", "steer.epsilon"}),
        ({}, ["steer.rank=int(interval(4, 64))", "data.rows=range(10,40,10)"], {"steer.rank", "data.rows"}),
        ({}, ["+model.name=a,b", "protocol.strengths=[1,2]"], {"model.name"}),
    ],
)
def test_an_option_is_swept_if_it_has_several_values_and_the_command_line_counts(
    params: dict[str, str] | None, overrides: list[str], expected: set[str]
) -> None:
    config = OmegaConf.create({"hydra": {"sweeper": {"params": params}, "overrides": {"task": overrides}}})
    assert swept_options(config) == expected


@pytest.mark.parametrize(
    ("swept", "batches", "one_pass"),
    [
        ((), False, False),
        (("seed",), False, True),
        (("seed", "data.rows"), False, True),
        (("model",), False, False),
        (("model.id", "corpus", "corpus.path", "steer"), False, False),
        (("protocol.prompts.own.n", "scorer@protocol.scorers"), False, False),
        (("steer.rank", "seed"), True, True),
        (("optimizer.lr",), True, True),
        (("protocol.strengths",), True, True),
        (("trainer.max_steps", "model"), True, True),
    ],
)
def test_jobs_read_the_same_rows_if_an_option_that_leaves_them_is_swept(
    swept: tuple[str, ...], batches: bool, one_pass: bool
) -> None:
    set_swept(swept)
    try:
        assert (shares_rows(seed_changes_rows=True), shares_rows(seed_changes_rows=False)) == (batches, one_pass)
    finally:
        set_swept(())


@pytest.mark.parametrize(
    ("params", "overrides", "expected"),
    [
        ({"seed": "2,0,1"}, [], 0),
        (None, ["seed=range(3,6)"], 3),
        (None, ["seed=shuffle(4,3)"], 3),
        ({"seed": "0,1"}, ["seed=5"], None),
        (None, ["seed=interval(0,9)"], None),
        (None, ["seed=a,b"], None),
        (None, ["steer.rank=1,2"], None),
    ],
)
def test_a_fit_without_a_seed_is_measured_by_the_smallest_of_the_sweep(
    params: dict[str, str] | None, overrides: list[str], expected: int | None
) -> None:
    config = OmegaConf.create({"hydra": {"sweeper": {"params": params}, "overrides": {"task": overrides}}})
    assert smallest_seed(config) == expected
    set_swept((), smallest_seed(config))
    try:
        assert measured_by_seed(7) == (7 if expected is None else expected)
    finally:
        set_swept(())
