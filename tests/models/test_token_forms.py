"""Tokens are matched by the text they stand for, however a vocabulary writes them."""

from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, WordPiece
from transformers import PreTrainedTokenizerFast

from lmsteer.errors import InputError
from lmsteer.models.random_models import tiny
from lmsteer.models.token_forms import token_forms
from lmsteer.transfer.shared_vocabulary import shared_tokens

SENTENCEPIECES = ["<bos>", "<0x20>", "<0x41>", "<0xC3>", "A", "▁film", "s", "▁", "▁Film", "é", "▁the"]
BYTE_LEVEL = ["<|end|>", "Ġfilm", "s", "A", "Ãĥ", "Ã", "Ġ", "Ċ", "film", "Ġthe", "Ã©"]
WORD_PIECES = ["[UNK]", "film", "##s", ",", "the", "s"]


def fast(tokenizer: Tokenizer, special: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=special)


def numbered(words: list[str]) -> dict[str, int]:
    return {word: number for number, word in enumerate(words)}


def sentencepiece() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(BPE(numbered(SENTENCEPIECES), [], byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return fast(tokenizer, "<bos>")


def byte_level() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(BPE(numbered(BYTE_LEVEL), []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return fast(tokenizer, "<|end|>")


def word_piece(*, uncased: bool) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(WordPiece(numbered(WORD_PIECES), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=uncased)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return fast(tokenizer, "[UNK]")


def named(tokenizer: PreTrainedTokenizerFast, name: str = "some", vocabulary: int = 99) -> Any:
    return SimpleNamespace(tokenizer=tokenizer, name=name, head=SimpleNamespace(vocabulary=vocabulary))


def matched(source: PreTrainedTokenizerFast, target: PreTrainedTokenizerFast) -> set[tuple[str, str]]:
    ours, theirs = shared_tokens(named(source), named(target))
    return set(zip(source.convert_ids_to_tokens(ours), target.convert_ids_to_tokens(theirs), strict=True))


def test_tokens_of_a_byte_level_vocabulary_stand_for_what_the_tokenizer_itself_decodes() -> None:
    tokenizer = tiny().tokenizer
    forms = token_forms(tokenizer)
    assert set(forms) == set(range(1, 384))  # all but the end of texts
    for token, form in forms.items():
        if "\N{REPLACEMENT CHARACTER}" not in (text := tokenizer.decode([token])):
            assert form == text.encode()
    assert {form for form in forms.values() if len(form) == 1} == {bytes([byte]) for byte in range(256)}


def test_every_way_of_writing_a_token_comes_to_the_same_form() -> None:
    forms = token_forms(sentencepiece())
    assert list(forms.values()) == [
        *(b" ", b"A", b"\xc3", b"A", b" film", b"s", b" ", b" Film", b"\xc3\xa9", b" the"),
    ]
    assert set(token_forms(byte_level()).values()) == {
        *(b" film", b"s", b"A", b"\xc3\x83", b"\xc3", b" ", b"\n", b"film", b" the", b"\xc3\xa9"),
    }
    assert list(token_forms(word_piece(uncased=False)).values()) == [b" film", b"s", b",", b" the", b" s"]


def test_tokens_of_byte_level_and_sentencepiece_vocabularies_meet() -> None:
    assert matched(byte_level(), sentencepiece()) == {
        *(("Ġfilm", "▁film"), ("s", "s"), ("A", "A"), ("Ã", "<0xC3>"), ("Ġ", "▁"), ("Ġthe", "▁the"), ("Ã©", "é")),
    }


def test_word_pieces_that_continue_a_word_are_not_those_that_begin_one() -> None:
    assert matched(word_piece(uncased=False), sentencepiece()) == {("film", "▁film"), ("##s", "s"), ("the", "▁the")}


def test_case_counts_unless_a_vocabulary_knows_lower_case_only_and_then_lower_case_comes_first() -> None:
    pieces = sentencepiece()
    assert dict(matched(pieces, word_piece(uncased=True)))["▁film"] == "film"
    without = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(BPE(numbered(["<bos>", "▁Film"]), [])), bos_token="<bos>"
    )
    assert matched(without, word_piece(uncased=True)) == {("▁Film", "film")}
    with pytest.raises(InputError, match="no token in common"):
        matched(without, word_piece(uncased=False))


def test_rows_of_the_head_that_stand_for_no_token_are_left_out() -> None:
    ours, _ = shared_tokens(named(byte_level(), vocabulary=3), named(sentencepiece()))
    assert ours == [1, 2]


def test_vocabularies_without_a_common_token_are_refused_with_both_names() -> None:
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE(numbered(["<bos>", "我"]), [])), bos_token="<bos>")
    with pytest.raises(InputError, match=r"models one \(10 tokens\) and two \(1 tokens\) have no token in common"):
        shared_tokens(named(byte_level(), "one"), named(other, "two"))
