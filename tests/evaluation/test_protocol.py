"""A protocol that cannot be measured is refused when it is built."""

from types import SimpleNamespace
from typing import Any

import pytest

from lmsteer.data.prompts.selection import PromptSet
from lmsteer.errors import InputError
from lmsteer.evaluation.protocol import Protocol
from lmsteer.records import Prompt


@pytest.mark.parametrize("metric", ["", "a b", "a@b", "perplexity", "dist_1"])
def test_a_metric_without_a_name_of_its_own_is_refused(metric: str) -> None:
    with pytest.raises(InputError, match=r"protocol\.metric="):
        Protocol(name="p", metric=metric)


@pytest.mark.parametrize("names", [("",), ("a", "a"), ("a@b",)])
def test_scorers_without_names_of_their_own_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=r"protocol\.scorers: names"):
        Protocol(name="p", metric="tone", scorers={str(i): SimpleNamespace(name=name) for i, name in enumerate(names)})


def test_sets_are_steered_both_ways_or_one() -> None:
    sets = {"a": lambda: None, "b": lambda: None}
    protocol = Protocol(name="p", metric="tone", prompts=sets, strengths=[5, -5], one_way={"b": "negative"})  # type: ignore[arg-type]
    assert [protocol.is_steered("a", 5), protocol.is_steered("a", -5)] == [True, True]
    assert [protocol.is_steered("b", 5), protocol.is_steered("b", -5)] == [False, True]
    assert protocol.directions() == [-1, 1]


@pytest.mark.parametrize("one_way", [{"c": "positive"}, {"a": "up"}])
def test_a_direction_of_no_set_or_of_no_kind_is_refused(one_way: Any) -> None:
    with pytest.raises(InputError, match=r"protocol\.one_way\..*prompt set of this protocol \(a\)"):
        Protocol(name="p", metric="tone", prompts={"a": lambda: None}, one_way=one_way)  # type: ignore[dict-item, return-value]


def test_prompt_sets_of_one_name_are_refused() -> None:
    def load() -> PromptSet:
        return PromptSet("same", (Prompt("1", "x"),))

    with pytest.raises(InputError, match=r"prompt sets have the names \['same', 'same'\]"):
        Protocol(name="p", metric="tone", prompts={"a": load, "b": load}).prompt_sets()
    with pytest.raises(InputError, match="no prompts"):
        Protocol(name="p", metric="tone").prompt_sets()


def test_plain_prompts_are_asked_where_the_protocol_says_so() -> None:
    sets = {"a": lambda: PromptSet("set", (Prompt("1", "x"),), frozenset({"row"}))}
    (asked,) = Protocol(name="p", metric="tone", prompts=sets, ask="Go on: {text}").prompt_sets().values()
    assert [prompt.content for prompt in asked.prompts] == [(("user", "Go on: x"),)]
    assert asked.reserved == frozenset({"row"})
    for request in ("Go on", "{text} {text}", ""):
        with pytest.raises(InputError, match=r"protocol\.ask=.*\{text\} once"):
            Protocol(name="p", metric="tone", ask=request)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kl": 0.0},
        {"kl": [0.3, 0.0]},
        {"kl": [0.3, 0.1, 0.3]},
        {"perplexity": [1.0, 2.0]},
        {"perplexity": 1.0},
        {"perplexity": float("inf")},
        {"samples": 0},
        {"calibration_prompts": 0},
        {"seed": -1},
        {"legacy_perplexity_limit": 1.0},
        {"dummy": float("nan")},
    ],
)
def test_values_out_of_range_are_refused_by_name(wrong: Any) -> None:
    (name,) = wrong
    with pytest.raises(InputError, match=rf"protocol\.{name}="):
        Protocol(name="p", metric="tone", **wrong)


def test_budgets_are_named_by_kind_and_value_and_a_list_is_one_for_each() -> None:
    protocol = Protocol(name="p", metric="tone", kl=[0.1, 0.3, 0.6], perplexity=[1.5, 2])
    names = ["kl 0.1", "kl 0.3", "kl 0.6", "perplexity ×1.5", "perplexity ×2"]
    assert [budget.label for budget in protocol.budgets()] == names
    single = Protocol(name="p", metric="tone", kl=0.3, perplexity=2)
    assert [budget.label for budget in single.budgets()] == ["kl 0.3", "perplexity ×2"]
    assert Protocol(name="p", metric="tone").budgets() == Protocol(name="p", metric="tone", kl=[]).budgets() == []
