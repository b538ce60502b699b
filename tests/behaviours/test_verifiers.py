"""The verifiers agree with a careful reader on texts that were labeled by hand."""

import pytest
from tests.behaviours import labeled_case, labeled_languages, labeled_sentences, labeled_words

from lmsteer.behaviours import CATEGORIES, NAMES, verify
from lmsteer.behaviours.letter_case import is_lower, is_upper
from lmsteer.behaviours.sentences import split_sentences
from lmsteer.behaviours.word_count import count_words, word_count

TABLES = {
    "sentences": (labeled_sentences.SENTENCES, labeled_sentences.DIFFERENT),
    "case": (labeled_case.CASES, labeled_case.DIFFERENT),
    "words": (labeled_words.WORDS, labeled_words.DIFFERENT),
    "language": ([*labeled_languages.SENTENCES, *labeled_languages.TEXTS], labeled_languages.DIFFERENT),
}
FORMS = (str, str.lower, str.upper, str.title)


def verified(category: str, text: str) -> set[str]:
    """The behaviours of a category that a text has, without the name of the category."""
    return {name.split("-", 1)[1] for name in CATEGORIES[category] if verify(name, text)}


def expected(category: str, label: object) -> set[str]:
    """The same as a label says it."""
    if category == "words":
        windows = (name.split("-")[1:] for name in CATEGORIES["words"])
        return {f"{low}-{high}" for low, high in windows if int(low) <= int(str(label)) <= int(high)}
    if isinstance(label, set):
        return label
    return {str(label)} & {name.split("-", 1)[1] for name in CATEGORIES[category]}


LABELED = [(category, text, label) for category, (rows, _) in TABLES.items() for text, label in rows]
DIFFERENT = [(category, *row) for category, (_, rows) in TABLES.items() for row in rows]


def test_the_texts_are_many_and_different() -> None:
    assert len(LABELED) >= 350
    assert len({(category, text) for category, text, *_ in [*LABELED, *DIFFERENT]}) == len(LABELED) + len(DIFFERENT)


@pytest.mark.parametrize(("category", "text", "label"), LABELED)
def test_a_text_has_the_behaviours_that_a_reader_finds_and_no_other(category: str, text: str, label: object) -> None:
    assert verified(category, text) == expected(category, label)


@pytest.mark.parametrize(("category", "text", "reader", "rule", "reason"), DIFFERENT)
def test_where_the_rule_differs_from_a_reader_it_is_as_documented(
    category: str, text: str, reader: object, rule: object, reason: str
) -> None:
    assert verified(category, text) == expected(category, rule)
    assert reason


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("text", "language"), labeled_languages.SENTENCES)
def test_a_language_is_found_in_any_letter_case(form: type[str], text: str, language: str) -> None:
    assert verified("language", form(text)) == expected("language", language)


@pytest.mark.parametrize(("text", "number"), labeled_words.WORDS)
def test_words_are_counted_as_a_reader_does(text: str, number: int) -> None:
    assert count_words(text) == number


@pytest.mark.parametrize(("low", "high"), [(10, 50), (50, 70), (70, 90), (90, 120)])
def test_both_ends_of_a_window_are_inside(low: int, high: int) -> None:
    numbers = [n for n in range(130) if verify(f"words-{low}-{high}", "a " * n)]
    assert numbers == list(range(low, high + 1))
    assert word_count(minimum=low, maximum=high).name == f"words-{low}-{high}"


def test_sentences_are_parts_of_their_text_in_its_order() -> None:
    for text, number in labeled_sentences.SENTENCES:
        sentences = split_sentences(text)
        assert len(sentences) == number
        rest = "".join(text.split())
        for sentence in sentences:
            _, found, rest = rest.partition("".join(sentence.split()))
            assert found


def test_sentences_are_as_many_in_small_letters_capitals_and_title_case() -> None:
    """Where a capital decides, as after an ellipsis, they may be more than in the usual case of the text."""
    numbers = [[len(split_sentences(form(text))) for form in FORMS] for text, _ in labeled_sentences.SENTENCES]
    assert all(lower == upper == title for _, lower, upper, title in numbers)
    assert sum(usual == lower for usual, lower, *_ in numbers) >= len(numbers) - 12


def test_sentences_of_labels_join_to_their_sum() -> None:
    """Paragraphs are counted by themselves, so that numbers add up."""
    rows = labeled_sentences.PLAIN + labeled_sentences.NUMBERS_AND_SIGNS
    assert len(split_sentences("\n\n".join(text for text, _ in rows))) == sum(number for _, number in rows)


@pytest.mark.parametrize("text", [text for text, _ in labeled_case.CASES])
def test_case_is_that_of_python_where_no_ordinal_sign_is(text: str) -> None:
    if not {"ª", "º"} & set(text):
        assert (is_lower(text), is_upper(text)) == (text.islower(), text.isupper())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["", " ", "\n\t\u00a0", "...", "😀"])
def test_a_text_without_letters_and_digits_has_no_behaviour(name: str, text: str) -> None:
    assert not verify(name, text)


@pytest.mark.parametrize("name", NAMES)
def test_a_verdict_is_a_bool_and_always_the_same(name: str) -> None:
    texts = [text for _, text, _ in LABELED[::10]]
    verdicts = [verify(name, text) for text in texts]
    assert {type(verdict) for verdict in verdicts} <= {bool}
    assert [verify(name, text) for text in reversed(texts)] == verdicts[::-1]
