"""Promises of generating at strengths that follow a schedule."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.chat import QUESTION, TURNS, chat_model

from lmsteer.behaviours.sentences import split_sentences
from lmsteer.behaviours.word_count import count_words
from lmsteer.errors import InputError
from lmsteer.evaluation.divergence import DivergenceMeter
from lmsteer.generation import decoding
from lmsteer.generation.decoding import ENDED, decode
from lmsteer.generation.generator import Generator
from lmsteer.generation.sampling import Greedy, Nucleus
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import TextsSoFar, mixture_at
from lmsteer.records import Prompt, read_generations
from lmsteer.steering.fold import mixed_steers
from lmsteer.steering.schedule import CountSchedule, Gate, Schedule, with_schedules
from lmsteer.steering.steer import Steer

TEXTS = ["The film is", "This is not the worst thing. It", "I", "nobody came to help us then. I would"]
PROMPTS = [Prompt(f"id-{number}", text) for number, text in enumerate(TEXTS)]
SCHEDULES: dict[str, Schedule] = {
    "tokens": CountSchedule(unit="tokens", begin=2, end=9, before=-1.0),
    "words": CountSchedule(unit="words", begin=3),
    "sentences": CountSchedule(unit="sentences", begin=2, before=0.5),
    "gate": Gate(weight=(1.0, *[0.0] * 31), bias=0.1),
}
STRENGTH = {"tone": 4.0, "mood": -2.0}


def steer(**schedules: Schedule) -> Steer:
    pair = Steer(32, dimensions=["tone", "mood"], rank=4, epsilon=0.3, init_std=0.5, seed=1)
    return with_schedules(pair, schedules)


def naive_factor(schedule: Schedule, text: str, tokens: int, prompt_D: torch.Tensor) -> float:
    """The rule of each of ``SCHEDULES`` once more, in plain words."""
    if isinstance(schedule, Gate):
        return 1.0 if float(prompt_D[0]) > -0.1 else 0.0
    if schedule.unit == "tokens":
        return -1.0 if tokens <= 2 else 1.0 if tokens >= 9 else -1.0 + 2.0 * (tokens - 2) / 7
    if schedule.unit == "words":
        return 1.0 if sum(any(map(str.isalnum, word)) for word in text.split()) >= 3 else 0.0
    return 1.0 if len(split_sentences(text)) >= 2 else 0.5


def naive_logits(model: LanguageModel, scheduled: Steer, ids: list[int], answer: list[int]) -> torch.Tensor:
    """Logits of the next token by explicit matrices, with everything read again."""
    states_TD = model.hidden(torch.tensor([[*ids, *answer]]))[0].double()
    text = str(model.tokenizer.decode(answer, skip_special_tokens=True))
    h_D = states_TD[-1].clone()
    for k, name in enumerate(scheduled.dimensions):
        rule = scheduled.schedules.get(name)
        factor = naive_factor(rule, text, len(answer), states_TD[len(ids) - 1]) if rule else 1.0
        h_D += scheduled.epsilon * STRENGTH[name] * factor * (states_TD[-1] @ scheduled.matrix(k).detach().double())
    return model.head(h_D[None].float())[0]


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_texts_are_those_of_a_loop_with_explicit_matrices_one_row_at_a_time(name: str) -> None:
    model, scheduled = chat_model(), steer(tone=SCHEDULES[name])
    contents = [*TEXTS, QUESTION, TURNS]
    rule = Greedy(max_new_tokens=24, stop_at_end=True)
    mixture = mixture_at(model, STRENGTH, scheduled)
    ours = decode(model, mixture, contents, np.zeros(len(contents), np.uint64), rule).ids_BT.tolist()
    ends = decoding._ends(model).tolist()
    barred = decoding._excluded(model, but_ends=True).tolist()
    varied = set()
    for content, row in zip(contents, ours, strict=True):
        (ids,) = model.tokenize([model.prompt(content)])
        answer: list[int] = []
        while len(answer) < 24:
            logits_V = naive_logits(model, scheduled, ids, answer)
            logits_V[barred + (ends if not answer else [])] = -torch.inf
            if (token := int(logits_V.argmax())) in ends:
                break
            answer.append(token)
        assert [token for token in row if token != ENDED] == answer
        varied.add(len(answer))
    constant = decode(model, mixture_at(model, STRENGTH, steer()), contents, np.zeros(6, np.uint64), rule).ids_BT
    assert constant.tolist() != ours, "the case needs a schedule that matters"


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_a_text_does_not_depend_on_its_batch_nor_on_texts_that_leave_it(
    name: str, tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_ends", lambda model: torch.arange(0, 300, 12))  # otherwise few texts end
    scheduled = steer(tone=SCHEDULES[name], mood=SCHEDULES["words"])

    def texts(batch_size: int) -> dict[str, tuple[str, ...]]:
        rule = Nucleus(max_new_tokens=30, stop_at_end=True)
        generator = Generator(tiny_model, PROMPTS, decoding=rule, samples=4, batch_size=batch_size)
        return {g.prompt.id: g.texts for batch in generator.run([STRENGTH], scheduled) for g in batch}

    whole = texts(16)
    assert len({len(text) for row in whole.values() for text in row}) > 6
    assert texts(4) == whole
    monkeypatch.setattr(decoding, "REMAINING", -1.0)
    assert texts(16) == whole


def test_a_strength_for_each_prompt_follows_the_schedule_too(tiny_model: LanguageModel) -> None:
    scheduled, generator = steer(tone=SCHEDULES["words"]), Generator(tiny_model, PROMPTS, decoding=Greedy())
    strengths = [{"tone": value, "mood": 1.0} for value in (-3.0, 0.0, 2.0, 5.0)]
    mixed = {g.prompt.id: g for batch in generator.run_rows(strengths, scheduled) for g in batch}
    for prompt, strength in zip(PROMPTS, strengths, strict=True):
        alone = [g for batch in generator.run([strength], scheduled) for g in batch if g.prompt == prompt]
        assert mixed[prompt.id] == alone[0]


def test_counts_of_the_text_so_far_are_those_of_the_verifiers_on_the_finished_text(tiny_model: LanguageModel) -> None:
    generator = Generator(tiny_model, PROMPTS, decoding=Nucleus(max_new_tokens=40), samples=25)
    ((*generations,),) = generator.run([{}])
    counted = set()
    for generation in generations:
        for text in generation.texts:
            (before,), (ids,) = (
                tiny_model.tokenize([one]) for one in (generation.prompt.text, generation.prompt.text + text)
            )
            if ids[: len(before)] != before or generation.prompt.text + tiny_model.detokenize(ids[len(before) :]) != (
                generation.prompt.text + text
            ):
                continue
            so_far = TextsSoFar(tiny_model, torch.zeros(1), torch.zeros(1, 32), [ids[len(before) :]])
            for unit, count in (("words", count_words(text)), ("sentences", len(split_sentences(text)))):
                reached, missed = (CountSchedule(unit=unit, begin=count + more) for more in (0, 1))  # type: ignore[arg-type]
                assert (reached.factors(so_far).tolist(), missed.factors(so_far).tolist()) == ([1.0], [0.0])
                counted.add((unit, count))
    assert len(counted) > 8, "the case needs texts of several lengths"


def test_without_a_schedule_the_head_is_folded_as_before(tiny_model: LanguageModel) -> None:
    (constant,), (scheduled,) = (
        mixture_at(tiny_model, STRENGTH, one).sources for one in (steer(), steer(tone=SCHEDULES["words"]))
    )
    assert constant.shift_rows is None
    assert scheduled.shift_rows is not None
    (other,) = mixture_at(tiny_model, {"mood": 2.0}, steer(tone=SCHEDULES["words"])).sources
    assert other.shift_rows is None, "a schedule of a dimension that is off costs nothing"


def test_behind_a_closed_gate_all_is_the_plain_models_bit_for_bit(tiny_model: LanguageModel) -> None:
    keys = np.arange(16, dtype=np.uint64)
    states = torch.cat([tiny_model.hidden(torch.tensor([ids]))[:, -1] for ids in tiny_model.tokenize(TEXTS)])
    middle = float(states[:, 0].sort().values[1:3].mean())
    gate = Gate(weight=(1.0, *[0.0] * 31), bias=-middle)
    assert gate.is_open(states).sum() == 2
    rule, gated = Nucleus(max_new_tokens=30), steer(tone=gate)
    plain, steered, constant = (
        decode(tiny_model, mixture_at(tiny_model, strength, one), TEXTS, keys, rule, likelihoods=True)
        for strength, one in (({}, gated), ({"tone": 4.0}, gated), ({"tone": 4.0}, steer()))
    )
    assert plain.nll_B is not None
    assert steered.nll_B is not None
    open_B = gate.is_open(states).repeat_interleave(4)
    assert torch.equal(steered.ids_BT[~open_B], plain.ids_BT[~open_B])
    assert torch.equal(steered.nll_B[~open_B], plain.nll_B[~open_B])
    assert torch.equal(steered.ids_BT[open_B], constant.ids_BT[open_B])
    assert not torch.equal(steered.ids_BT[open_B], plain.ids_BT[open_B])


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_the_divergence_is_that_of_a_plain_loop_over_the_tokens(name: str, tiny_model: LanguageModel) -> None:
    scheduled, rule = steer(tone=SCHEDULES[name]), Nucleus(max_new_tokens=12)
    plain = [g for batch in Generator(tiny_model, PROMPTS, decoding=rule, samples=3).run([{}]) for g in batch]
    expected = []
    for generation in plain:
        (ids,) = tiny_model.tokenize([generation.prompt.text])
        for text in generation.texts:
            (whole,) = tiny_model.tokenize([generation.prompt.text + text])
            for end in range(len(ids), len(whole)):
                log_p = naive_logits(tiny_model, scheduled, ids, whole[len(ids) : end]).log_softmax(-1)
                log_q = tiny_model.head(tiny_model.hidden(torch.tensor([whole[:end]]))[0, -1:])[0].log_softmax(-1)
                expected.append(float((log_p.exp() * (log_p - log_q)).sum()))
    for decoding_rule in (rule, Greedy()):
        nats_N = DivergenceMeter(tiny_model, plain, decoding_rule).nats(mixture_at(tiny_model, STRENGTH, scheduled))
        assert len(nats_N) == len(expected)
        assert float(nats_N.mean()) == pytest.approx(sum(expected) / len(expected), rel=1e-3)
        assert sorted(nats_N.tolist()) == pytest.approx(sorted(expected), rel=1e-2, abs=1e-4)


@pytest.mark.parametrize("stop", [0, 2, 5])
def test_an_interrupted_run_ends_with_the_same_file(
    tmp_path: Path, tiny_model: LanguageModel, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduled = steer(tone=SCHEDULES["sentences"], mood=SCHEDULES["gate"])
    settings = [({"tone": value, "mood": 2.0}, "") for value in (2.0, -3.0)]
    rule = Nucleus(max_new_tokens=10)
    generator = Generator(tiny_model, PROMPTS, decoding=rule, samples=3, batch_size=3)
    generator.write(tmp_path / "whole.jsonl", settings, scheduled)
    calls, original = 0, Generator.batch

    def interrupted(self: Generator, *args: object) -> object:
        nonlocal calls
        calls += 1
        if calls > stop:
            raise KeyboardInterrupt
        return original(self, *args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Generator, "batch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            generator.write(tmp_path / "resumed.jsonl", settings, scheduled)
    generator.write(tmp_path / "resumed.jsonl", settings, scheduled)
    assert (tmp_path / "resumed.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert len(read_generations(tmp_path / "whole.jsonl")) == 8


def test_a_hook_cannot_follow_a_schedule(tiny_model: LanguageModel) -> None:
    with (
        pytest.raises(InputError, match="the strength of tone follows a schedule, which a hook cannot do"),
        steer(tone=SCHEDULES["words"]).apply(tiny_model, 3.0),
    ):
        pass


def test_rows_with_steers_of_their_own_are_written_in_one_batch_as_alone(tiny_model: LanguageModel) -> None:
    scheduled, other = steer(tone=SCHEDULES["words"]), Steer(32, dimensions=["x"], rank="full", init_std=0.3, seed=2)
    rows: list[tuple[Steer | None, dict[str, float]]] = [(scheduled, STRENGTH), (None, {}), (other, {"x": 900.0})]
    rows.append((scheduled, {"tone": -3.0}))
    rule = Greedy(max_new_tokens=12, stop_at_end=True)
    together = decode(tiny_model, mixed_steers(tiny_model, rows), TEXTS, np.zeros(4, np.uint64), rule).ids_BT
    alone = [
        decode(tiny_model, mixture_at(tiny_model, strength, one), [text], np.zeros(1, np.uint64), rule).ids_BT[0]
        for text, (one, strength) in zip(TEXTS, rows, strict=True)
    ]
    written = [[token for token in row.tolist() if token != ENDED] for row in together]
    assert written == [[token for token in row.tolist() if token != ENDED] for row in alone]
    plain = decode(tiny_model, mixture_at(tiny_model, {}, None), TEXTS, np.zeros(4, np.uint64), rule).ids_BT
    assert [row.tolist() == other_row.tolist() for row, other_row in zip(together, plain, strict=True)].count(
        False
    ) >= 2
