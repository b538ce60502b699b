"""Promises of optimizers, schedulers, callbacks and options of the Lightning trainer."""

import math
from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from tests.training.test_fit import STEER_CONFIG, corpus
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR

from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.steering.steer import Steer
from lmsteer.training.fit import fit
from lmsteer.training.fit_config import FitConfig
from lmsteer.training.optimization import Optimization

ADAM = partial(torch.optim.Adam, lr=1e-2)
SGD = partial(torch.optim.SGD, lr=0.5)


class Record(pl.Callback):
    """Records the learning rate and the dtype of the weights at every step."""

    def __init__(self) -> None:
        self.lrs: list[float] = []
        self.dtypes: set[torch.dtype] = set()

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        self.lrs.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.dtypes |= {parameter.dtype for parameter in module.parameters()}


def fitted(model: LanguageModel, steps: int, **options: Any) -> Steer:
    fit_config = FitConfig(steps=steps, batch_size=8, dev_every=steps, stop="none")
    return fit(model, corpus(), STEER_CONFIG, fit_config, optimization=Optimization(**options))[0]


def test_a_clipped_gradient_moves_the_weights_by_its_limit(tiny_model: LanguageModel) -> None:
    start, limit = STEER_CONFIG.build(tiny_model.width, 0), 1e-6
    end = fitted(tiny_model, 1, optimizer=SGD, trainer={"gradient_clip_val": limit})
    move = torch.cat([(b - a).flatten() for a, b in zip(start.parameters(), end.parameters(), strict=True)]).norm()
    assert move.item() == pytest.approx(0.5 * limit, rel=0.05)


def test_adamw_is_adam_and_a_decay_of_the_weights(tiny_model: LanguageModel) -> None:
    start, plain = STEER_CONFIG.build(tiny_model.width, 0), fitted(tiny_model, 1, optimizer=ADAM)
    decayed = fitted(tiny_model, 1, optimizer=partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.3))
    torch.testing.assert_close(decayed.p1, plain.p1 - 1e-2 * 0.3 * start.p1)


@pytest.mark.parametrize(
    ("scheduler", "factor"),
    [
        (partial(CosineAnnealingLR, T_max=4), lambda t: (1 + math.cos(math.pi * t / 4)) / 2),
        (partial(LinearLR, start_factor=1.0, end_factor=0.0, total_iters=4), lambda t: 1 - t / 4),
        (None, lambda t: 1.0),
    ],
)
def test_the_learning_rate_follows_the_scheduler_step_by_step(
    tiny_model: LanguageModel, scheduler: Any, factor: Any
) -> None:
    record = Record()
    fitted(tiny_model, 4, optimizer=SGD, scheduler=scheduler, callbacks={"record": record})
    assert record.lrs == pytest.approx([0.5 * factor(t) for t in range(4)])


def test_precision_is_that_of_the_weights_while_they_are_fitted(tiny_model: LanguageModel) -> None:
    record = Record()
    steer = fitted(tiny_model, 2, callbacks={"record": record}, trainer={"precision": "bf16-true"})
    assert record.dtypes == {torch.bfloat16}
    assert {parameter.dtype for parameter in steer.parameters()} == {torch.float32}


def test_a_fit_ends_when_its_time_is_over(tiny_model: LanguageModel) -> None:
    record = Record()
    fitted(tiny_model, 20, callbacks={"record": record}, trainer={"max_time": "00:00:00:00"})
    assert len(record.lrs) < 20


def test_a_steer_file_records_what_is_not_the_default(tiny_model: LanguageModel) -> None:
    assert Optimization().settings() == {"lr": 0.01}
    settings = Optimization(
        optimizer=partial(torch.optim.SGD, lr=0.5, momentum=0.9),
        scheduler=partial(CosineAnnealingLR, T_max=4),
        callbacks={"record": Record()},
        trainer={"gradient_clip_val": 1.0},
    )
    _, provenance = fit(tiny_model, corpus(), STEER_CONFIG, FitConfig(steps=1), optimization=settings)
    expected = {
        "lr": 0.5,
        "optimizer": {"name": "SGD", "momentum": 0.9},
        "scheduler": {"name": "CosineAnnealingLR", "T_max": 4},
        "callbacks": ["Record"],
        "trainer": {"gradient_clip_val": 1.0},
    }
    assert provenance.training.items() >= expected.items()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": partial(torch.optim.Adam, lr=0.0)}, r"optimizer\.lr=0\.0: a number above 0"),
        ({"optimizer": partial(torch.optim.SGD, lr=1e39)}, r"optimizer\.lr=1e\+39"),
        ({"optimizer": partial(torch.optim.Adam, lr=math.nan)}, r"optimizer\.lr=nan"),
        ({"trainer": {"accumulate_grad_batches": 2}}, r"trainer\.accumulate_grad_batches: the loss is the mean over"),
        ({"trainer": {"max_steps": 5}}, r"trainer\.max_steps: fit\.steps decides"),
        ({"trainer": {"gradient_clip": 5}}, r"trainer\.gradient_clip: no option of pytorch_lightning\.Trainer"),
        ({"trainer": {"precision": "12"}}, r"trainer\.precision: refused by Lightning \("),
        ({"trainer": {"max_time": "soon"}}, r"trainer\.max_time: refused by Lightning \("),
    ],
)
def test_impossible_options_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Optimization(**options)
