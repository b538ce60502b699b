"""The hub's scorers with tiny random weights, and Detoxify's releases with the parts that it takes from the hub."""

import io
from typing import Any

import torch
from tests.hub.checkpoints import OTHER_FRAMEWORKS, weights
from tests.hub.repository import Repository
from tests.hub.tokenizer_files import TOKENS, Files, as_json, byte_level, roberta, unigram, word_piece
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    RobertaConfig,
    RobertaForSequenceClassification,
)

SIZES: dict[str, Any] = {
    "vocab_size": TOKENS,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
}
ROBERTA = {**SIZES, "max_position_embeddings": 514, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
SST2_COMMIT = "714eb0fa89d2f80546fda750413ed43d93601a13"
ROBERTA_COMMIT = "048c25bb1e199b98802784f96325f4840f22145d"
ORIGINAL = ["toxicity", "severe_toxicity", "obscene", "threat", "insult", "identity_hate"]
UNBIASED = ["toxicity", "severe_toxicity", "obscene", "identity_attack", "insult", "threat", "sexual_explicit"]
IDENTITIES = ["male", "female", "homosexual_gay_or_lesbian", "christian", "jewish", "muslim", "black", "white"]
IDENTITIES += ["psychiatric_or_mental_illness"]


def _labels(*names: str) -> dict[str, Any]:
    return {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}


def _sst2() -> Repository:
    config = DistilBertConfig(
        vocab_size=TOKENS, dim=32, n_layers=2, n_heads=4, hidden_dim=64, **_labels("NEGATIVE", "POSITIVE")
    )
    files = weights(config, build=DistilBertForSequenceClassification, formats=("safetensors", "bin"), seed=1)
    slow = {name: content for name, content in word_piece("DistilBertTokenizer").items() if name != "tokenizer.json"}
    id = "distilbert/distilbert-base-uncased-finetuned-sst-2-english"
    others = {name: content for name, content in OTHER_FRAMEWORKS.items() if name != "flax_model.msgpack"}
    former = ("distilbert-base-uncased-finetuned-sst-2-english",)
    return Repository.of(id, {**others, **files, **slow}, commit=SST2_COMMIT, former=former)


def _roberta_toxicity() -> Repository:
    config = RobertaConfig(**ROBERTA, **_labels("neutral", "toxic"))
    files = weights(config, build=RobertaForSequenceClassification, formats=("bin",), seed=2)
    slow = {name: content for name, content in roberta().items() if name != "tokenizer.json"}
    return Repository.of("s-nlp/roberta_toxicity_classifier", {**files, **slow}, commit=ROBERTA_COMMIT)


def _deberta() -> Repository:
    config = DebertaV2Config(
        **SIZES, type_vocab_size=0, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=16
    )
    files = weights(config, build=DebertaV2ForSequenceClassification, seed=3)
    tokenizer = unigram("DebertaV2Tokenizer", model_max_length=512)
    return Repository.of("cooperleong00/deberta-v3-large_toxicity-scorer", {**files, **tokenizer})


def classifiers() -> list[Repository]:
    """Return the classifiers that ``conf/scorer`` names, and what Detoxify takes from the hub."""
    bert = {"config.json": as_json(BertConfig(**SIZES).to_diff_dict()), **word_piece("BertTokenizer")}
    base = {"config.json": as_json(RobertaConfig(**ROBERTA).to_diff_dict()), **roberta()}
    return [
        _sst2(),
        _roberta_toxicity(),
        _deberta(),
        Repository.of("google-bert/bert-base-uncased", bert, former=("bert-base-uncased",)),
        Repository.of("FacebookAI/roberta-base", base, former=("roberta-base",)),
        Repository.of("tester/not-a-classifier", {**_headless(), **byte_level("GPT2Tokenizer")}),
    ]


def _headless() -> Files:
    """Return a language model, which has no weights of a classifier."""
    return weights(
        GPT2Config(vocab_size=TOKENS, n_embd=32, n_layer=2, n_head=4, n_positions=1024, bos_token_id=0, eos_token_id=0)
    )


def detoxify_releases() -> Files:
    """Return Detoxify's two released files by name, in its own format."""
    parts = {
        "toxic_original-c1212f89.ckpt": ("bert-base-uncased", "Bert", BertConfig(**SIZES), ORIGINAL),
        "toxic_debiased-c7548aa0.ckpt": ("roberta-base", "Roberta", RobertaConfig(**ROBERTA), UNBIASED + IDENTITIES),
    }
    builders = {"Bert": BertForSequenceClassification, "Roberta": RobertaForSequenceClassification}
    files = {}
    for seed, (name, (base, family, config, classes)) in enumerate(parts.items(), start=4):
        config.num_labels = len(classes)
        state = torch.load(
            io.BytesIO(weights(config, build=builders[family], formats=("bin",), seed=seed)["pytorch_model.bin"]),
            weights_only=True,
        )
        arguments = {
            "model_type": base,
            "model_name": f"{family}ForSequenceClassification",
            "tokenizer_name": f"{family}Tokenizer",
            "num_classes": len(classes),
        }
        released = {"arch": {"args": arguments}, "dataset": {"args": {"classes": classes}}}
        content = io.BytesIO()
        torch.save({"config": released, "state_dict": state}, content)
        files[name] = content.getvalue()
    return files
