"""Promises of the gradient solver: its module, optimizer, scheduler, callbacks and Lightning trainer."""

import math
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping
from tests.training.test_fit import STEER_CONFIG, corpus
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR

from lmsteer.data.datamodule import SteerDataModule
from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.steering.provenance import Provenance, load_provenance
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import save_steer
from lmsteer.training.fit import fit
from lmsteer.training.gradient_solver import GradientSolver
from lmsteer.training.module import SteerModule

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


class Count(pl.Callback):
    """Counts what the trainer calls."""

    def __init__(self) -> None:
        self.called: Counter[str] = Counter()

    def on_fit_start(self, *_: Any) -> None:
        self.called["fit"] += 1

    def on_train_batch_end(self, *_: Any) -> None:
        self.called["step"] += 1

    def on_validation_end(self, *_: Any) -> None:
        self.called["validation"] += 1


def fit_with(model: LanguageModel, solver: GradientSolver) -> tuple[Steer, Provenance]:
    return fit(model, corpus(), STEER_CONFIG, solver, data=partial(SteerDataModule, batch_size=8))


def fitted(model: LanguageModel, steps: int, *, trainer: Mapping[str, Any] | None = None, **options: Any) -> Steer:
    trainer = {"max_steps": steps, "val_check_interval": steps, **(trainer or {})}
    return fit_with(model, GradientSolver(module=partial(SteerModule, stop="none"), trainer=trainer, **options))[0]


def test_the_trainer_is_a_class_with_its_options_bound_or_these_options_alone(tiny_model: LanguageModel) -> None:
    options: dict[str, Any] = {"max_steps": 3, "gradient_clip_val": 0.5, "precision": None}
    bound, bound_provenance = fit_with(tiny_model, GradientSolver(trainer=partial(pl.Trainer, **options)))
    alone, provenance = fit_with(tiny_model, GradientSolver(trainer=options))
    assert torch.equal(bound.p1, alone.p1)
    assert torch.equal(bound.p2, alone.p2)  # type: ignore[arg-type]
    assert bound_provenance == provenance
    assert len(provenance.training["curve"]["train"]) == 3
    assert provenance.training["trainer"] == {"gradient_clip_val": 0.5}


def test_a_trainer_of_ones_own_fits(tiny_model: LanguageModel) -> None:
    built = []

    class Trainer(pl.Trainer):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            built.append(self)

    own, provenance = fit_with(tiny_model, GradientSolver(trainer=partial(Trainer, max_steps=3)))
    expected, expected_provenance = fit_with(tiny_model, GradientSolver(trainer={"max_steps": 3}))
    assert [trainer.global_step for trainer in built] == [3]
    assert torch.equal(own.p1, expected.p1)
    assert provenance == expected_provenance


def test_callbacks_of_ones_own_are_called_at_every_step_and_validation(tiny_model: LanguageModel) -> None:
    callbacks = {"one": Count(), "other": Count()}
    fitted(tiny_model, 6, callbacks=callbacks, trainer={"val_check_interval": 2})
    for callback in callbacks.values():
        assert callback.called == {"fit": 1, "step": 6, "validation": 3}


def test_a_callback_can_end_the_fit(tiny_model: LanguageModel) -> None:
    record, never = Record(), EarlyStopping("dev/loss", patience=1, min_delta=1e9)
    fitted(tiny_model, 20, callbacks={"record": record, "never": never}, trainer={"val_check_interval": 2})
    assert len(record.lrs) == 4, "the second validation has not improved on the first"


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


def test_a_steer_file_says_by_which_solver_and_with_what_options(tmp_path: Path, tiny_model: LanguageModel) -> None:
    solver = GradientSolver(module=partial(SteerModule, stop="none"), trainer={"max_steps": 3, "val_check_interval": 2})
    data = partial(SteerDataModule, batch_size=4, max_length=9, rows=10, dev_rows=5)
    save_steer(tmp_path / "steer.safetensors", *fit(tiny_model, corpus(), STEER_CONFIG, solver, data=data))
    training = load_provenance(tmp_path / "steer.safetensors").training
    assert [step for step, _ in training.pop("curve")["train"]] == [1, 2, 3]
    assert training.pop("seen")["rows"] == 3 * 4
    assert training == {
        "solver": "gradient",
        "steps": 3,
        "dev_every": 2,
        "stop": "none",
        "batch_size": 4,
        "max_length": 9,
        "rows": 10,
        "dev_rows": 5,
        "legacy_padding": False,
        "lr": 0.01,
        "regularization": 0.0,
        "init_std": 0.01,
    }


def test_without_options_a_fit_has_100_steps_and_a_validation_after_each_25(tiny_model: LanguageModel) -> None:
    _, provenance = fit(tiny_model, corpus(), STEER_CONFIG)
    assert len(provenance.training["curve"]["train"]) == provenance.training["steps"] == 100
    assert [step for step, _ in provenance.training["curve"]["dev"]] == [25, 50, 75, 100]
    assert provenance.training["solver"] == "gradient"


def test_a_steer_file_records_what_is_not_the_default(tiny_model: LanguageModel) -> None:
    assert GradientSolver().settings() == {"lr": 0.01}
    assert GradientSolver(trainer=partial(pl.Trainer, max_steps=3, precision=None)).settings() == {"lr": 0.01}
    solver = GradientSolver(
        optimizer=partial(torch.optim.SGD, lr=0.5, momentum=0.9),
        scheduler=partial(CosineAnnealingLR, T_max=4),
        callbacks={"record": Record()},
        trainer={"max_steps": 1, "gradient_clip_val": 1.0},
    )
    _, provenance = fit_with(tiny_model, solver)
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
        ({"trainer": {"max_epochs": 5}}, r"trainer\.max_epochs: trainer\.max_steps decides"),
        ({"trainer": partial(pl.Trainer, limit_val_batches=5)}, r"trainer\.limit_val_batches: data\.dev_rows decides"),
        ({"trainer": {"max_steps": 2.5}}, r"trainer\.max_steps=2\.5: an integer of 1 or more expected"),
        ({"trainer": {"val_check_interval": 0.5}}, r"trainer\.val_check_interval=0\.5: an integer of 1 or more"),
        ({"trainer": {"val_check_interval": "soon"}}, r"trainer\.val_check_interval=soon: an integer of 1 or more"),
        ({"trainer": {"gradient_clip": 5}}, r"trainer\.gradient_clip: no option of pytorch_lightning\.Trainer"),
        ({"trainer": {"precision": "12"}}, r"trainer\.precision: refused by Lightning \("),
        ({"trainer": {"max_time": "soon"}}, r"trainer\.max_time: refused by Lightning \("),
    ],
)
def test_impossible_options_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GradientSolver(**options)
