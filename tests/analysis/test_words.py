"""Promises of the filter for whole words."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lmsteer.analysis.words import visible_tokens, whole_words

PIECES = ["good", "Good", "GOOD", "un", "unk", "able", "ness", "it", "don", "café", "x86", "!", "storm", "rain", "<b>"]
"""Each with and without a space before it."""
TEXTS = ["it is good", "a GOOD café", "the unkable goodness", "it don x86!", "the un unable unable storm", "a rainable"]


def tokenizer(kind: str) -> PreTrainedTokenizerBase:
    """A vocabulary of the pieces above, written with ``Ġ`` in bytes or with ``▁``; letters alone are tokens too."""
    letters = [chr(code) for code in range(33, 127)]
    texts = ["<unk>", "|", *(space + piece for piece in [*PIECES, *letters] for space in ("", "|"))]
    if kind == "Ġ":
        pieces = [text.replace("é", "Ã©").replace("|", "Ġ") for text in texts]
        splitter, decoder = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False), decoders.ByteLevel()
    else:
        pieces = [text.replace("|", "▁") for text in texts]
        splitter, decoder = pre_tokenizers.Metaspace(split=False), decoders.Metaspace()  # type: ignore[assignment]
    scores = {piece: -10.0 if len(piece) < 2 else -1.0 for piece in dict.fromkeys(pieces)}
    built = Tokenizer(models.Unigram(list(scores.items()), unk_id=0))
    built.pre_tokenizer, built.decoder = splitter, decoder
    return PreTrainedTokenizerFast(tokenizer_object=built, unk_token="<unk>")


@pytest.mark.parametrize("kind", ["Ġ", "▁"])
def test_words_are_letters_behind_a_space_that_stand_alone_in_the_texts(kind: str) -> None:
    built = tokenizer(kind)
    words = whole_words(built, TEXTS)
    written = {built.convert_ids_to_tokens(token): word for token, word in words.items()}
    café = "cafÃ©" if kind == "Ġ" else "café"
    # GOOD is good in another case; Good is in no text; un and rain go on more often than they end; x86 has digits.
    assert written == {
        f"{kind}good": "good",
        f"{kind}GOOD": "good",
        f"{kind}{café}": "café",
        f"{kind}storm": "storm",
        f"{kind}don": "don",
    }


@pytest.mark.parametrize("kind", ["Ġ", "▁"])
def test_every_token_can_be_seen_with_its_space(kind: str) -> None:
    built = tokenizer(kind)
    names = set(visible_tokens(built).values())
    assert {"␣good", "good", "␣café", "␣<b>", "!", "␣"} <= names
    assert "<unk>" not in names


def test_control_characters_and_broken_bytes_are_written_out() -> None:
    alphabet = {"Ċ": 0, "Ã": 1, "a": 2}
    built = Tokenizer(models.BPE(alphabet, []))
    built.pre_tokenizer, built.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    assert visible_tokens(PreTrainedTokenizerFast(tokenizer_object=built)) == {0: "\\n", 1: "\\xc3", 2: "a"}
