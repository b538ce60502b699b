"""The text of each token, to match the tokens of two vocabularies."""

import json
import re
from typing import Any

from transformers import PreTrainedTokenizerBase

BYTE_TOKEN = re.compile("<0x([0-9A-F]{2})>")


def token_forms(tokenizer: PreTrainedTokenizerBase) -> dict[int, bytes]:
    """Return the text of each token in UTF-8, including the space before a word.

    Byte-level tokens (``Ġfilm``), sentencepieces (``▁film``, ``<0xC3>``) and word-pieces (``film``, ``##s``) of one
    text have one form. Special tokens are left out. Incomplete characters stay as bytes.
    """
    settings = json.loads(tokenizer.backend_tokenizer.to_str())
    added = tokenizer.added_tokens_decoder
    special = {token for token, entry in added.items() if entry.special} | set(tokenizer.all_special_ids)
    form = _decoder(settings)
    return {
        token: added[token].content.encode() if token in added else form(text)
        for text, token in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
        if token not in special
    }


def _decoder(settings: dict[str, Any]) -> Any:
    """Return the function from a token's entry in the vocabulary to its form, by the settings of the tokenizer."""
    if settings["model"]["type"] == "WordPiece":
        prefix = settings["model"].get("continuing_subword_prefix") or "##"
        return lambda text: _word_piece(text, prefix)
    if '"ByteLevel"' in json.dumps([settings["pre_tokenizer"], settings["decoder"]]):
        byte_of = _byte_alphabet()
        return lambda text: bytes(byte for char in text for byte in byte_of.get(char, char.encode()))
    return _sentencepiece


def _sentencepiece(text: str) -> bytes:
    byte = BYTE_TOKEN.fullmatch(text)
    return bytes([int(byte[1], 16)]) if byte else text.replace("▁", " ").encode()


def _word_piece(text: str, prefix: str) -> bytes:
    """Return the form of a word-piece, with a space before letters and digits, as the vocabulary does not record it."""
    if text.startswith(prefix):
        return text.removeprefix(prefix).encode()
    return (" " * text[:1].isalnum() + text).encode()


def _byte_alphabet() -> dict[str, bytes]:
    """Return the byte of each character of a byte-level token (Radford et al., 2019).

    Printable characters of Latin-1 are themselves; the other bytes, in order, are the characters from U+0100 on.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    shifted = {chr(256 + index): bytes([byte]) for index, byte in enumerate(others)}
    return {chr(byte): bytes([byte]) for byte in printable} | shifted


def is_uncased(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the tokenizer converts all text to lower case."""
    normalizer = json.dumps(json.loads(tokenizer.backend_tokenizer.to_str())["normalizer"])
    return '"Lowercase"' in normalizer or '"lowercase": true' in normalizer
