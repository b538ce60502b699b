"""A protocol that cannot be measured is refused when it is built."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.protocol import Protocol


class Zero:
    revision = ""
    reserved: frozenset[str] = frozenset()

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, texts: Any) -> Tensor:
        return torch.zeros(len(texts))


@pytest.mark.parametrize("metric", ["", "a b", "a@b", "perplexity", "dist_1"])
def test_a_metric_without_a_name_of_its_own_is_refused(metric: str) -> None:
    with pytest.raises(InputError, match=r"protocol\.metric="):
        Protocol(name="p", metric=metric)


@pytest.mark.parametrize("names", [("",), ("a", "a"), ("a@b",)])
def test_scorers_without_names_of_their_own_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=r"protocol\.scorers: names"):
        Protocol(name="p", metric="tone", scorers=[Zero(name) for name in names])


def test_the_plain_model_comes_first_and_the_dummy_only_where_it_is_on() -> None:
    protocol = Protocol(name="p", metric="tone", strengths=[5, -5], scorers=[Zero("a"), Zero("b")])
    assert protocol.settings("tone") == [{}, {"tone": -5.0}, {"tone": 5.0}]
    with_dummy = Protocol(name="p", metric="tone", strengths=[5], dummy=1.0)
    assert with_dummy.settings("tone") == [{}, {"tone": 5.0, "dummy": 1.0}]
