"""Small tokenizers in the files that the hub's repositories have: byte-level BPE, WordPiece and Unigram."""

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.hub.made_up_text import sentences, words
from tokenizers import AddedToken, ByteLevelBPETokenizer, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram, WordPiece

TOKENS = 512
END = "<|endoftext|>"
Files = dict[str, bytes]


def as_json(value: object) -> bytes:
    """Return the bytes of a JSON file."""
    return json.dumps(value, indent=2).encode()


@cache
def _byte_level() -> ByteLevelBPETokenizer:
    bpe = ByteLevelBPETokenizer()
    texts = sentences(300, seed=1)
    bpe.train_from_iterator(texts, vocab_size=TOKENS, min_frequency=1, special_tokens=[END], show_progress=False)
    return bpe


def byte_level(tokenizer_class: str, *, json_file: bool = True, bpe_files: bool = True, **config: object) -> Files:
    """Return the files of a byte-level tokenizer of ``TOKENS`` tokens, of which the first is the end of text.

    Args:
        tokenizer_class: Class of transformers that the repository names.
        json_file: Whether there is a ``tokenizer.json``.
        bpe_files: Whether there are ``vocab.json`` and ``merges.txt``.
        config: Further entries of ``tokenizer_config.json``.
    """
    special = {"bos_token": END, "eos_token": END, "unk_token": END}
    files = {"tokenizer_config.json": as_json({"tokenizer_class": tokenizer_class, **special, **config})}
    if json_file:
        files["tokenizer.json"] = _byte_level()._tokenizer.to_str(pretty=True).encode()
    if bpe_files:
        with TemporaryDirectory() as folder:
            _byte_level().save_model(folder)
            files |= {name: Path(folder, name).read_bytes() for name in ("vocab.json", "merges.txt")}
    return files


@cache
def roberta() -> Files:
    """Return the files of RoBERTa's tokenizer: the byte-level one, whose first tokens are its special ones."""
    bpe = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    texts = sentences(300, seed=1)
    bpe.train_from_iterator(texts, vocab_size=TOKENS, min_frequency=1, special_tokens=special, show_progress=False)
    with TemporaryDirectory() as folder:
        bpe.save_model(folder)
        files = {name: Path(folder, name).read_bytes() for name in ("vocab.json", "merges.txt")}
    bpe._tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    config = {"tokenizer_class": "RobertaTokenizer", "model_max_length": 512}
    return files | {
        "tokenizer.json": bpe._tokenizer.to_str(pretty=True).encode(),
        "tokenizer_config.json": as_json(config),
    }


@cache
def word_piece(tokenizer_class: str) -> Files:
    """Return the files of an uncased WordPiece tokenizer of whole words and letters, as BERT and DistilBERT have."""
    letters = sorted(set("abcdefghijklmnopqrstuvwxyz0123456789,.'!?"))
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters), *words()]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.decoder = decoders.WordPiece()
    config = {"tokenizer_class": tokenizer_class, "do_lower_case": True, "model_max_length": 512}
    return {
        "vocab.txt": "".join(f"{token}\n" for token in vocabulary).encode(),
        "tokenizer.json": tokenizer.to_str(pretty=True).encode(),
        "tokenizer_config.json": as_json(config),
    }


@cache
def unigram(tokenizer_class: str, **config: object) -> Files:
    """Return the files of a Unigram tokenizer of whole words and letters, as DeBERTa has."""
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    letters = sorted(set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789,.'!?\u2581"))
    pieces = [(token, 0.0) for token in special]
    pieces += [(f"\u2581{word}", -float(rank)) for rank, word in enumerate(words(), start=2)]
    pieces += [(letter, -1000.0) for letter in letters]
    tokenizer = Tokenizer(Unigram(pieces, unk_id=3, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return {
        "tokenizer.json": tokenizer.to_str(pretty=True).encode(),
        "tokenizer_config.json": as_json({"tokenizer_class": tokenizer_class, **config}),
    }
