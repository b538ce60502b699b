"""Promises of the scorer of sentence embeddings, on a tiny BERT in the place of the real encoder."""

from pathlib import Path

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from transformers import BertModel, BertTokenizer

from lmsteer.data.corpus import Corpus, text_key
from lmsteer.embedded.archives import MINILM
from lmsteer.errors import InputError
from lmsteer.records import Row
from lmsteer.scoring.sentence_embedding import INVERSE_PENALTY, EmbeddingScorer
from lmsteer.scoring.sentence_encoder import SentenceEncoder

ROWS = tuple(
    Row(" ".join(["a", "film", "and"] * (n % 4) + [word] * (1 + n % 3)), 0.02 if n % 5 == 0 else label)
    for n in range(60)
    for word, label in (("nice", 0.5), ("kind", 1.0), ("awful", -0.5), ("rotten", -1.0))
)


def corpus(scorer_split: tuple[Row, ...] = ROWS) -> Corpus:
    return Corpus("made", train=(Row("something else", 1.0),), scorer_split=scorer_split)


def vectors(folder: Path, texts: list[str]) -> torch.Tensor:
    """One text at a time, nothing padded: the mean of the last hidden states, divided by its length."""
    model, tokenizer = BertModel.from_pretrained(folder).eval(), BertTokenizer.from_pretrained(folder)
    with torch.no_grad():
        means = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0) for text in texts]
    return torch.stack([mean / mean.norm() for mean in means])


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_batched_vectors_equal_one_text_at_a_time(tiny_encoder: Path, texts: list[str], batch_size: int) -> None:
    encoder = SentenceEncoder(device=torch.device("cpu"), batch_size=batch_size)
    torch.testing.assert_close(encoder(texts, description=""), vectors(tiny_encoder, texts), rtol=0, atol=1e-5)
    assert encoder([], description="").numel() == 0


def test_scores_are_those_of_a_regression_on_the_vectors(tiny_encoder: Path, texts: list[str]) -> None:
    clear = [row for row in ROWS if abs(row.label) >= 0.1]
    oracle = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000)
    oracle.fit(vectors(tiny_encoder, [row.text for row in clear]).numpy(), [row.label > 0 for row in clear])
    expected = torch.tensor(oracle.predict_proba(vectors(tiny_encoder, texts).numpy())[:, 1], dtype=torch.float32)
    assert expected.std() > 0.01
    torch.testing.assert_close(EmbeddingScorer(corpus=corpus())(texts), expected, rtol=0, atol=1e-3)


def test_what_it_was_fitted_on_is_known_before_anything_is_read(
    tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SentenceEncoder, "__init__", None)
    scorer = EmbeddingScorer(corpus=corpus(), name="mine")
    assert scorer.name == "mine"
    assert scorer.reserved == {text_key(row.text) for row in ROWS if abs(row.label) >= 0.1}
    assert scorer([]).shape == (0,)
    other = EmbeddingScorer(corpus=corpus(ROWS[:-1]))
    assert scorer.revision == EmbeddingScorer(corpus=corpus()).revision != other.revision
    assert MINILM.sha256[:12] in scorer.revision


def test_a_second_scorer_on_the_same_rows_reads_none_of_them_and_says_the_same(
    tiny_encoder: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = EmbeddingScorer(corpus=corpus())(texts)
    read: list[str] = []
    encode = SentenceEncoder.__call__

    def watched(self: SentenceEncoder, texts: list[str], *, description: str) -> torch.Tensor:
        read.extend(texts)
        return encode(self, texts, description=description)

    monkeypatch.setattr(SentenceEncoder, "__call__", watched)
    assert torch.equal(EmbeddingScorer(corpus=corpus())(texts), first)
    assert read == texts
    assert not torch.equal(EmbeddingScorer(corpus=corpus(ROWS[:-40]))(texts), first)
    assert len(read) > len(texts) + 100


def test_an_interrupted_fit_leaves_nothing_that_counts(
    tiny_encoder: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    expected = EmbeddingScorer(corpus=corpus())(texts)
    (path,) = (tiny_encoder.parent / "fitted").glob("*.safetensors")
    path.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopped)
        with pytest.raises(KeyboardInterrupt):
            EmbeddingScorer(corpus=corpus())(texts)
    assert not path.exists()
    assert torch.equal(EmbeddingScorer(corpus=corpus())(texts), expected)


@pytest.mark.parametrize("content", [b"", b"half of a file", None])
def test_damaged_coefficients_are_refused_by_file(tiny_encoder: Path, content: bytes | None) -> None:
    EmbeddingScorer(corpus=corpus())(["film"])
    (path,) = (tiny_encoder.parent / "fitted").glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-4] if content is None else content)
    with pytest.raises(InputError, match=rf"{path.name}: damaged; delete this file"):
        EmbeddingScorer(corpus=corpus())(["film"])


def test_an_encoder_that_was_not_fetched_or_is_damaged_is_refused_with_the_command(tiny_encoder: Path) -> None:
    (tiny_encoder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"cannot be loaded .*python -m src\.fetch force=true") as caught:
        EmbeddingScorer(corpus=corpus())(["film"])
    assert "\n" not in str(caught.value)
    (tiny_encoder / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json is not in the cache .*python -m src\.fetch"):
        EmbeddingScorer(corpus=corpus())


def test_too_few_rows_are_refused(tiny_encoder: Path) -> None:
    with pytest.raises(InputError, match="corpus made has 4 scorer_split rows"):
        EmbeddingScorer(corpus=corpus(ROWS[4:8]))
    with pytest.raises(InputError, match="batch_size=0"):
        EmbeddingScorer(corpus=corpus(), batch_size=0)
