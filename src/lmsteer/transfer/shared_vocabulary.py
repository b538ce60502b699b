"""Tokens of two vocabularies that stand for the same piece of text."""

from __future__ import annotations

from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.token_forms import BYTE_TOKEN, is_uncased, token_forms


def shared_tokens(source: LanguageModel, target: LanguageModel) -> tuple[list[int], list[int]]:
    """Token ids of ``source`` and of ``target`` that stand for the same pieces of text, side by side.

    Where one of the vocabularies knows lower case only, case does not count, but the lower-case token comes first.

    Raises:
        InputError: If there are none.
    """
    uncased = is_uncased(source.tokenizer) or is_uncased(target.tokenizer)
    ours, theirs = _by_form(source, uncased), _by_form(target, uncased)
    shared = [form for form in ours if form in theirs]
    if not shared:
        raise InputError(
            f"models {source.name} ({len(ours):,} tokens) and {target.name} ({len(theirs):,} tokens) have no token in "
            "common; a steer moves only between vocabularies that share words"
        )
    return [ours[form] for form in shared], [theirs[form] for form in shared]


def _by_form(model: LanguageModel, uncased: bool) -> dict[bytes, int]:
    """The token of each form: the first one that has it, and one that is no lone byte before one that is."""
    forms = {token: form for token, form in token_forms(model.tokenizer).items() if token < model.head.vocabulary}
    written = model.tokenizer.convert_ids_to_tokens(list(forms))
    lone = {token for token, text in zip(forms, written, strict=True) if BYTE_TOKEN.fullmatch(text)}
    found: dict[bytes, int] = {}
    folded = {token: form.lower() if uncased else form for token, form in forms.items()}
    for token in sorted(forms, key=lambda token: (token in lone, forms[token] != folded[token], token)):
        found.setdefault(folded[token], token)
    return dict(sorted(found.items(), key=lambda item: item[1]))
