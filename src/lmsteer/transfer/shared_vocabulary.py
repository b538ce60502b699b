"""Tokens of two vocabularies with the same text."""

from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.token_forms import BYTE_TOKEN, is_uncased, token_forms


def shared_tokens(source: LanguageModel, target: LanguageModel) -> tuple[list[int], list[int]]:
    """Return the ids of ``source`` and of ``target`` for tokens with the same text, in the same order.

    If one of the vocabularies has only lower case, case is ignored; lower-case tokens are preferred.

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
    """Map each form to its first token; a token for a single byte is used only if there is no other."""
    forms = {token: form for token, form in token_forms(model.tokenizer).items() if token < model.head.vocabulary}
    entries = model.tokenizer.convert_ids_to_tokens(list(forms))
    single_bytes = {token for token, entry in zip(forms, entries, strict=True) if BYTE_TOKEN.fullmatch(entry)}
    tokens: dict[bytes, int] = {}
    folded = {token: form.lower() if uncased else form for token, form in forms.items()}
    for token in sorted(forms, key=lambda token: (token in single_bytes, forms[token] != folded[token], token)):
        tokens.setdefault(folded[token], token)
    return dict(sorted(tokens.items(), key=lambda item: item[1]))
