"""The examples in docstrings work, and every public name has one."""

import doctest
import importlib
from pathlib import Path

import pytest

import lmsteer

SOURCE = Path(lmsteer.__file__).parent
WITH_EXAMPLES = [
    ".".join(["lmsteer", *path.relative_to(SOURCE).with_suffix("").parts])
    for path in sorted(SOURCE.rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_the_examples_of_a_module_give_what_they_say(module: str) -> None:
    results = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert results.attempted
    assert not results.failed


@pytest.mark.parametrize("name", sorted({*lmsteer.__all__} - {"smollm2"}))  # which takes seconds to load
def test_every_public_name_has_an_example_that_runs(name: str) -> None:
    docstring = getattr(lmsteer, name).__doc__
    examples = doctest.DocTestParser().get_examples(docstring)
    assert any(not example.options.get(doctest.SKIP) for example in examples), f"lmsteer.{name} has no example"
