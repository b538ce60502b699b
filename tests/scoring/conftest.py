"""A tiny BERT with a tokenizer, for scorers that are transformers."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizer

from lmsteer.embedded.archives import MINILM

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *["you", "are", "a", "nice", "kind", "awful", "rotten", "person", "film", "and", "the", ".", "!"],
]


@pytest.fixture
def texts() -> list[str]:
    """Five texts of several lengths, shortest not first."""
    return [
        "You are a nice person .",
        "rotten",
        "The film and the awful person and the rotten film and the nice film and you !",
        "",
        "a kind film",
    ]


@pytest.fixture
def bert(tmp_path: Path) -> Callable[..., BertForSequenceClassification]:
    """Write config, tokenizer and, if asked, weights to ``tmp_path / "bert"``; give the model."""

    def build(
        *, labels: list[str], problem_type: str | None = None, weights: bool = True
    ) -> BertForSequenceClassification:
        folder = tmp_path / "bert"
        config = BertConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=32,
            initializer_range=0.6,
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
            problem_type=problem_type,  # type: ignore[arg-type]
        )
        torch.manual_seed(0)
        model = BertForSequenceClassification(config)
        model.eval()
        folder.mkdir()
        if weights:
            model.save_pretrained(folder)
        else:
            config.save_pretrained(folder)
        vocabulary = {word: index for index, word in enumerate(WORDS)}
        BertTokenizer(vocab=vocabulary, model_max_length=32).save_pretrained(folder)
        return model

    return build


@pytest.fixture
def tiny_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bert: Callable[..., BertForSequenceClassification]
) -> Path:
    """An embedded cache whose encoder is the tiny BERT's body; the folder of that encoder."""
    monkeypatch.setenv("LMSTEER_CACHE", str(tmp_path / "cache"))
    body = bert(labels=["no", "yes"]).bert
    assert isinstance(body, BertModel)
    body.save_pretrained(tmp_path / "bert")
    shutil.copytree(tmp_path / "bert", MINILM.folder())
    for name in MINILM.members.keys() - {path.name for path in MINILM.folder().iterdir()}:
        (MINILM.folder() / name).write_text("{}")
    return MINILM.folder()
