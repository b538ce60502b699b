"""The plugin of vLLM, by the entry point ``vllm.logits_processors``: a strength for each request.

``LMSTEER_PROCESSOR`` names a folder that ``python -m src.export form=processor`` wrote; without it nothing is steered.
A request says ``"vllm_xargs": {"steer": 5}`` for the first dimension, or ``{"steer.NAME": 5, …}``.

Shapes: B rows, K dimensions, S slots of requests, V vocabulary.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.processors.logit_steer import LogitSteer, load_facts
from lmsteer.steering.dimensions import is_strength

FOLDER = "LMSTEER_PROCESSOR"
ARGUMENT = "steer"
INTERFACES = ("vllm.v1.sample.logits_processor", "vllm.v1.worker.gpu.sample.logits_processor")
"""Modules with the interface of the first and the second model runner; an installed vLLM has one or both."""
NEUTRAL: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("allowed_token_ids", "bad_words", "logit_bias", "structured_outputs"), (None, [], {})),
    **dict.fromkeys(("min_tokens", "presence_penalty", "frequency_penalty"), (0,)),
    "repetition_penalty": (1,),
}
"""Options of a request that change logits before a processor reads them, with the values at which they do not."""


def _interfaces() -> tuple[type, ...]:
    bases = []
    for name in INTERFACES:
        try:
            bases.append(import_module(name).LogitsProcessor)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "vllm":
                raise
    return tuple(bases)


class VllmSteerProcessor(*_interfaces()):  # type: ignore[misc]
    """Steer each request of a batch at its own strength, under either model runner of vLLM.

    Args:
        vllm_config: Configuration of the engine.
        device_or_state: Device of the logits (first runner), or the shared state of the requests (second runner).
        is_pin_memory: Given by the first runner, and not used.

    Raises:
        InputError: If the folder in ``LMSTEER_PROCESSOR`` has no processor.
    """

    def __init__(self, vllm_config: Any, device_or_state: Any, is_pin_memory: bool = False) -> None:
        slots = getattr(device_or_state, "max_num_reqs", None) or vllm_config.scheduler_config.max_num_seqs
        device = getattr(device_or_state, "device", device_or_state)
        folder = os.environ.get(FOLDER)
        self.logit_steer = LogitSteer.load(Path(folder)).to(device) if folder else None
        self.strength_SK = torch.zeros(slots, len(self.logit_steer.dimensions) if self.logit_steer else 1)

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Refuse a request whose strength is unknown, or whose logits would be changed before they are steered.

        Raises:
            InputError: With the reason, which vLLM returns to the client.
        """
        folder = os.environ.get(FOLDER)
        asked = _given(sampling_params)
        if asked and not folder:
            raise InputError(f"{ARGUMENT}={asked}: the server has no steer; it is started with {FOLDER}=FOLDER")
        if not folder or not any(_strength(sampling_params, _facts(folder)).values()):
            return
        for name, neutral in NEUTRAL.items():
            if (value := getattr(sampling_params, name, None)) is not None and value not in neutral:
                raise InputError(f"{name}={value}: a steered request needs the model's own logits; leave it out")

    def is_argmax_invariant(self) -> bool:
        """Return False: a steer may change the likeliest word."""
        return False

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """Set the strength of a slot; return whether it is steered (second runner)."""
        if self.logit_steer is None:
            return False
        facts = {"dimensions": self.logit_steer.dimensions, "strength": self.logit_steer.strength}
        self.strength_SK[req_idx] = self.logit_steer.strengths(_strength(sampling_params, facts))
        return bool(self.strength_SK[req_idx].any())

    def update_state(self, batch_update: Any) -> None:
        """Follow requests that came, went or changed their slot (first runner)."""
        if batch_update is None:
            return
        for index in batch_update.removed:
            self.strength_SK[index] = 0
        for index, params, *_ in batch_update.added:
            self.add_request(index, params)
        for one, other, direction in batch_update.moved:
            strength_K = self.strength_SK[one].clone()
            self.strength_SK[one] = self.strength_SK[other] if direction.name == "SWAP" else 0
            self.strength_SK[other] = strength_K

    def apply(self, logits: Tensor, ctx: Any = None) -> Tensor:
        """Return steered logits (B, V).

        Args:
            ctx: The rows' slots (second runner); None: row and slot are the same.
        """
        if self.logit_steer is None or not self.strength_SK.any():
            return logits
        slots = slice(len(logits)) if ctx is None else ctx.expanded_idx_mapping.cpu().long()
        return self.logit_steer(logits, self.strength_SK[slots])


@functools.cache
def _facts(folder: str) -> dict[str, Any]:
    return load_facts(Path(folder))


def _given(sampling_params: Any) -> dict[str, Any]:
    """Return the arguments of a request that are about the steer."""
    arguments = getattr(sampling_params, "extra_args", None) or {}
    return {name: value for name, value in arguments.items() if name.partition(".")[0] == ARGUMENT}


def _strength(sampling_params: Any, facts: Mapping[str, Any]) -> dict[str, float]:
    """Return the strengths of a request by dimension, with those of the file where it gives none.

    Raises:
        InputError: If a dimension is unknown, or a strength is not a finite number.
    """
    named = {}
    for argument, value in _given(sampling_params).items():
        name = argument.partition(".")[2] if "." in argument else facts["dimensions"][0]
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and is_strength(value)
        if name not in facts["dimensions"] or not is_number:
            raise InputError(
                f"{argument}={value!r}: a finite number for one of {', '.join(facts['dimensions'])} expected"
            )
        named[name] = float(value)
    return dict(facts["strength"]) | named
