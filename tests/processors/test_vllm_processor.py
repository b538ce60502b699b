"""The plugin of vLLM follows requests through a batch; ``make test-vllm`` runs it in vLLM itself.

The engine is a stand-in here: objects with the attributes of vLLM's own, whose names were read in vLLM 0.32.
"""

import importlib.metadata
import sys
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lmsteer.errors import InputError
from lmsteer.models.head import Head
from lmsteer.processors import vllm_processor
from lmsteer.processors.logit_steer import FILE, LogitSteer
from lmsteer.processors.vllm_processor import FOLDER, VllmSteerProcessor
from lmsteer.steering.steer import Steer

HEAD = Head(torch.randn(50, 32, generator=torch.Generator().manual_seed(0)))
CONFIG = SimpleNamespace(scheduler_config=SimpleNamespace(max_num_seqs=6))
LOGITS = torch.randn(4, 50)
Direction = Enum("Direction", ["UNIDIRECTIONAL", "SWAP"])


def request(**changed: Any) -> SimpleNamespace:
    """The options of a request as vLLM has them, without a strength."""
    neutral = {"min_tokens": 0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "repetition_penalty": 1.0}
    absent = dict.fromkeys(("allowed_token_ids", "bad_words", "logit_bias", "structured_outputs", "extra_args"))
    return SimpleNamespace(**neutral | absent | changed)


def asking(**strength: object) -> SimpleNamespace:
    return request(extra_args={name.replace("_", "."): value for name, value in strength.items()})


@pytest.fixture
def served(tmp_path: Path, steer: Steer, monkeypatch: pytest.MonkeyPatch) -> LogitSteer:
    """A folder with a processor, as the environment of the server names it."""
    LogitSteer.of(HEAD, steer).save(tmp_path / FILE)
    monkeypatch.setenv(FOLDER, str(tmp_path))
    vllm_processor._facts.cache_clear()
    return LogitSteer.load(tmp_path)


def update(**lists: list[Any]) -> SimpleNamespace:
    return SimpleNamespace(**{"removed": [], "added": [], "moved": []} | lists)


def steered(served: LogitSteer, *rows: tuple[float, float]) -> torch.Tensor:
    return served(LOGITS[: len(rows)], torch.tensor(rows))


def test_requests_keep_their_strength_wherever_the_first_runner_moves_them(served: LogitSteer) -> None:
    processor = VllmSteerProcessor(CONFIG, torch.device("cpu"), False)
    assert processor.apply(LOGITS) is LOGITS
    requests = [asking(steer=3), request(), asking(steer_dummy=1.5, steer_sentiment=-2)]
    processor.update_state(update(added=[(i, r, None, []) for i, r in enumerate(requests)]))
    assert torch.equal(processor.apply(LOGITS[:3]), steered(served, (3, 0), (0, 0), (-2, 1.5)))
    processor.update_state(None)
    processor.update_state(update(moved=[(0, 1, Direction.SWAP)]))
    assert torch.equal(processor.apply(LOGITS[:3]), steered(served, (0, 0), (3, 0), (-2, 1.5)))
    processor.update_state(update(removed=[1], moved=[(2, 1, Direction.UNIDIRECTIONAL)]))
    assert torch.equal(processor.apply(LOGITS[:2]), steered(served, (0, 0), (-2, 1.5)))
    processor.update_state(update(removed=[1], added=[(1, request(), None, [])]))
    assert processor.apply(LOGITS) is LOGITS
    assert not processor.is_argmax_invariant()


def test_rows_have_the_strength_of_their_slot_in_the_second_runner(served: LogitSteer) -> None:
    processor = VllmSteerProcessor(CONFIG, SimpleNamespace(device=torch.device("cpu"), max_num_reqs=6))
    assert processor.add_request(4, asking(steer=3))
    assert not processor.add_request(2, request())
    rows = SimpleNamespace(expanded_idx_mapping=torch.tensor([2, 4, 4], dtype=torch.int32))
    assert torch.equal(processor.apply(LOGITS[:3], rows), steered(served, (0, 0), (3, 0), (3, 0)))
    assert not processor.add_request(4, request())
    assert processor.apply(LOGITS[:3], rows) is not None
    assert torch.equal(processor.apply(LOGITS[:3], rows), LOGITS[:3])


def test_a_request_without_a_strength_has_that_of_the_file(
    tmp_path: Path, steer: Steer, monkeypatch: pytest.MonkeyPatch
) -> None:
    LogitSteer.of(HEAD, steer, {"sentiment": 2.0}).save(tmp_path / FILE)
    monkeypatch.setenv(FOLDER, str(tmp_path))
    vllm_processor._facts.cache_clear()
    processor = VllmSteerProcessor(CONFIG, torch.device("cpu"), False)
    processor.update_state(update(added=[(0, request(), None, []), (1, asking(steer=0), None, [])]))
    assert torch.equal(processor.apply(LOGITS[:2]), steered(LogitSteer.load(tmp_path), (2, 0), (0, 0)))
    with pytest.raises(InputError, match="min_tokens=3"):
        VllmSteerProcessor.validate_params(request(min_tokens=3))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (asking(steer="high"), "steer='high': a finite number for one of sentiment, dummy"),
        (asking(steer=True), "steer=True"),
        (asking(steer=float("nan")), "steer=nan"),
        (asking(steer_mood=3), "steer.mood=3"),
        *(
            (request(extra_args={"steer": 3}, **{name: value}), f"{name}=.* a steered request needs the model's own")
            for name, value in {
                "min_tokens": 1,
                "repetition_penalty": 1.1,
                "presence_penalty": 0.5,
                "frequency_penalty": -0.5,
                "logit_bias": {3: 1.0},
                "bad_words": ["x"],
                "allowed_token_ids": [3],
                "structured_outputs": object(),
            }.items()
        ),
    ],
)
@pytest.mark.usefixtures("served")
def test_a_request_that_cannot_be_steered_is_refused(params: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VllmSteerProcessor.validate_params(params)


@pytest.mark.usefixtures("served")
def test_other_requests_are_accepted_and_steered_if_they_ask_for_it() -> None:
    processor = VllmSteerProcessor(CONFIG, torch.device("cpu"), False)
    unsteered = (request(min_tokens=3, extra_args=args) for args in ({"other": "x", "steering": 1}, {"steer": 0}))
    for slot, params in enumerate((asking(steer=3), *unsteered)):
        VllmSteerProcessor.validate_params(params)
        assert processor.add_request(slot, params) is (slot == 0)


def test_without_a_folder_nothing_is_steered_and_a_strength_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    processor = VllmSteerProcessor(CONFIG, torch.device("cpu"), False)
    processor.update_state(update(added=[(0, request(), None, [])]))
    assert processor.apply(LOGITS) is LOGITS
    assert not processor.add_request(1, request())
    VllmSteerProcessor.validate_params(request(min_tokens=3))
    with pytest.raises(InputError, match="started with LMSTEER_PROCESSOR=FOLDER"):
        VllmSteerProcessor.validate_params(asking(steer=3))


def test_the_entry_point_is_the_class_and_it_needs_no_vllm() -> None:
    assert "vllm" not in sys.modules
    (entry,) = importlib.metadata.entry_points(group="vllm.logits_processors")
    assert entry.load() is VllmSteerProcessor


def test_with_vllm_it_is_a_processor_of_both_runners(monkeypatch: pytest.MonkeyPatch) -> None:
    bases = [type("LogitsProcessor", (), {}) for _ in vllm_processor.INTERFACES]
    for name, base in zip(vllm_processor.INTERFACES, bases, strict=True):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(LogitsProcessor=base))
    assert vllm_processor._interfaces() == tuple(bases)
