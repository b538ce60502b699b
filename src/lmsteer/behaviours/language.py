"""Verify the language of a text with py3langid."""

import re
import unicodedata
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, get_args

from lmsteer.behaviours.behaviour import Behaviour
from lmsteer.errors import InputError
from lmsteer.extras import explain_missing_extra

Language = Literal["de", "en", "es", "fr", "it", "pt"]
ADDRESS = re.compile(r"(?:https?://|www\.)\S+|(?<!\S)\S+@\S+\.\w+")
"""Addresses of pages and of persons, which have no language."""


def in_language(*, code: Language) -> Behaviour:
    """Return the behaviour of texts in a language, by ``detect_language``.

    The package is imported, and its model read, when the first text is verified.

    Args:
        code: Code of the language, of ISO 639-1.

    Raises:
        InputError: If it is none of the six languages that are told apart.

    Example:
        >>> german = in_language(code="de")
        >>> german.name, german.verify("WO IST DIE BIBLIOTHEK?")
        ('language-de', True)
    """
    if code not in get_args(Language):
        raise InputError(f"behaviour language: {code}; one of {', '.join(get_args(Language))} expected")
    verify = partial(_is_in, code=code)
    return Behaviour(name=f"language-{code}", category="language", verify=verify, revision=_revision())


def detect_language(text: str) -> str | None:
    """Return the most likely of German, English, Spanish, French, Italian and Portuguese.

    Case has no influence: texts are read in small letters. Addresses are left out.

    Returns:
        The code of the language; None if not more than half of the letters are Latin, or there are none.

    Raises:
        MissingExtraError: If py3langid is not installed.

    Example:
        >>> detect_language("Où est la bibliothèque ?"), detect_language("3.14")
        ('fr', None)
    """
    identifier = _identifier()  # first, so that a missing package is found by any text
    text = ADDRESS.sub(" ", unicodedata.normalize("NFC", text)).lower()
    letters = [character for character in text if character.isalpha()]
    if 2 * sum(_is_latin(letter) for letter in letters) <= len(letters):
        return None
    return str(identifier.classify(text)[0])


@cache
def _identifier() -> Any:
    """Read the model of py3langid, and let it choose among six languages only."""
    with explain_missing_extra("behaviour language"):
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(get_args(Language))
    return identifier


@cache
def _revision() -> str:
    """Name the version of the package, which decides."""
    try:
        return f"py3langid {version('py3langid')}"
    except PackageNotFoundError:
        return "py3langid"


@cache
def _is_latin(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith("LATIN")


def _is_in(text: str, *, code: Language) -> bool:
    return detect_language(text) == code
