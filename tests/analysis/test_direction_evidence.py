"""Promises of reading a steer with labelled texts."""

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from tests.chat import END, chat_model
from tests.chat import ROWS as ANSWERS

from lmsteer.analysis import direction_evidence as reading_module
from lmsteer.analysis.direction_evidence import LabeledEvidence, sum_over_tokens
from lmsteer.analysis.interpretation import heldout_rows, interpret
from lmsteer.analysis.interpretation_file import Interpretation
from lmsteer.analysis.top_tokens import EXCERPT, DirectionTokens, DisplayConfig
from lmsteer.analysis.words import whole_words
from lmsteer.data.corpus import Corpus
from lmsteer.data.features import FeatureExtractor
from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Row
from lmsteer.steering.directions import Directions, randomized
from lmsteer.steering.steer import Steer

GOOD = ["warm and funny", "funny", "not dull but warm", "a story about people", "long and warm"]
BAD = ["dull and slow", "far too long", "not funny but dull", "the worst", "slow and lost"]
ROWS = [
    *(Row(f"{start} {text}.", label) for start in ("The film is", "This story is", "I would like to know what is") for
      texts, label in ((GOOD, 0.7), (BAD, -0.4)) for text in texts),
    Row("The night of the storm.", 0.0),
]  # fmt: skip
SHOWN = DisplayConfig(directions=3, words=4, contexts=3, draws=2)


@pytest.fixture
def planted(tiny_model: LanguageModel) -> Steer:
    """Its first direction raises two words after one context, and lowers another; what is left is small noise."""
    steer = Steer(32, dimensions=["tone", "dummy"], rank=4, epsilon=0.01, init_std=0.05, seed=3)
    words = whole_words(tiny_model.tokenizer, [row.text for row in ROWS])
    change_V = torch.tensor([{"warm": 1.0, "funny": 1.0, "dull": -1.0}.get(word, 0.0) for word in words.values()])
    raises_D = torch.linalg.pinv(tiny_model.head.weight[list(words)]) @ change_V
    hidden_TD = tiny_model.hidden(torch.tensor([tiny_model.tokenizer("The film is")["input_ids"]]))[0]
    with torch.no_grad():
        assert steer.p2 is not None
        steer.p1[0, :, 0] = F.normalize(hidden_TD[-1], dim=0)
        steer.p2[0, :, 0] = 100 * F.normalize(raises_D, dim=0)
    return steer


@pytest.fixture
def interpreted(tiny_model: LanguageModel, planted: Steer) -> Interpretation:
    return interpret(tiny_model, planted, "tone", ROWS, SHOWN)


def derivatives(model: LanguageModel, one: Directions, i: int) -> list[float]:
    """Of each text's log-likelihood, by autograd, in the strength of a steer that is one direction."""
    numbers = []
    for row in ROWS:
        ids = torch.tensor(model.tokenizer([row.text])["input_ids"])
        hidden = model.hidden(ids)[0].clone()
        strength = torch.zeros((), requires_grad=True)
        along = (hidden[:-1] @ one.context_DR[:, i].float())[:, None] * one.output_DR[:, i].float()
        logits = model.head(hidden[:-1] + strength * one.epsilon * one.sizes_R[i].float() * along)
        (slope,) = torch.autograd.grad(-F.cross_entropy(logits, ids[0, 1:], reduction="sum"), strength)
        numbers.append(float(slope))
    return numbers


def test_a_planted_direction_is_read_back(interpreted: Interpretation) -> None:
    first = interpreted.directions[0]
    assert first.energy > 0.99
    assert {word.word for word in first.output.plus[:2]} == {"warm", "funny"}
    assert first.output.minus[0].word == "dull"
    assert [first.contexts.plus[0].text, first.contexts.plus[0].next[:1]] == ["The film is", " "]
    assert first.contexts.plus[0].value == max(excerpt.value for excerpt in first.contexts.plus)
    assert first.auc.value > 0.75  # some of the texts have none of these words
    assert interpreted.evidence[0] > 0.9
    assert interpreted.holding == 1


def test_aucs_and_shares_are_those_of_the_derivatives_text_by_text(
    interpreted: Interpretation, tiny_model: LanguageModel, planted: Steer
) -> None:
    parts = planted.directions(0)
    slopes = torch.tensor([derivatives(tiny_model, parts, i) for i in range(4)]).T
    labels = torch.tensor([row.label for row in ROWS])
    known, above = labels != 0, labels[labels != 0] > 0
    assert interpreted.auc == pytest.approx([roc_auc_score(above, slopes[known, i]) for i in range(4)], abs=0.01)
    sums = slopes[known].cumsum(1)
    assert interpreted.cumulative == pytest.approx([roc_auc_score(above, sums[:, i]) for i in range(4)], abs=0.01)
    gaps = slopes[known][above].mean(0) - slopes[known][~above].mean(0)
    assert interpreted.separation == pytest.approx(float(gaps.sum()), rel=1e-3)
    assert interpreted.evidence == pytest.approx((gaps / gaps.sum()).tolist(), abs=1e-3)
    assert sum(interpreted.evidence) == pytest.approx(1)
    assert [one.k for one in interpreted.cumulative_auc] == [1, 2, 4]
    assert [one.auc.value for one in interpreted.cumulative_auc] == [
        interpreted.cumulative[0],
        interpreted.cumulative[1],
        interpreted.cumulative[3],
    ]
    assert (interpreted.facts["plus"], interpreted.facts["minus"]) == (15, 15)


def test_plus_words_are_those_that_positive_strength_raises_in_the_mean_context(
    interpreted: Interpretation, tiny_model: LanguageModel, planted: Steer
) -> None:
    features = FeatureExtractor(tiny_model)([row.text for row in ROWS])
    mean_D = features.hidden_ND.mean(0)
    steered = planted(mean_D[None], planted.strengths({"tone": 1.0})[None])[0].detach()
    change_V = tiny_model.head(steered) - tiny_model.head(mean_D)
    change_V -= change_V[features.targets_N].mean()
    for word in (*interpreted.overall.plus, *interpreted.overall.minus):
        (token,) = tiny_model.tokenizer(f" {word.word}")["input_ids"]
        assert word.value == pytest.approx(float(change_V[token]), abs=1e-4)
    assert all(one.activation > 0 for one in interpreted.directions)
    for one in interpreted.directions:
        along_N = features.hidden_ND @ planted.directions(0).context_DR[:, one.number - 1].float()
        assert one.activation == pytest.approx(float(along_N.mean().abs()), rel=1e-4)
        assert one.acting == pytest.approx(float((along_N * along_N.mean() > 0).float().mean()))


def test_alike_is_the_auc_with_each_activation_replaced_by_their_mean(
    interpreted: Interpretation, tiny_model: LanguageModel, planted: Steer
) -> None:
    parts, features = planted.directions(0), FeatureExtractor(tiny_model)([row.text for row in ROWS])
    mean_R = parts.activations(features.hidden_ND).mean(0)
    embeddings, probabilities = tiny_model.head.weight, tiny_model.head(features.hidden_ND).softmax(-1)
    gradient_ND = embeddings[features.targets_N] - probabilities @ embeddings
    evidence_NR = mean_R * parts.sizes_R.float() * (gradient_ND @ parts.output_DR.float())
    by_text = [part.sum(0) for part in evidence_NR.split(features.lengths.tolist())][:-1]  # the last has label 0
    above = [row.label > 0 for row in ROWS[:-1]]
    assert interpreted.as_constant.value == pytest.approx(
        roc_auc_score(above, [float(part.sum()) for part in by_text]), abs=0.01
    )
    for one in interpreted.directions:
        alone = [float(part[one.number - 1]) for part in by_text]
        assert one.as_constant == pytest.approx(roc_auc_score(above, alone), abs=0.01)


def test_chance_is_what_random_matrices_of_the_same_singular_values_reach(
    interpreted: Interpretation, tiny_model: LanguageModel, planted: Steer
) -> None:
    draws = [randomized(planted.directions(0), seed) for seed in range(2)]
    reading = sum_over_tokens(FeatureExtractor(tiny_model), [row.text for row in ROWS], draws)
    curves = [LabeledEvidence(one, [row.label for row in ROWS]).cumulative_aucs for one in reading.evidence_BR]
    assert interpreted.chance is not None
    assert interpreted.chance.low == pytest.approx(list(map(min, *curves)), abs=0.01)
    assert interpreted.chance.high == pytest.approx(list(map(max, *curves)), abs=0.01)
    assert interpret(tiny_model, planted, "tone", ROWS, DisplayConfig(draws=0)).chance is None


def test_how_many_texts_are_read_at_once_changes_nothing(
    tiny_model: LanguageModel, planted: Steer, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, sets = ["I", *(row.text for row in ROWS)], [planted.directions(0)]
    whole = sum_over_tokens(FeatureExtractor(tiny_model), texts, sets)
    monkeypatch.setattr(reading_module, "TEXTS_PER_CHUNK", 7)
    parts = sum_over_tokens(FeatureExtractor(tiny_model), texts, sets)
    torch.testing.assert_close(parts.evidence_BR, whole.evidence_BR, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(parts.mean_D, whole.mean_D)
    assert parts.targets_N.equal(whole.targets_N)
    assert whole.evidence_BR[0][0].abs().sum() == 0, "a text of one token says nothing"


def test_the_dummy_and_a_full_matrix_are_read_as_well(tiny_model: LanguageModel, planted: Steer) -> None:
    assert interpret(tiny_model, planted, "dummy", ROWS, SHOWN).facts["dimension"] == "dummy"
    full = Steer(32, dimensions=["tone"], rank="full", seed=1)
    result = interpret(tiny_model, full, "tone", ROWS, SHOWN)
    assert (len(result.sizes), len(result.directions)) == (32, 3)
    one = Steer(32, dimensions=["tone"], rank=1, seed=1)
    assert len(interpret(tiny_model, one, "tone", ROWS, SHOWN).directions) == 1


def test_a_context_is_shown_once_and_a_text_once_and_long_ones_are_cut(
    tiny_model: LanguageModel, planted: Steer
) -> None:
    long = "I would like to know where you were on the night of the storm and why nobody came to help us then"
    texts = [long, "The film is warm.", "The film is dull.", "The film is long."]
    directions, extract = planted.directions(0), FeatureExtractor(tiny_model)
    shown = DisplayConfig(contexts=10)
    ends = DirectionTokens(
        extract, directions, sum_over_tokens(extract, texts, [directions]), texts, shown, texts
    ).contexts(0)
    for end, reverse in ((ends.plus, True), (ends.minus, False)):
        assert len({excerpt.text for excerpt in end}) == len(end) <= len(texts)
        assert [excerpt.value for excerpt in end] == sorted((excerpt.value for excerpt in end), reverse=reverse)
        assert all(any((excerpt.text.lstrip("…") + excerpt.next) in text for text in texts) for excerpt in end)
        assert all(len(excerpt.text) <= EXCERPT + 1 for excerpt in end)


def test_of_answers_only_their_own_tokens_are_read_after_the_question() -> None:
    model = chat_model()
    steer = Steer(model.width, dimensions=["tone"], rank=2, seed=1)
    result = interpret(model, steer, "tone", ANSWERS, DisplayConfig(contexts=50, draws=0))
    end = model.tokenizer.convert_tokens_to_ids(END)
    targets = [[*model.tokenizer.encode(row.text, add_special_tokens=False), end] for row in ANSWERS]
    assert result.facts["tokens"] == sum(map(len, targets))
    for excerpt in (*result.directions[0].contexts.plus, *result.directions[0].contexts.minus):
        assert model.tokenizer.encode(excerpt.next, add_special_tokens=False)[0] in set().union(*targets)
    assert any("assistant" in excerpt.text for excerpt in result.directions[0].contexts.plus)


def test_all_tokens_can_be_shown(tiny_model: LanguageModel, planted: Steer) -> None:
    shown = DisplayConfig(vocabulary="all", words=400)
    names = {word.word for word in interpret(tiny_model, planted, "tone", ROWS, shown).overall.plus}
    assert {"␣warm", "w", "."} <= names
    words = {word.word for word in interpret(tiny_model, planted, "tone", ROWS, DisplayConfig(words=400)).overall.plus}
    assert "warm" in words
    assert "night" in words
    assert "help" not in words, "it is in none of the texts"
    more = interpret(
        tiny_model, planted, "tone", ROWS, DisplayConfig(words=400), vocabulary_texts=["They came to help"]
    )
    assert "help" in {word.word for word in more.overall.plus}


@pytest.mark.parametrize(
    ("rows", "dimension", "message"),
    [
        (ROWS, "mood", "dimension=mood: the steer's dimensions are tone, dummy"),
        (ROWS[:5], "tone", "5 rows with a label above 0, 0 below; both are needed"),
        ([], "tone", "0 rows with a label above 0, 0 below"),
        ([Row("I", 1.0), Row("I", -1.0)], "tone", "2 texts: none has two tokens"),
    ],
)
def test_what_cannot_be_read_is_refused(
    rows: list[Row], dimension: str, message: str, tiny_model: LanguageModel, planted: Steer
) -> None:
    with pytest.raises(InputError, match=message):
        interpret(tiny_model, planted, dimension, rows, SHOWN)
    with pytest.raises(InputError, match="words=0: an integer of 1 or more"):
        DisplayConfig(words=0)


def test_the_rows_are_of_a_part_that_no_steer_is_trained_on() -> None:
    train, dev, test = (tuple(Row(f"{part} {n}", n % 2 - 0.5) for n in range(20)) for part in ("train", "dev", "test"))
    assert heldout_rows(Corpus("c", train, dev, test), None, None, 0) == ("test", test)
    assert heldout_rows(Corpus("c", train, dev), None, None, 0) == ("dev", dev)
    assert heldout_rows(Corpus("c", train, dev, test), "dev", 100, 0) == ("dev", dev)
    _, some = heldout_rows(Corpus("c", train, dev, test), None, 6, 0)
    assert sorted(row.label for row in some) == [-0.5] * 3 + [0.5] * 3
    assert set(some) < set(test)
    with pytest.raises(InputError, match="part=test: corpus c has no such rows; its dev split has 20"):
        heldout_rows(Corpus("c", train, dev), "test", None, 0)
    with pytest.raises(InputError, match="part=dev: corpus c has no such rows; its test split has 0"):
        heldout_rows(Corpus("c", train), None, None, 0)
