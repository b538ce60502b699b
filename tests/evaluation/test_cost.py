"""Promises of the cost records, and of prompts that are held out from the calibration."""

from dataclasses import replace

import pytest
import torch
from tests.evaluation.test_calibration import PROTOCOL, plain_texts
from tests.methods.conftest import METHODS, fit

from lmsteer.errors import InputError
from lmsteer.evaluation import divergence as divergence_of
from lmsteer.evaluation.calibration import calibrate
from lmsteer.evaluation.cost import Setting, measure_costs
from lmsteer.evaluation.divergence import DivergenceMeter
from lmsteer.evaluation.plan import Plan
from lmsteer.evaluation.results import Cost
from lmsteer.generation.sampling import Nucleus
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Controller
from lmsteer.records import Generation
from lmsteer.steering.kl import divergence
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer

DECODING = Nucleus(max_new_tokens=4)
ONE_SET = replace(PROTOCOL, prompts={"a": PROTOCOL.prompts["a"]}, one_way={})


def costs(model: LanguageModel, controller: Controller, decoding: Nucleus, *values: float) -> dict[Setting, Cost]:
    plan = Plan(model, controller.dimensions, ONE_SET, decoding)
    plain = plain_texts(plan)
    steered = [replace(g, strength={controller.dimensions[0]: value}) for value in values for g in plain]
    provenance = Provenance(model="m", fingerprint="f", training={"seen": {"rows": 24, "tokens": 99}})
    return measure_costs(model, controller, provenance, [*plain, *steered], decoding)


@pytest.mark.parametrize(
    ("name", "strength", "passes"),
    [
        ("prompt", 1.0, 1),
        ("prompt", 2.0, 2),
        ("contrast", 1.0, 2),
        ("blacklist", 1.0, 1),
        ("lora", 1.0, 1),
        ("dexperts", 1.0, 3),
        ("anti_only", 1.0, 2),
        ("diffmean", 1.0, 1),
    ],
)
def test_a_row_costs_a_pass_for_each_source(tiny_model: LanguageModel, name: str, strength: float, passes: int) -> None:
    (cost,) = costs(tiny_model, fit(METHODS[name], tiny_model), DECODING, strength).values()
    assert cost.passes == passes
    assert (cost.train_rows, cost.train_tokens) == (24, 99)
    base = replace(DECODING, filter="base")
    (filtered,) = costs(tiny_model, fit(METHODS[name], tiny_model), base, strength).values()
    reads_plain = name not in ("prompt", "lora", "diffmean") or passes == 2
    assert filtered.passes == passes + (not reads_plain)


def test_parameters_are_counted_by_hand(tiny_model: LanguageModel) -> None:
    lora, experts = (costs(tiny_model, fit(METHODS[n], tiny_model), DECODING, 1.0) for n in ("lora", "dexperts"))
    (one,), (two,) = lora.values(), experts.values()
    matrices = [p for name, p in tiny_model.lm.named_parameters() if ".layers." in name and p.dim() == 2]
    expected = sum(2 * (p.shape[0] + p.shape[1]) for p in matrices)  # of rank 2
    assert (one.trained_parameters, one.inference_parameters) == (2 * expected, expected)
    assert (two.trained_parameters, two.inference_parameters) == (2 * expected, 2 * expected)
    assert expected > 0


def test_the_divergence_of_a_steer_is_that_of_its_head(tiny_model: LanguageModel, steer: Steer) -> None:
    records = costs(tiny_model, steer, DECODING, 2.0, -3.0)
    assert [dict(setting[2]) for setting in records] == [{"sentiment": 2.0}, {"sentiment": -3.0}]
    plan = Plan(tiny_model, steer.dimensions, ONE_SET, DECODING)
    for setting, cost in records.items():
        with torch.inference_mode():
            strength = steer.strengths(dict(setting[2]))[None]
            pairs = [(g, text) for g in plain_texts(plan) for text in g.texts]
            nats = [kl for pair in pairs for kl in naive(tiny_model, steer, strength, *pair)]
        assert cost.kl == pytest.approx(torch.tensor(nats).mean().item(), rel=1e-3)
        assert cost.kl_p95 == pytest.approx(torch.tensor(nats).quantile(0.95).item(), rel=1e-3)
        assert cost.inference_parameters * 2 == cost.trained_parameters == sum(p.numel() for p in steer.parameters())


def naive(model: LanguageModel, steer: Steer, strength: torch.Tensor, g: Generation, text: str) -> list[float]:
    first, ids = (model.tokenizer(part)["input_ids"] for part in (g.prompt.text, g.prompt.text + text))
    hidden = model.hidden(torch.tensor([ids]))[0, len(first) - 1 : -1]
    nats: list[float] = divergence(model.head, steer(hidden, strength), hidden).tolist()
    return nats


def test_no_strength_is_chosen_on_a_prompt_that_is_measured(tiny_model: LanguageModel, steer: Steer) -> None:
    protocol = replace(PROTOCOL, kl=0.2, held_out=True)
    plan = Plan(tiny_model, steer.dimensions, protocol, DECODING)
    calibrated = {(g.prompts_name, p.id) for g in plan.calibration_generators.values() for p in g.prompts}
    entries = calibrate(plan, plain_texts(plan), steer)
    measured = {(key, prompt.id) for key, g in plan.measured_generators.items() for prompt in g.prompts}
    assert len(calibrated) == 2 * 4
    assert {id for _, id in measured} == {"4", "5"}
    expected = plan.expected_generations(entries)
    assert {prompt.id for prompt, _, _ in expected} == {"4", "5"}
    assert {budget for _, _, budget in expected} == {"", "kl 0.2"}


def test_enough_prompts_are_needed_to_hold_some_out(tiny_model: LanguageModel, steer: Steer) -> None:
    protocol = replace(PROTOCOL, kl=0.2, held_out=True, calibration_prompts=6)
    with pytest.raises(InputError, match=r"protocol\.calibration_prompts=6: the prompt set a has 6; fewer expected"):
        Plan(tiny_model, steer.dimensions, protocol, DECODING)


def test_what_is_read_after_a_prefix_is_read_once_for_all_strengths(
    tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = fit(METHODS["contrast"], tiny_model)
    plain = plain_texts(Plan(tiny_model, fitted.dimensions, ONE_SET, DECODING))
    fresh = [DivergenceMeter(tiny_model, plain, DECODING).nats(fitted.at(tiny_model, {"tone": v})) for v in (1.0, 2.0)]
    read: list[int] = []
    meter = DivergenceMeter(tiny_model, plain, DECODING)
    states = divergence_of.batch_states
    monkeypatch.setattr(divergence_of, "batch_states", lambda model, texts: read.append(1) or states(model, texts))
    again = [meter.nats(fitted.at(tiny_model, {"tone": v})) for v in (1.0, 2.0, 1.0)]
    assert all(torch.equal(one, other) for one, other in zip(again, [*fresh, fresh[0]], strict=True))
    assert len(read) == len(meter._batches)
