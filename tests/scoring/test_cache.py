"""Promises of the score store; the oracle is what the scorer itself said, and how often it was asked."""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.scoring import cache as module
from lmsteer.scoring.cache import ScoreCache, score_cache
from lmsteer.scoring.perplexity import continuation_nll


class Oracle:
    """Says another number at every call, and remembers what it said."""

    name = "oracle"
    reserved: frozenset[str] = frozenset()

    def __init__(
        self, *, revision: str = "1", seed: int = 0, refused: str = "-", meanwhile: Callable[[], object] = list
    ) -> None:
        self.revision, self.refused, self.meanwhile = revision, refused, meanwhile
        self.noise = torch.Generator().manual_seed(seed)
        self.said: dict[str, float] = {}
        self.calls: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> Tensor:
        self.calls.append(list(texts))
        self.meanwhile()
        scores_N = torch.rand(len(texts), generator=self.noise)
        if self.refused in texts:
            scores_N[texts.index(self.refused)] = math.nan
        self.said |= dict(zip(texts, scores_N.tolist(), strict=True))
        return scores_N


class Other(Oracle):
    pass


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def test_scores_are_the_scorers_bit_for_bit_in_the_callers_order_and_duplicates_are_scored_once(tmp_path: Path) -> None:
    oracle, texts = Oracle(), ["a long one", "b", "", "a long one", "ünï\n", "b"]
    scores = ScoreCache(tmp_path).scores(oracle, texts)
    assert scores.dtype == torch.float32
    assert scores.tolist() == [oracle.said[text] for text in texts]
    assert oracle.calls == [["", "b", "ünï\n", "a long one"]]


def test_a_later_process_scores_only_what_is_new_and_gets_the_same_scores(tmp_path: Path) -> None:
    first, later = Oracle(), Oracle(seed=1)
    before = ScoreCache(tmp_path).scores(first, ["a", "b"])
    store = ScoreCache(tmp_path)
    after = store.scores(later, ["c", "b", "a"])
    assert later.calls == [["c"]]
    assert after.tolist() == [later.said["c"], *before.flip(0).tolist()]
    written = files(tmp_path)
    assert torch.equal(store.scores(later, ["c", "b", "a"]), after)
    assert files(tmp_path) == written


@pytest.mark.parametrize("other", [Oracle(revision="2"), Other()])
def test_another_scorer_or_revision_scores_for_itself(tmp_path: Path, other: Oracle) -> None:
    store = ScoreCache(tmp_path)
    store.scores(Oracle(seed=1), ["a"])
    assert store.scores(other, ["a"]).tolist() == [other.said["a"]]


def test_an_interrupted_scoring_goes_on_with_the_chunks_that_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)
    texts = ["ccc", "a", "eeeee", "bb", "dddd"]
    broken, again = Oracle(refused="ccc"), Oracle(seed=1)
    with pytest.raises(InputError, match="scorer oracle: text 'ccc'"):
        ScoreCache(tmp_path).scores(broken, texts)
    scores = ScoreCache(tmp_path).scores(again, texts)
    assert broken.calls + again.calls == [["a", "bb"], ["ccc", "dddd"], ["ccc", "dddd"], ["eeeee"]]
    expected = again.said | {text: broken.said[text] for text in ("a", "bb")}
    assert scores.tolist() == [expected[text] for text in texts]


def test_of_two_that_score_a_text_at_once_the_first_to_write_counts_for_both(tmp_path: Path) -> None:
    faster = Oracle(seed=1)
    slower = Oracle(meanwhile=lambda: ScoreCache(tmp_path).scores(faster, ["a"]))
    scores = ScoreCache(tmp_path).scores(slower, ["a", "bb"])
    assert slower.said["a"] != faster.said["a"]
    assert scores.tolist() == [faster.said["a"], slower.said["bb"]]
    assert torch.equal(ScoreCache(tmp_path).scores(Oracle(refused="a"), ["a", "bb"]), scores)


def test_nothing_to_score_asks_nobody_and_writes_nothing(tmp_path: Path, tiny_model: LanguageModel) -> None:
    oracle, store = Oracle(), ScoreCache(tmp_path)
    assert store.scores(oracle, []).shape == (0,)
    nats, tokens = store.continuation_nll(tiny_model, [], [])
    assert nats.shape == tokens.shape == (0,)
    assert (oracle.calls, list(tmp_path.iterdir())) == ([], [])


PROMPTS = ["The film is", "I", "The film is", "", "I"]
CONTINUATIONS = [" warm", " would like to know", " dull", "The film", " would like to know"]


def test_nats_and_tokens_are_those_of_a_direct_call_and_stay_the_same(
    tmp_path: Path, tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = continuation_nll(tiny_model, PROMPTS, CONTINUATIONS)
    nats, tokens = ScoreCache(tmp_path).continuation_nll(tiny_model, PROMPTS, CONTINUATIONS)
    torch.testing.assert_close(nats, direct[0])
    assert torch.equal(tokens, direct[1])
    assert nats[1] == nats[4]

    @functools.wraps(continuation_nll)
    def refuse(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(module, "continuation_nll", refuse)
    again = ScoreCache(tmp_path).continuation_nll(tiny_model, PROMPTS[::-1], CONTINUATIONS[::-1])
    assert torch.equal(again[0].flip(0), nats)
    assert torch.equal(again[1].flip(0), tokens)


def perplexity_model(
    *, seed: int = 0, dtype: torch.dtype = torch.float32, tied: bool = True, head: float = 1.0
) -> LanguageModel:
    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=384, n_embd=32, n_layer=1, n_head=2, n_positions=64, tie_word_embeddings=tied)
    lm = GPT2LMHeadModel(config).to(dtype)
    lm.get_output_embeddings().weight.data.mul_(head)
    return LanguageModel(lm, tiny().tokenizer, name="perplexity_model")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (perplexity_model(), perplexity_model(seed=1)),
        (perplexity_model(), perplexity_model(dtype=torch.bfloat16)),
        (perplexity_model(tied=False), perplexity_model(tied=False, head=2.0)),
    ],
    ids=["weights", "precision", "head"],
)
def test_another_judge_scores_for_itself(tmp_path: Path, one: LanguageModel, other: LanguageModel) -> None:
    store = ScoreCache(tmp_path)
    first, second = (store.continuation_nll(model, PROMPTS, CONTINUATIONS)[0] for model in (one, other))
    assert not torch.equal(first, second)
    torch.testing.assert_close(second, continuation_nll(other, PROMPTS, CONTINUATIONS)[0])


def test_a_joint_elsewhere_is_another_text(tmp_path: Path, tiny_model: LanguageModel) -> None:
    store = ScoreCache(tmp_path)
    whole, part = (
        store.continuation_nll(tiny_model, *pair)[1] for pair in ((["The"], [" film is"]), (["The film"], [" is"]))
    )
    assert whole > part


def test_texts_that_cannot_be_judged_raise_and_leave_nothing(tmp_path: Path, tiny_model: LanguageModel) -> None:
    store = ScoreCache(tmp_path)
    with pytest.raises(InputError, match="continuation '' of prompt 'b' has no tokens"):
        store.continuation_nll(tiny_model, ["a", "b"], [" c", ""])
    with pytest.raises(InputError, match="1 prompts and 2 continuations"):
        store.continuation_nll(tiny_model, ["a"], ["b", "c"])
    assert files(tmp_path) == []


def test_the_option_names_the_cache_nothing_or_a_folder(tmp_path: Path) -> None:
    assert score_cache("off") is None
    stores = [score_cache("auto"), score_cache(str(tmp_path / "mine"))]
    assert [store and store.folder for store in stores] == [tmp_path / "cache" / "scores", tmp_path / "mine" / "scores"]


def test_a_folder_that_cannot_be_made_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        InputError, match=r"cache=.*file/scores: cannot be created \(Not a directory\); another folder or off"
    ):
        score_cache(str(tmp_path / "file"))


def test_a_stored_score_that_is_no_number_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ScoreCache(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module, "check_scores", lambda scores_N, *_, **__: scores_N)
        store.scores(Oracle(refused="b"), ["a", "b"])
    assert store.scores(Oracle(), ["a"]).shape == (1,)
    with pytest.raises(InputError, match=r"stored in .*: text 'b' has score nan"):
        store.scores(Oracle(), ["a", "b"])
