"""Which texts are the same, in many scripts: the rule on which all splits hang."""

import hashlib
import re
import sys
import unicodedata
from itertools import combinations

import pytest

from lmsteer.data.corpus import TEXT_RULE, hash_fraction, normalize, split_by_hash, text_key
from lmsteer.records import Row

SENTENCES = {
    "Latin": "Crème brûlée, naïve Zoë!",
    "Vietnamese": "Tiếng Việt có nhiều dấu.",
    "Turkish": "Işık İstanbul'da, ığdır.",
    "Czech": "Příliš žluťoučký kůň!",
    "Greek": "Ἐν ἀρχῇ ἦν ὁ λόγος.",
    "Cyrillic": "Съешь ещё этих йогуртов.",
    "Armenian": "Բարեւ ձեզ, աշխարհ։",
    "Georgian": "გამარჯობა მსოფლიო!",
    "Hebrew": "שָׁלוֹם עוֹלָם.",
    "Arabic": "مَرْحَبًا بِالْعَالَم، أُمٌّ.",
    "Persian": "می‌خواهم کتاب بخوانم.",
    "Urdu": "یہ ایک آؤ کہانی ہے۔",
    "Devanagari": "यह कहानी क़लम की है।",
    "Bengali": "এটি একটি গল্প ড়।",
    "Gurmukhi": "ਇਹ ਇੱਕ ਕਹਾਣੀ ਸ਼ ਹੈ।",
    "Tamil": "இது ஒரு கதை கொ.",
    "Telugu": "ఇది ఒక కథ కై.",
    "Kannada": "ಇದು ಒಂದು ಕಥೆ ಕೋ.",
    "Malayalam": "ഇത് ഒരു കഥ കൊ.",
    "Sinhala": "මෙය කතාවක් කෝ.",
    "Thai": "นี่คือเรื่องที่น้ำดี",
    "Lao": "ນີ້ແມ່ນເລື່ອງນ້ຳ",
    "Tibetan": "འདི་ནི་སྒྲུང་ཡིན།",
    "Burmese": "ဒါက ပုံပြင်ပါ။ ဦး",
    "Khmer": "នេះគឺជារឿង។",
    "Ethiopic": "ይህ ታሪክ ነው።",
    "Korean": "이것은 이야기입니다.",
    "Japanese": "これはがぎぐの話です。バビブ",
    "Chinese": "这是一个故事。",
    "Mongolian": "ᠮᠣᠩᠭᠣᠯ ᠪᠢᠴᠢᠭ",
    "Cherokee": "ᎣᏏᏲ ᎡᎶᎯ",
    "Yoruba": "Ẹ káàárọ̀, ṣé dáadáa ni?",
    "Deseret": "𐐨𐑊𐐮𐑅 𐐰𐑌𐐼",
    "Hawaiian": "ʻŌlelo Hawaiʻi",
}
DIFFERENT = [
    ("दिन", "दीन"),  # day, poor: vowel signs
    ("ผิด", "ผัด"),  # wrong, fried
    ("เขา", "เข่า"),  # he, knee: a tone mark
    ("கல்", "கால்"),  # stone, leg
    ("résumé", "resume"),
    ("かき", "がき"),
    ("حَرْب", "حِرَب"),  # vowels of Arabic
    ("שָׁלוֹם", "שׁלום"),
    ("ọ̀kan", "ọkan"),
    ("가다", "각다"),
    ("й", "и"),
]
FORMS = ("NFC", "NFD")


def by_hand(text: str) -> str:
    """The rule once more, a character at a time."""
    composed = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())
    kept = [c for c in composed if unicodedata.category(c)[0] in "LN" or unicodedata.category(c) in ("Mn", "Mc")]
    return "".join(c for c in kept if "VARIATION SELECTOR" not in unicodedata.name(c, ""))


@pytest.mark.parametrize("text", SENTENCES.values(), ids=SENTENCES)
def test_a_text_is_the_same_composed_and_decomposed_with_other_spacing_and_punctuation(text: str) -> None:
    forms = [unicodedata.normalize(form, text) for form in FORMS]
    spaced = [f"  {form.replace(' ', '  ')} !?… " for form in forms]
    assert {text_key(form) for form in (*forms, *spaced)} == {text_key(text)}
    assert normalize(text) == by_hand(text)
    assert normalize(text)


def test_sentences_of_all_scripts_are_different_texts() -> None:
    assert len({text_key(text) for text in SENTENCES.values()}) == len(SENTENCES)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_words_that_differ_in_marks_are_different_texts(first: str, second: str, form: str) -> None:
    assert text_key(unicodedata.normalize(form, first)) != text_key(second)


def test_case_and_emoji_do_not_count() -> None:
    for first, second in combinations(
        ["ÉCOLE été", "école Été", "école été ❤️", "école été ❤︎", "E\u0301cole E\u0301te\u0301"], 2
    ):
        assert text_key(first) == text_key(second)


def test_texts_of_signs_alone_are_known_by_their_signs() -> None:
    assert len({text_key(text) for text in ("!?", "…", "❤️", "—")}) == 4


def test_texts_in_ascii_have_the_keys_of_the_first_rule() -> None:
    def first_rule(text: str) -> str:
        return hashlib.sha256((re.sub(r"[\W_]+", "", text.lower()) or text).encode()).hexdigest()

    printable = "".join(map(chr, range(128)))
    for text in (printable, "Century 's", "snake_case, 3.5", "!?", "", *(printable[n:] for n in range(128))):
        assert text_key(text) == first_rule(text)
    for text in ("Crème brûlée", "Съешь ещё", "这是一个故事", "გამარჯობა"):  # nor have composed letters another one
        assert text_key(text) == first_rule(text)


def test_the_rule_is_that_of_its_version() -> None:
    """Another digest is another rule, which needs another number: all splits hang on it."""
    state = hashlib.sha256()
    for text in (*SENTENCES.values(), *(word for pair in DIFFERENT for word in pair)):
        state.update(text_key(text).encode())
    assert (TEXT_RULE, state.hexdigest()[:16]) == (2, "ec2e664eca2707c8")


@pytest.mark.slow
def test_letters_digits_and_marks_are_kept_and_nothing_else() -> None:
    characters = (chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000)
    wrong = [hex(ord(c)) for c in characters if normalize(c) != by_hand(c)]
    assert wrong == []


def test_a_text_is_in_one_split_whatever_its_form() -> None:
    rows = [Row(f"{text} {n}", 1.0) for n in range(20) for text in SENTENCES.values()]
    other = [Row(unicodedata.normalize("NFD", row.text), row.label) for row in rows]
    corpus = split_by_hash("scripts", [*rows, *other], dev=0.1, test=0.2, scorer_split=0.2)
    assert corpus.removed == {"duplicates": len(rows)}
    decomposed = split_by_hash("scripts", other, dev=0.1, test=0.2, scorer_split=0.2)
    for split in ("train", "dev", "test", "scorer_split"):
        keys = [{text_key(row.text) for row in getattr(one, split)} for one in (corpus, decomposed)]
        assert keys[0] == keys[1]
    assert all(0 <= hash_fraction(row.text) < 1 for row in rows)
