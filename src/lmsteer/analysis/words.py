"""Find the tokens of a vocabulary that are words."""

from collections import Counter
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from lmsteer.models.token_forms import token_forms

SHORTEST = 3
"""Minimum number of letters of a word."""


def whole_words(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> dict[int, str]:
    """Return the word, in lower case, of each token that is a word in ``texts``.

    Such a token begins a word, has only letters, at least three, and in the texts it is the whole word at least as
    often as the first part of a longer one. (The vocabulary alone does not distinguish words from parts of words.)
    """
    forms = {token: form.decode("utf-8", "replace") for token, form in token_forms(tokenizer).items()}
    words = {token: form[1:] for token, form in forms.items() if form.startswith(" ") and form[1:].isalpha()}
    alone, continued = Counter[int](), Counter[int]()
    for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]:
        for token, follower in zip(ids, [*ids[1:], None], strict=True):
            further = follower is not None and forms.get(follower, "")[:1].isalpha()
            (continued if further else alone)[token] += 1
    return {
        token: word.lower()
        for token, word in words.items()
        if len(word) >= SHORTEST and alone[token] and alone[token] >= continued[token]
    }


def visible_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Return the text of every token, with spaces and control characters made visible."""
    return {token: _visible(form) for token, form in token_forms(tokenizer).items()}


def _visible(form: bytes) -> str:
    text = form.decode("utf-8", "backslashreplace").replace(" ", "␣")
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
