"""The published behaviours, the split of the paper, and behaviours of one's own."""

import itertools
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.test_extras import run_without
from tests.test_library import modules_after

from lmsteer.behaviours import CATEGORIES, HELD_OUT, NAMES, Behaviour, combinations, find_behaviour, verify
from lmsteer.behaviours.language import in_language
from lmsteer.behaviours.letter_case import letter_case
from lmsteer.behaviours.sentences import sentence_count
from lmsteer.behaviours.word_count import word_count
from lmsteer.errors import InputError


def test_there_are_seventeen_in_four_categories_and_one_of_each_is_held_out() -> None:
    assert len(NAMES) == len(set(NAMES)) == 17
    assert [len(names) for names in CATEGORIES.values()] == [5, 4, 3, 5]
    assert [len(HELD_OUT & set(names)) for names in CATEGORIES.values()] == [1, 1, 1, 1]
    for category, names in CATEGORIES.items():
        assert {(find_behaviour(name).name, find_behaviour(name).category) for name in names} == {
            (name, category) for name in names
        }


@pytest.mark.parametrize(("k", "seen", "unseen"), [(1, 13, 4), (2, 62, 45), (3, 128, 167), (4, 96, 204)])
def test_combinations_are_as_many_as_published(k: int, seen: int, unseen: int) -> None:
    found = combinations(k)
    assert (len(found.seen), len(found.unseen)) == (seen, unseen)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_combinations_are_those_of_all_sets_of_names(k: int) -> None:
    category = {name: category for category, names in CATEGORIES.items() for name in names}
    every = [names for names in itertools.combinations(NAMES, k) if len({category[name] for name in names}) == k]
    found = combinations(k)
    assert sorted(found.seen + found.unseen) == sorted(every)
    assert all(not HELD_OUT & set(names) for names in found.seen)
    assert all(HELD_OUT & set(names) for names in found.unseen)


@pytest.mark.parametrize("k", [0, 5, -1])
def test_other_combinations_are_refused(k: int) -> None:
    with pytest.raises(InputError, match=rf"combinations of {k} behaviours: 1 to 4 expected"):
        combinations(k)


@pytest.mark.parametrize("name", ["", "language-en", "words-50-10", "case-Title", "sentences-6", "sentences", "x\ny"])
def test_an_unknown_name_is_refused_in_one_line_with_those_allowed(name: str) -> None:
    with pytest.raises(InputError, match=r"behaviour '.*': unknown; allowed are language-es, ") as caught:
        verify(name, "text")
    assert "\n" not in str(caught.value)
    assert all(known in str(caught.value) for known in NAMES)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: word_count(minimum=5, maximum=4), "words: minimum=5, maximum=4"),
        (lambda: word_count(minimum=0, maximum=4), "words: minimum=0, maximum=4"),
        (lambda: sentence_count(count=0), "sentences: count=0"),
        (lambda: letter_case(case="Title"), "case: Title; one of lower, upper, title"),  # type: ignore[arg-type]
        (lambda: in_language(code="nl"), "language: nl; one of de, en, es"),  # type: ignore[arg-type]
        (lambda: Behaviour(name="a b", category="c", verify=bool), "name='a b'"),
        (lambda: Behaviour(name="a", category="", verify=bool), "category=''"),
        (lambda: Behaviour(name="a@b", category="c", verify=bool), "name='a@b'"),
    ],
)
def test_what_is_no_behaviour_is_refused(build: object, reason: str) -> None:
    assert callable(build)
    with pytest.raises(InputError, match=f"behaviour:? {reason}") as caught:
        build()
    assert "\n" not in str(caught.value)


def test_behaviours_beyond_the_published_ones_have_names_of_the_same_form() -> None:
    built = [word_count(minimum=1, maximum=3), sentence_count(count=9), in_language(code="en")]
    assert [behaviour.name for behaviour in built] == ["words-1-3", "sentences-9", "language-en"]
    assert built[2].verify("Where is the library?")


def test_the_example_of_the_documentation_gives_what_it_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "behaviours.md").read_text(encoding="utf-8")
    example = page[page.index("    from lmsteer") : page.index("`language-…` needs")]
    names: dict[str, object] = {}
    compared = 0
    for line in textwrap.dedent(example).split("\n"):
        code, _, comment = line.partition("  # ")
        if " = " in code or code.startswith("from"):
            exec(code, names)
            code = code.partition(" = ")[0]
        if comment:
            assert eval(code, names) == eval(comment.partition(":")[0])
            compared += 1
    assert compared == 4


def test_a_package_is_imported_by_the_verifier_of_a_language_only() -> None:
    others = "all(verify(name, 'one text.') in (True, False) for name in NAMES if not name.startswith('language'))"
    code = f"from lmsteer.behaviours import *; assert {others}; find_behaviour('language-es'); combinations(2)"
    assert not modules_after(code) & {"py3langid", "numpy", "torch", "hydra"}
    assert "py3langid" in modules_after("from lmsteer.behaviours import verify; verify('language-es', '')")
    assert (
        "lmsteer.behaviours"
        not in subprocess.run(
            [sys.executable, "-c", "import lmsteer, sys; print(*sys.modules)"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
    )


def test_a_missing_package_is_named_with_its_extra_in_one_line() -> None:
    code = (
        "from lmsteer.behaviours import *\nassert verify('case-lower', 'small')\n"
        "try: verify('language-es', 'hola')\nexcept ImportError as error: print(error)"
    )
    done = run_without({"py3langid"}, code)
    assert done.stdout == "behaviour language needs py3langid; pip install 'lmsteer[behaviours]'\n", done.stderr
