"""Instructions name what they ask for, in several wordings each."""

import pytest

from lmsteer.behaviours import CATEGORIES, NAMES, Behaviour, find_behaviour
from lmsteer.behaviours.instructions import ask, count, instruction, instructions_for
from lmsteer.behaviours.language import in_language
from lmsteer.behaviours.sentences import sentence_count
from lmsteer.errors import InputError

WORDS = {
    "language-es": {"Spanish", "español"},
    "language-fr": {"French", "français"},
    "language-it": {"Italian", "italiano"},
    "language-pt": {"Portuguese", "português"},
    "language-de": {"German", "Deutsch"},
    "case-lower": {"lowercase"},
    "case-upper": {"UPPERCASE"},
    "case-title": {"Title Case"},
    "sentences-1": {"one sentence"},
    "sentences-2": {"two sentences"},
    "sentences-3": {"three sentences"},
    "sentences-4": {"four sentences"},
    "sentences-5": {"five sentences"},
}


@pytest.mark.parametrize("name", NAMES)
def test_every_wording_is_another_one_and_says_what_is_asked_for(name: str) -> None:
    wordings = [instruction(name, index) for index in range(count(name))]
    assert len(set(wordings)) == len(wordings) == 10
    for wording in wordings:
        assert wording.endswith(".")
        assert not set("{}") & set(wording)
        numbers = name.split("-")[1:] if name.startswith("words") else []
        assert all(number in wording for number in numbers)
        assert numbers or any(word in wording for word in WORDS[name])


def test_behaviours_of_a_category_differ_in_every_wording() -> None:
    for names in CATEGORIES.values():
        for index in range(10):
            assert len({instruction(name, index) for name in names}) == len(names)


def test_numbers_beyond_the_last_wording_begin_again() -> None:
    assert instruction("case-upper", 13) == instruction("case-upper", 3)


def test_a_behaviour_of_ones_own_has_its_own_instructions_and_its_category_has_none() -> None:
    own = Behaviour(name="question", category="form", verify=bool, instructions=("Ask back.", "Reply by a question."))
    assert instructions_for(own) == ("Ask back.", "Reply by a question.")
    with pytest.raises(InputError, match=r"behaviour question: it has no instructions; .*instructions="):
        instructions_for(Behaviour(name="question", category="form", verify=bool))
    with pytest.raises(InputError, match=r"behaviour x: instructions=\[' '\]: texts expected"):
        Behaviour(name="x", category="form", verify=bool, instructions=(" ",))


def test_numbers_and_languages_beyond_the_published_ones_are_filled_in() -> None:
    assert "9 sentences" in instructions_for(sentence_count(count=9))[0]
    assert "English" in instructions_for(in_language(code="en"))[0]


def test_an_unknown_behaviour_is_refused() -> None:
    for function in (count, lambda name: instruction(name, 0)):
        with pytest.raises(InputError, match=r"behaviour 'case-Title': unknown"):
            function("case-Title")


def test_instructions_follow_the_question_in_its_turn() -> None:
    assert ask("Why?", "Be brief.", "In Italian.") == "Why? Be brief. In Italian."
    assert ask("Why?") == "Why?"
    assert find_behaviour("case-title").instructions == ()
