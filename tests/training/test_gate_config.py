"""Promises of the gate, a probe of the prompt."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.chat import QUESTION, TURNS, chat_model

from lmsteer.errors import InputError
from lmsteer.models.random_models import tiny
from lmsteer.training.gate_config import GateConfig, fit_gate, prompt_states


def write(path: Path, lines: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return str(path)


def test_states_of_prompts_are_those_after_which_the_decode_loop_chooses() -> None:
    model = chat_model()
    contents = ["The film is", QUESTION, "I", TURNS, ""]
    states_ND = prompt_states(model, contents)
    for content, state_D in zip(contents, states_ND, strict=True):
        (ids,) = model.tokenize([model.prompt(content)])
        alone = model.hidden(torch.tensor([ids or [model.first_token()]]))[0, -1]
        torch.testing.assert_close(state_D, alone, rtol=1e-4, atol=1e-5)


def test_the_probe_is_the_minimum_of_its_loss_and_finds_a_direction() -> None:
    noise = torch.Generator().manual_seed(0)
    states = torch.randn(400, 8, generator=noise) * torch.arange(1, 9) + 3
    opens = states @ torch.tensor([1.0, 0, 0, 0, 0, 0, 0, -0.3]) > 0.5
    gate = fit_gate(states[:300], opens[:300])
    right = (gate.is_open(states[300:]) == opens[300:]).float().mean()
    assert right > 0.9
    wide, narrow = (fit_gate(states, opens, threshold=value).is_open(states).sum() for value in (0.1, 0.9))
    assert wide > opens.sum() > narrow

    def loss(weight_D: torch.Tensor, bias: float) -> float:
        """The loss once more, in the space of the states."""
        scale, z = states.double().std(0), states.double() @ weight_D + bias
        share = opens.double().mean()
        per_row = torch.where(
            opens, torch.nn.functional.softplus(-z) / share, torch.nn.functional.softplus(z) / (1 - share)
        )
        return float(per_row.mean() / 2 + 0.01 * (weight_D * scale).square().sum())

    whole = fit_gate(states, opens)
    weight = torch.tensor(whole.weight, dtype=torch.double)
    best = loss(weight, whole.bias)
    for k in range(8):
        for step in (-0.01, 0.01):
            moved = weight.clone()
            moved[k] += step
            assert loss(moved, whole.bias) > best
    assert min(loss(weight, whole.bias + step) for step in (-0.05, 0.05)) > best


def test_a_gate_learns_from_labeled_prompts_and_questions(tmp_path: Path) -> None:
    model = chat_model()
    lines = [{"prompt": f"the film is {word}", "label": 1} for word in ("dull", "slow", "long", "bad", "far")]
    lines += [{"question": f"why did {word} come?", "label": 0} for word in ("you", "we", "nobody", "people", "they")]
    gate = GateConfig(prompts=write(tmp_path / "p.jsonl", lines)).fit(model)
    contents, labels = GateConfig(prompts=str(tmp_path / "p.jsonl")).read()
    assert gate.is_open(prompt_states(model, contents)).tolist() == labels.tolist() == [True] * 5 + [False] * 5


def test_impossible_options_and_files_are_refused_in_one_line(tmp_path: Path) -> None:
    for options, message in (({"threshold": 1.0}, "threshold=1.0"), ({"penalty": 0.0}, "penalty=0.0")):
        with pytest.raises(InputError, match=f"schedule {message}: a number"):
            GateConfig(prompts="x", **options)
    one_kind = write(tmp_path / "a.jsonl", [{"prompt": "a", "label": 1}, {"prompt": "b", "label": 1}])
    with pytest.raises(InputError, match=r"a\.jsonl: two prompts or more with a label above 0, and two without"):
        GateConfig(prompts=one_kind).read()
    with pytest.raises(InputError, match=r"b\.jsonl.*label"):
        GateConfig(prompts=write(tmp_path / "b.jsonl", [{"prompt": "a"}])).read()
    lines = [{"question": str(number), "label": number % 2} for number in range(4)]
    questions = GateConfig(prompts=write(tmp_path / "c.jsonl", lines))
    with pytest.raises(InputError, match="it has no chat template"):
        questions.fit(tiny())
