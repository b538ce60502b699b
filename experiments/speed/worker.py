"""Fit, generate and score once for each line of standard input: python -m experiments.speed.worker.

The first line of output describes the machine, each further one has the seconds of a round, as JSON.
"""

import json
import os
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO

from experiments.speed.measure import FOLDED, Bench, fit_with_store, prompt_pairs, score, write
from experiments.speed.meter import Meter
from experiments.speed.results import describe_machine
from experiments.speed.work import Work
from lmsteer.data.sources.snippets import snippets
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.load import smollm2

WORK = Work(sentences=256, steps=16, prompts=32, samples=5, texts=160)
WARM_UP_STEPS = 2


def work(model: LanguageModel, orders: TextIO, answers: TextIO) -> None:
    """Do the work once to warm up, then once for each line."""
    corpus, meter = snippets(), Meter(model.device)
    with tempfile.TemporaryDirectory() as folder:
        sentences, prompts = WORK.take_sentences(corpus), WORK.take_prompts(corpus)
        bench = Bench(WORK, sentences, prompts, model, model, 0, Path(folder), meter)
        steer, _ = fit_with_store(bench, WARM_UP_STEPS, 0, folder)
    pairs = prompt_pairs(write(bench, steer, bench.prompts, FOLDED), WORK.scored)
    score(bench, pairs)
    print(json.dumps(describe_machine(model.device, model.head.weight.dtype)), file=answers, flush=True)
    for _ in orders:
        with tempfile.TemporaryDirectory() as folder:
            meter.time("fit", fit_with_store, bench, WORK.steps, 0, folder)
        meter.time("generate", write, bench, steer, bench.prompts, FOLDED)
        meter.time("score", score, bench, pairs)
        print(json.dumps({name: seconds[-1] for name, seconds in meter.seconds.items()}), file=answers, flush=True)


if __name__ == "__main__":
    answers = sys.stdout
    with Path(os.devnull).open("w", encoding="utf-8") as null, redirect_stdout(null), redirect_stderr(null):
        work(smollm2(), sys.stdin, answers)  # without its progress bars; an exception is shown at the end
