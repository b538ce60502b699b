"""Texts that mention who somebody is: where scorers of toxicity are known to err."""

from __future__ import annotations

import re

_WORDS = (
    r"m[ae]n|males?|wom[ae]n|females?|girls?"
    r"|gays?|lesbians?|homosexuals?|bisexuals?|transgender|trans|queer|lgbtq?"
    r"|muslims?|islam(?:ic)?|christians?|catholics?|jews?|jewish|hindus?|buddhists?|atheists?"
    r"|blacks?|whites?|asians?|africans?|latin[oa]s?|hispanics?|arabs?|mexicans?|chinese|indians?"
    r"|immigrants?|refugees?|deaf|disabled"
)
"""Common neutral words for gender, orientation, religion, origin and disability; no slurs."""
_PATTERN = re.compile(rf"(?<!\w)(?:{_WORDS})(?!\w)", re.IGNORECASE)


def mentions_identity(text: str) -> bool:
    """Whether one of the words stands in the text, as a whole word."""
    return _PATTERN.search(text) is not None
