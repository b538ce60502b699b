"""Promises of objectives: what a sweeper optimizes is named, directed and refused before a run begins."""

import re
from typing import Any

import pytest
import torch

from lmsteer.data.prompts.selection import PromptSet
from lmsteer.errors import InputError
from lmsteer.evaluation.objective import check_objectives, objective_values, planned_values
from lmsteer.evaluation.plan import Plan
from lmsteer.evaluation.protocol import Protocol
from lmsteer.evaluation.results import Result, ResultRow, Unreached, Value
from lmsteer.generation.sampling import Greedy
from lmsteer.models.random_models import tiny
from lmsteer.records import Prompt


class Words:
    """A scorer that is never called."""

    revision, reserved = "1", frozenset[str]()

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, texts: Any) -> torch.Tensor:
        raise AssertionError


def plan(metric: str, **options: Any) -> Plan:
    protocol = Protocol(
        name="p",
        metric=metric,
        prompts={"own": lambda: PromptSet("own", (Prompt("0", "the film"), Prompt("1", "the story")))},
        scorers={"first": Words("first"), "second": Words("second")},
        **options,
    )
    return Plan(tiny(), ("tone", "dummy"), protocol, Greedy())


def result(unreached: list[Unreached] | None = None) -> Result:
    value = Value(value=0.25, low=0.1, high=0.5, n=4, scorer="tfidf")
    rows = [
        ResultRow(model="m", method=method, seed=0, prompts="p", strength=strength, metrics={"tone": value})
        for method, strength in (("plain", {}), ("lm-steer", {"tone": 5.0}))
    ]
    return Result(protocol={"name": "p", "metric": "tone"}, rows=rows, unreached=unreached or [])


@pytest.mark.parametrize("name", ["tone/tone+5", "tone/+5"])
def test_an_objective_is_a_value_by_its_name_or_without_the_dimension(name: str) -> None:
    assert objective_values([name], result()) == (0.25,)


def test_several_objectives_are_values_in_their_order() -> None:
    curve = {"train": [[1, 9.0]], "dev": [[2, 4.0], [4, 3.0], [6, 5.0]], "control": [[2, 0.6], [4, 0.9], [6, 0.7]]}
    assert objective_values(["dev/control", "tone/+5", "dev/loss"], result(), curve) == (0.9, 0.25, 3.0)


def test_a_value_that_the_run_lacks_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(InputError, match=r"^objective=tone/-5: one of tone/plain, tone/tone\+5 expected$"):
        objective_values(["tone/-5"], result())
    with pytest.raises(InputError, match=r"^objective=dev/loss: one of no values expected$"):
        objective_values(["dev/loss"], None)
    missing = Unreached(method="lm-steer", budget="kl 0.3", direction=1, reason="too far")
    with pytest.raises(InputError, match=r"expected \(not reached: kl 0\.3 in the direction \+1\)$"):
        objective_values(["tone/+ kl 0.3"], result([missing]))


def test_planned_names_are_metrics_of_all_scorers_at_all_strengths_and_budgets_in_both_directions() -> None:
    names = planned_values(plan("positivity", strengths=(-2.0, 5.0), dummy=1.0, kl=0.3))
    settings = {name.partition("/")[2] for name in names if name.startswith("positivity/")}
    assert settings == {"plain", "tone-2,dummy+1", "tone+5,dummy+1", "- kl 0.3", "+ kl 0.3"}
    metrics = {name.partition("/")[0] for name in names if name.endswith("/plain")}
    assert metrics == {
        *("positivity", "positivity@second", "perplexity", "perplexity_corpus", "dist_1", "dist_2", "dist_3")
    }
    assert "cost/kl/tone+5,dummy+1" in names
    assert "cost/kl/plain" not in names


@pytest.mark.parametrize(
    ("metric", "name", "better"),
    [
        ("positivity", "positivity/+5", "maximize"),
        ("positivity", "positivity@second/+5", "maximize"),
        ("positivity", "positivity/-5", "minimize"),
        ("positivity", "perplexity/-5", "minimize"),
        ("positivity", "positivity/- kl 0.3", "minimize"),
        ("positivity", "cost/kl/+5", "minimize"),
        ("toxicity", "expected_maximum_toxicity/+5", "minimize"),
        ("toxicity", "toxicity_probability/-5", "maximize"),
        ("positivity", "dev/loss", "minimize"),
        ("positivity", "dev/control", "maximize"),
        ("tone", "tone/+5", None),
        ("tone", "dist_2/+5", None),
    ],
)
def test_a_sweeper_that_looks_for_the_worst_is_refused(metric: str, name: str, better: str | None) -> None:
    directions = ["minimize", "maximize"]
    for direction in directions:
        if better in (None, direction):
            check_objectives([name], plan(metric, kl=0.3), [direction])
        else:
            message = rf"^objective={re.escape(name)}: hydra\.sweeper\.direction={direction} .* {better} expected$"
            with pytest.raises(InputError, match=message):
                check_objectives([name], plan(metric, kl=0.3), [direction])


def test_each_objective_has_a_direction() -> None:
    names = ["positivity/+5", "perplexity/+5"]
    check_objectives(names, plan("positivity"), ["maximize", "minimize"])
    check_objectives(names, plan("positivity"))
    with pytest.raises(InputError, match=r"hydra\.sweeper\.direction has 1; one for each expected$"):
        check_objectives(names, plan("positivity"), ["maximize"])


@pytest.mark.parametrize(
    "name", ["positivity", "positivity/+6", "positivity/+ kl 0.3", "loss", "positivity@third/+5", "/"]
)
def test_a_name_that_the_run_will_not_have_is_refused_with_all_that_it_will(name: str) -> None:
    message = rf"^objective={re.escape(name)}: one of dev/loss, dev/control, positivity/plain, .*tone\+5.* expected$"
    with pytest.raises(InputError, match=message):
        check_objectives([name], plan("positivity"))
    with pytest.raises(InputError, match=r"one of dev/loss, dev/control expected$"):
        check_objectives([name], None)
