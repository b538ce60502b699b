"""Which tokens of two vocabularies stand for the same piece of text, however each writes them."""

from __future__ import annotations

import json
import re
from typing import Any

from transformers import PreTrainedTokenizerBase

BYTE_TOKEN = re.compile("<0x([0-9A-F]{2})>")


def token_forms(tokenizer: PreTrainedTokenizerBase) -> dict[int, bytes]:
    """The piece of text that each token stands for, in UTF-8; one that begins a word keeps the space before it.

    Byte-level tokens (``Ġfilm``), sentencepieces (``▁film``, ``<0xC3>``) and word-pieces (``film``, ``##s``) of one
    text come to one form. Special tokens stand for no text and are left out. Bytes that are no whole character stay.
    """
    written = json.loads(tokenizer.backend_tokenizer.to_str())
    added = tokenizer.added_tokens_decoder
    special = {token for token, entry in added.items() if entry.special} | set(tokenizer.all_special_ids)
    form = _reader(written)
    return {
        token: added[token].content.encode() if token in added else form(text)
        for text, token in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
        if token not in special
    }


def _reader(written: dict[str, Any]) -> Any:
    """What turns a token as it is written into its form, by the parts of a tokenizer's file."""
    if written["model"]["type"] == "WordPiece":
        prefix = written["model"].get("continuing_subword_prefix") or "##"
        return lambda text: _word_piece(text, prefix)
    if '"ByteLevel"' in json.dumps([written["pre_tokenizer"], written["decoder"]]):
        byte_of = _byte_alphabet()
        return lambda text: bytes(byte for sign in text for byte in byte_of.get(sign, sign.encode()))
    return _sentencepiece


def _sentencepiece(text: str) -> bytes:
    byte = BYTE_TOKEN.fullmatch(text)
    return bytes([int(byte[1], 16)]) if byte else text.replace("▁", " ").encode()


def _word_piece(text: str, prefix: str) -> bytes:
    """A word-piece vocabulary does not tell whether a space was there: before letters and digits there was."""
    if text.startswith(prefix):
        return text.removeprefix(prefix).encode()
    return (" " * text[:1].isalnum() + text).encode()


def _byte_alphabet() -> dict[str, bytes]:
    """The byte that each sign of a byte-level token stands for (Radford et al., 2019).

    Printable signs of Latin-1 stand for themselves; the other bytes, in order, for the signs from U+0100 on.
    """
    own = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in own]
    moved = {chr(256 + place): bytes([byte]) for place, byte in enumerate(others)}
    return {chr(byte): bytes([byte]) for byte in own} | moved


def is_uncased(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the tokenizer writes all text in lower case."""
    normalizer = json.dumps(json.loads(tokenizer.backend_tokenizer.to_str())["normalizer"])
    return '"Lowercase"' in normalizer or '"lowercase": true' in normalizer
