"""Promises of calibration: the strength that reaches a budget is found, or refused by name."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lmsteer.data.prompts.selection import PromptSet
from lmsteer.evaluation.calibration import calibrate, with_calibrations
from lmsteer.evaluation.plan import Plan
from lmsteer.evaluation.protocol import Protocol
from lmsteer.generation.generator import Generator
from lmsteer.generation.plain_texts import PlainTexts
from lmsteer.generation.sampling import Nucleus
from lmsteer.metrics.functional import perplexity
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Generation, Prompt, read_generations
from lmsteer.scoring.perplexity import continuation_nll
from lmsteer.steering.budget import Budget
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer, save_steer
from lmsteer.steering.strength_search import TOLERANCE, Unreachable, find_strength

PROMPTS = [Prompt(str(number), f"prompt {number} of some") for number in range(6)]


def prompt_set(name: str) -> PromptSet:
    return PromptSet(name, tuple(replace(prompt, text=f"{name} {prompt.text}") for prompt in PROMPTS))


PROTOCOL = Protocol(
    name="toy",
    metric="tone",
    prompts={"a": lambda: prompt_set("first"), "b": lambda: prompt_set("second")},
    one_way={"b": "positive"},
    strengths=(-3.0, 3.0),
    samples=8,
    calibration_prompts=4,
)


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("rate", [1e-3, 0.02, 3.0])
def test_the_strength_of_a_quadratic_cost_is_found_in_few_tries(direction: int, rate: float) -> None:
    result = find_strength(lambda v: rate * v * v, Budget("kl", 0.3), direction=direction, start=5.0, at_zero=0.0)
    assert result.strength == pytest.approx(direction * math.sqrt(0.3 / rate), rel=0.01)
    assert result.reached == pytest.approx(rate * result.strength**2)
    assert len(result.tried) <= 6
    assert (result.strength, result.reached) in result.tried


@pytest.mark.parametrize("bend", [0.5, 1.0, 4.0])
def test_the_strength_of_a_bent_cost_is_found_within_the_tolerance(bend: float) -> None:
    result = find_strength(
        lambda v: 1 - 0.1 * math.sin(abs(v)) + abs(v / 7) ** bend, Budget("perplexity", 2.0), direction=1, start=5.0,
        at_zero=1.0,
    )  # fmt: skip
    assert abs(result.reached - 2.0) <= 2.0 * TOLERANCE["perplexity"]


def test_what_cannot_be_reached_is_refused() -> None:
    with pytest.raises(Unreachable, match=r"perplexity ×2: strength \+1000 costs 1\.5 only"):
        find_strength(lambda v: 1.5, Budget("perplexity", 2.0), direction=1, start=5.0, at_zero=1.0)
    with pytest.raises(Unreachable, match=r"kl 0\.3: strength 0 costs 0\.5 already"):
        find_strength(lambda v: v * v, Budget("kl", 0.3), direction=1, start=5.0, at_zero=0.5)


@pytest.fixture
def plan(tiny_model: LanguageModel, steer: Steer) -> Plan:
    protocol = replace(PROTOCOL, kl=0.2, perplexity=1.1)
    return Plan(tiny_model, steer.dimensions, protocol, Nucleus(p=1.0, max_new_tokens=6))


def plain_texts(plan: Plan) -> list[Generation]:
    return [g for generator in plan.generators.values() for batch in generator.run([{}]) for g in batch]


@torch.inference_mode()
def test_the_calibrated_strength_has_the_divergence_that_a_naive_count_gives(plan: Plan, steer: Steer) -> None:
    plan.protocol = replace(plan.protocol, perplexity=None)
    entries = calibrate(plan, plain_texts(plan), steer)
    assert [entry["strength"] > 0 for entry in entries] == [False, True]
    for entry in entries:
        sets = {"first"} if entry["strength"] < 0 else {"first", "second"}
        assert entry["prompts"] == dict.fromkeys(sorted(sets), 4)
        chosen = [g for g in plain_texts(plan) if g.prompts in sets and int(g.prompt.id) < 4]
        total, count = 0.0, 0
        for g in chosen:
            for text in g.texts:
                ids = plan.model.tokenizer(g.prompt.text + text, return_tensors="pt")["input_ids"]
                first = len(plan.model.tokenizer(g.prompt.text)["input_ids"])
                hidden = plan.model.hidden(ids)[0, first - 1 : -1]
                strength = steer.strengths({"sentiment": entry["strength"]})[None]
                steered, plain = (plan.model.head(x).log_softmax(-1) for x in (steer(hidden, strength), hidden))
                total += (steered.exp() * (steered - plain)).sum().item()
                count += len(hidden)
        assert total / count == pytest.approx(entry["reached"], rel=0.01)
        assert entry["reached"] == pytest.approx(0.2, rel=TOLERANCE["kl"])


def test_each_budget_of_a_list_has_its_strength_and_its_row(plan: Plan, steer: Steer) -> None:
    plan.protocol = replace(plan.protocol, kl=[0.3, 0.1, 0.2], perplexity=None, strengths=(3.0,))
    entries = calibrate(plan, plain_texts(plan), steer)
    assert [entry["budget"] for entry in entries] == ["kl 0.3", "kl 0.1", "kl 0.2"]
    assert [entry["reached"] for entry in entries] == [pytest.approx(value, rel=0.01) for value in (0.3, 0.1, 0.2)]
    assert entries[1]["strength"] < entries[2]["strength"] < entries[0]["strength"]
    assert plan.calibrated(entries) == entries
    rows = plan.settings("a", entries)
    assert [budget for _, budget in rows] == ["", "kl 0.3", "kl 0.1", "kl 0.2"]
    assert [strength["sentiment"] for strength, _ in rows] == [3.0, *(entry["strength"] for entry in entries)]


def test_the_calibrated_strength_has_the_perplexity_it_says(plan: Plan, steer: Steer) -> None:
    plan.protocol = replace(plan.protocol, kl=None, strengths=(3.0,))
    (entry,) = calibrate(plan, plain_texts(plan), steer)

    def mean_perplexity(strength: dict[str, float]) -> float:
        generators = plan.calibration_generators.values()
        texts = [g for generator in generators for batch in generator.run([strength], steer) for g in batch]
        pairs = [(g.prompt.text, text) for g in texts for text in g.texts]
        nats, tokens = continuation_nll(plan.model, *map(list, zip(*pairs, strict=True)))
        return float(perplexity(nats[:, None], tokens[:, None]).mean())

    ratio = mean_perplexity({"sentiment": entry["strength"]}) / mean_perplexity({})
    assert entry["reached"] == pytest.approx(ratio, rel=1e-3)
    assert entry["reached"] == pytest.approx(1.1, rel=2 * TOLERANCE["perplexity"])


def test_a_cost_that_jumps_over_the_budget_ends_at_the_nearest_strength(caplog: pytest.LogCaptureFixture) -> None:
    def cost(v: float) -> float:
        return 1.0 + (v > 3) * 9.0 + v / 1000

    result = find_strength(cost, Budget("perplexity", 2.0), direction=1, start=5.0, at_zero=1.0)
    assert result.reached < 1.1
    assert "the cost jumps" in caplog.text


def test_a_budget_out_of_reach_is_recorded_and_gets_no_row(
    plan: Plan, steer: Steer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lmsteer")
    plan.protocol = replace(plan.protocol, kl=1e3, perplexity=None)
    entries = calibrate(plan, plain_texts(plan), steer)
    assert [entry["strength"] for entry in entries] == [None, None]
    assert all("only" in entry["unreachable"] for entry in entries)
    assert caplog.text.count("it gets no row") == 2
    assert plan.settings("b", entries) == [({"sentiment": 3.0}, "")]


def test_each_set_gets_the_strengths_of_its_directions(plan: Plan) -> None:
    entry = {"budget": "kl 0.2", "protocol": "toy", "dimension": "sentiment", "fixed_strengths": {}}
    others = [entry | {"strength": 9.0, key: value} for key, value in (("protocol", "x"), ("budget", "kl 1"))]
    out_of_reach = entry | {"budget": "perplexity ×1.1", "strength": None}
    calibration = [entry | {"strength": -2.5}, entry | {"strength": 2.0}, *others, out_of_reach]
    assert plan.settings("a", calibration) == [
        ({"sentiment": -3.0}, ""),
        ({"sentiment": 3.0}, ""),
        ({"sentiment": -2.5}, "kl 0.2"),
        ({"sentiment": 2.0}, "kl 0.2"),
    ]
    assert plan.settings("b", calibration) == [({"sentiment": 3.0}, ""), ({"sentiment": 2.0}, "kl 0.2")]


def test_the_dummy_is_on_where_the_protocol_wants_it_and_the_steer_has_one(tiny_model: LanguageModel) -> None:
    protocol = replace(PROTOCOL, dummy=1.0)
    with_dummy, without = (Plan(tiny_model, names, protocol, Nucleus()) for names in (("tone", "dummy"), ("tone",)))
    assert with_dummy.settings("b", []) == [({"tone": 3.0, "dummy": 1.0}, "")]
    assert without.settings("b", []) == [({"tone": 3.0}, "")]


def test_calibrations_are_written_to_the_file_and_replace_those_of_the_same_kind(tmp_path: Path, steer: Steer) -> None:
    def entry(strength: float, protocol: str = "p") -> dict[str, object]:
        direction = 1 if strength > 0 else -1
        known = {"budget": "kl 0.3", "dimension": "sentiment", "protocol": protocol, "fixed_strengths": {}}
        return known | {"strength": strength, "direction": direction}

    provenance = Provenance(model="m", fingerprint="f", calibration=[entry(1.0), entry(-1.0), entry(1.5, "q")])
    save_steer(tmp_path / "steer.safetensors", steer, with_calibrations(provenance, [entry(2.0)]))
    again, read = load_steer(tmp_path / "steer.safetensors")
    assert [(e["strength"], e["protocol"]) for e in read.calibration] == [(-1.0, "p"), (1.5, "q"), (2.0, "p")]
    torch.testing.assert_close(again.p1, steer.p1, rtol=0, atol=0)


def test_plain_texts_are_generated_once_and_are_those_of_the_generator(
    tmp_path: Path, tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def generator(**changes: int) -> Generator:
        how = {"samples": 2, "seed": 0, **changes}
        return Generator(tiny_model, PROMPTS, decoding=Nucleus(max_new_tokens=3), likelihoods=True, **how)

    store = PlainTexts(tmp_path / "kept")
    generator().write(tmp_path / "own.jsonl", [({}, "")])
    store.write(generator(), tmp_path / "first.jsonl")
    assert (tmp_path / "first.jsonl").read_bytes() == (tmp_path / "own.jsonl").read_bytes()
    store.write(generator(seed=1), tmp_path / "other.jsonl")
    assert read_generations(tmp_path / "other.jsonl") != read_generations(tmp_path / "own.jsonl")
    monkeypatch.setattr(Generator, "write", None)
    store.write(generator(), tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "own.jsonl").read_bytes()
    monkeypatch.setattr("lmsteer.generation.generator._code", lambda: "another decode loop")
    with pytest.raises(TypeError, match="not callable"):  # it generates anew
        store.write(generator(), tmp_path / "further.jsonl")


def test_budgets_of_a_kind_share_what_was_measured_and_end_as_if_each_were_searched_alone(
    plan: Plan, steer: Steer, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, generated = plain_texts(plan), list[float]()
    run = Generator.run

    def counted(self: Generator, strengths: Sequence[Mapping[str, float]], *others: Any) -> Any:
        generated.extend(strength["sentiment"] for strength in strengths)
        return run(self, strengths, *others)

    def searched(perplexity: float | list[float]) -> list[dict[str, Any]]:
        plan.protocol = replace(plan.protocol, kl=None, perplexity=perplexity, strengths=(3.0,), one_way={})
        return calibrate(plan, plain, steer)

    alone = [entry for budget in (1.1, 1.3) for entry in searched(budget)]
    monkeypatch.setattr(Generator, "run", counted)
    assert searched([1.1, 1.3]) == alone
    tried = [strength for entry in alone for strength, _ in entry["tried"]]
    assert tried.count(3.0) == 2
    assert sorted(generated) == sorted(2 * [*{*tried}]), "each strength once for each of the two prompt sets"
