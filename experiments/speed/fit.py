"""Fitting: the paper's steps beside a whole fit, extraction included, and beside the next fit of a sweep."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from tqdm.auto import tqdm

from experiments.speed.bench import Bench
from experiments.speed.plain import PlainFit
from lmsteer.data.feature_store import FeatureStoreConfig
from lmsteer.steering.steer import Steer
from lmsteer.training.fit import FitConfig, fit

STEP, FIT, AGAIN = "plain step", "fit", "fit again"
WARM_STEPS, WARM_SENTENCES = 2, 64

Curve = list[list[float]]


def measure_fit(bench: Bench) -> tuple[Steer, Curve, Curve]:
    """Time both sides in turns.

    Returns:
        Our steer, and the training curves, ``[[step, nats], …]``: the plain one as far as it was gone, and ours.
    """
    how = FitConfig(steps=bench.work.steps, dev_every=bench.work.steps)
    plain = PlainFit(bench.plain, bench.corpus, bench.steer_settings, how, seed=bench.seed)
    plain.step()
    few = replace(bench, corpus=replace(bench.corpus, train=bench.corpus.train[:WARM_SENTENCES]))
    with tempfile.TemporaryDirectory(prefix="store-", dir=bench.folder) as folder:
        fit_here(few, replace(how, steps=WARM_STEPS, dev_every=WARM_STEPS), bench.seed, Path(folder))

    def plain_steps() -> None:
        with bench.meter.part(STEP):
            for _ in tqdm(range(bench.work.plain_steps), desc="plain fit", unit="step"):
                bench.meter.time(STEP, plain.step)

    for repeat in range(bench.work.fits):
        plain_steps()
        with tempfile.TemporaryDirectory(prefix="store-", dir=bench.folder) as folder:
            with bench.meter.part(FIT):
                steer, curve = bench.meter.time(FIT, fit_here, bench, how, bench.seed, Path(folder))
            plain_steps()
            with bench.meter.part(AGAIN):
                bench.meter.time(AGAIN, fit_here, bench, how, bench.seed + 1 + repeat, Path(folder))
        plain_steps()
    return steer, [[step, loss] for step, loss in enumerate(plain.losses, 1)], curve


def fit_here(bench: Bench, how: FitConfig, seed: int, folder: Path) -> tuple[Steer, Curve]:
    """Our fit with its hidden states kept in a folder; the steer and its training curve."""
    store = FeatureStoreConfig(where=str(folder))
    steer, provenance = fit(bench.ours, bench.corpus, bench.steer_settings, how, seed=seed, store=store)
    return steer, provenance.training["curve"]["train"]
