"""Promises of every scorer: as many scores as texts, in [0, 1], each the text's own; what has none is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import profanity_check
import pytest
import torch
from transformers import BertForSequenceClassification

from lmsteer.behaviours import find_behaviour
from lmsteer.data.corpus import Corpus
from lmsteer.errors import InputError
from lmsteer.records import Row
from lmsteer.scoring.alt_profanity_check import ProfanityScorer
from lmsteer.scoring.behaviour_scorer import BehaviourScorer
from lmsteer.scoring.hub_classifier import HubClassifierScorer
from lmsteer.scoring.replay import ReplayScorer
from lmsteer.scoring.scorer import Scorer
from lmsteer.scoring.sentence_embedding import EmbeddingScorer
from lmsteer.scoring.tfidf import TfidfScorer
from lmsteer.scoring.word_list import WordListScorer

LONG = "nice film and awful person " * 4000
ROWS = tuple(
    Row(f"a {word} film {'and ' * (n % 5)}", label)
    for n in range(40)
    for word, label in (("nice", 1.0), ("rotten", -1.0))
)


@pytest.fixture(params=["hub", "embedding", "tfidf", "profanity", "word-list", "replay", "behaviour"])
def scorer(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    texts: list[str],
    bert: Callable[..., BertForSequenceClassification],
    monkeypatch: pytest.MonkeyPatch,
) -> Scorer:
    """One of every kind; Detoxify's class has tests of its own."""
    corpus = Corpus("made", (), scorer_split=ROWS)
    if request.param == "tfidf":
        return TfidfScorer(corpus=corpus)
    if request.param == "profanity":
        return ProfanityScorer()
    if request.param == "word-list":
        (tmp_path / "words.csv").write_text("text,severity_rating\nrotten,2.5\nawful,1.2\n", encoding="utf-8")
        return WordListScorer(path=tmp_path / "words.csv")
    if request.param == "replay":
        lines = (json.dumps({"text": text, "toxicity": n / 7}) for n, text in enumerate([*texts, LONG]))
        (tmp_path / "stored.jsonl").write_text("\n".join(lines), encoding="utf-8")
        return ReplayScorer(path=tmp_path / "stored.jsonl")
    if request.param == "behaviour":
        return BehaviourScorer(behaviours={"case": find_behaviour("case-lower")})
    if request.param == "hub":
        bert(labels=["no", "yes"])
        return HubClassifierScorer(id=str(tmp_path / "bert"), label="yes")
    request.getfixturevalue("tiny_encoder")
    monkeypatch.setattr("lmsteer.scoring.sentence_encoder.MAX_TOKENS", 32)
    return EmbeddingScorer(corpus=corpus)


def test_every_text_has_its_own_score_alone_or_among_others(scorer: Scorer, texts: list[str]) -> None:
    assert "" in texts
    scores = scorer([*texts, LONG])
    assert (scores.shape, scores.dtype) == ((len(texts) + 1,), torch.float32)
    assert ((scores >= 0) & (scores <= 1)).all()
    alone = torch.cat([scorer([text]) for text in [*texts, LONG]])
    torch.testing.assert_close(scores, alone, rtol=0, atol=1e-5)
    assert scorer([]).shape == (0,)


def test_it_has_a_name_a_revision_and_what_it_was_fitted_on(scorer: Scorer) -> None:
    assert isinstance(scorer, Scorer)
    assert scorer.name
    assert scorer.revision
    assert bool(scorer.reserved) is isinstance(scorer, TfidfScorer | EmbeddingScorer)


def test_a_model_that_gives_no_number_is_refused_with_the_text(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(scorer, monkeypatch)
    with pytest.raises(InputError, match=rf"scorer {scorer.name}: text 'a kind film' has score nan"):
        scorer(["a kind film"])


def spoil(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make what the scorer asks answer NaN."""
    nothing = torch.tensor([float("nan")])
    if isinstance(scorer, HubClassifierScorer):
        monkeypatch.setattr(scorer, "_batch", lambda texts: nothing)
    elif isinstance(scorer, EmbeddingScorer):
        scorer(["a film"])
        monkeypatch.setattr(scorer._encoder, "_batch", lambda texts: nothing.expand(1, 16))
    elif isinstance(scorer, ProfanityScorer):
        monkeypatch.setattr(profanity_check, "predict_prob", lambda texts: nothing.numpy())
    elif isinstance(scorer, ReplayScorer):
        monkeypatch.setitem(scorer._scores, "a kind film", nothing.item())
    elif isinstance(scorer, BehaviourScorer):
        monkeypatch.setattr(scorer, "_has_all", lambda text: float("nan"))
    elif isinstance(scorer, WordListScorer):
        monkeypatch.setattr(scorer, "_worst", lambda text: float("nan"))
    else:
        assert isinstance(scorer, TfidfScorer)
        monkeypatch.setattr(scorer._pipeline[-1], "intercept_", nothing.numpy())
