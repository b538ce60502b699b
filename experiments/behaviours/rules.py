"""The rules by which behaviours are composed: each makes a controller of the model, or changes the prompt, or both."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from experiments.behaviours.fits import Fits
from lmsteer.methods.combination import add_vectors, merge_adapters
from lmsteer.models.mixture import Controller
from lmsteer.steering.composition import NONE, compose
from lmsteer.steering.merging import MERGED, add_factors_directly, dare, mean, merge, ties

Controlled = tuple[Controller | None, dict[str, float]]
"""A controller and its strengths; None for the plain model."""
Compose = Callable[[Fits, Sequence[str], Sequence[float]], Controlled]
Sweep = Literal["sum", "hybrid", "diffmean", "lora", ""]


@dataclass(frozen=True)
class Rule:
    """A way to get several behaviours at once.

    Attributes:
        heading: Words in tables.
        compose: Called with the fits, the behaviours and their strengths.
        sweep: The rule whose single-behaviour dev accuracy chooses the strengths; empty: it has none.
        is_instructed: Whether the question is asked with an instruction for each behaviour, whose order then matters.
        edits_body: Whether the body computes something else, so that other rules cannot write in the same batch.
    """

    heading: str
    compose: Compose
    sweep: Sweep
    is_instructed: bool = False
    edits_body: bool = False


def _plain(fits: Fits, names: Sequence[str], strengths: Sequence[float]) -> Controlled:
    return None, {}


def _sum(fits: Fits, names: Sequence[str], strengths: Sequence[float]) -> Controlled:
    return compose(fits.steers(names), dummy=NONE), dict(zip(names, strengths, strict=True))


def _merged(merging: Callable[[Fits, Sequence[str], Sequence[float]], Controller]) -> Compose:
    return lambda fits, names, strengths: (merging(fits, names, strengths), {MERGED: 1.0})


def _dare(fits: Fits, names: Sequence[str], strengths: Sequence[float]) -> Controller:
    rule = partial(dare, density=fits.config["density"], noise=torch.Generator().manual_seed(fits.config["seed"]))
    return merge(fits.steers(names), strengths, rule)


RULES: Mapping[str, Rule] = {
    "sum": Rule("Σ v W", _sum, "sum"),
    "added factors": Rule(
        "added factors", _merged(lambda fits, names, v: add_factors_directly(fits.steers(names), v)), "sum"
    ),
    "mean": Rule("mean of W", _merged(lambda fits, names, v: merge(fits.steers(names), v, mean)), "sum"),
    "ties": Rule(
        "TIES on W",
        _merged(lambda fits, names, v: merge(fits.steers(names), v, partial(ties, density=fits.config["density"]))),
        "sum",
    ),
    "dare": Rule("DARE on W", _merged(_dare), "sum"),
    "joint": Rule("joint fit", _merged(lambda fits, names, v: fits.joint(names, v)), "sum"),
    "diffmean": Rule(
        "diffmean sum",
        _merged(lambda fits, names, v: add_vectors([fits.get("vector", name) for name in names], v)),
        "diffmean",
        edits_body=True,
    ),
    "lora": Rule(
        "LoRA dare_linear",
        _merged(
            lambda fits, names, v: merge_adapters(
                [fits.get("adapter", name) for name in names],
                v,
                density=fits.config["density"],
                seed=fits.config["seed"],
            )
        ),
        "lora",
        edits_body=True,
    ),
    "instruction": Rule("instruction", _plain, "", is_instructed=True),
    "hybrid": Rule("Σ v W + instruction", _sum, "hybrid", is_instructed=True),
}
"""The rules by name, in the order of the tables."""
PLAIN = Rule("plain", _plain, "")
"""No steer and no instruction: how often the plain model happens to do it."""
SWEPT = tuple(name for name, rule in RULES.items() if rule.sweep == name)
"""Rules with strengths of their own."""


def edits_body(rule: str) -> bool:
    """Return whether a rule, or ``plain``, edits the body."""
    return RULES.get(rule, PLAIN).edits_body
