"""Promises of the library without Hydra."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from tests.handmade_runs import write_sweep

import lmsteer
from lmsteer.models.random_models import tiny

LEARNING = {"torch", "transformers", "pytorch_lightning", "torchmetrics", "wandb", "sklearn"}
HEAVY = LEARNING | {"scipy", "pandas"}


def test_a_steer_is_fitted_saved_loaded_and_used_in_ten_lines(tmp_path: Path) -> None:
    model = tiny()
    rows = [lmsteer.Row(f"story {n} is {tone}", y) for n in range(20) for tone, y in (("warm", 1.0), ("slow", -1.0))]
    corpus = lmsteer.Corpus("mine", train=tuple(rows[:30]), dev=tuple(rows[30:]))
    steer_config = lmsteer.SteerConfig(name="tone", rank=4, epsilon=0.05)
    solver = lmsteer.GradientSolver(trainer={"max_steps": 20})
    steer, provenance = lmsteer.fit(
        model, corpus, steer_config, solver, data=partial(lmsteer.SteerDataModule, batch_size=8)
    )
    lmsteer.save_steer(tmp_path / "tone.safetensors", steer, provenance)
    loaded, _ = lmsteer.load_steer(tmp_path / "tone.safetensors", model)
    plain, warm, slow = (
        lmsteer.generate(model, ["the film is", "the story"], steer=loaded, strength={"tone": v}, samples=3)
        for v in (0.0, 20.0, -20.0)
    )
    assert plain == [
        lmsteer.Generation(g.prompt, g.texts, {"tone": 0.0})
        for g in lmsteer.generate(model, ["the film is", "the story"], samples=3)
    ]
    assert warm != plain != slow
    assert [generation.prompt.text for generation in warm] == ["the film is", "the story"]
    assert all(len(generation.texts) == 3 for generation in warm)
    again = lmsteer.generate(model, ["the film is", "the story"], steer=steer, strength={"tone": 20.0}, samples=3)
    assert again == warm, "the steer is the same before and after the file"


def modules_after(code: str) -> set[str]:
    """Top-level packages that a new process has imported after ``code``."""
    code += "\nimport sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split("\n")[-2].split())


def test_importing_the_library_imports_nothing_that_is_not_used() -> None:
    assert not modules_after("import lmsteer") & {*HEAVY, "hydra", "omegaconf"}
    assert not modules_after("import lmsteer; lmsteer.fit") & {"hydra", "omegaconf", "wandb"}


def modules_of(command: str, *options: str) -> set[str]:
    """Top-level packages that a command has imported at its end, which comes with status 0 or one line of an error."""
    arguments, module = [command, *options], f"src.{command}"
    imported = modules_after(
        f"import sys, runpy; sys.argv = {arguments!r}\ntry: runpy.run_module({module!r}, run_name='__main__')\n"
        "except SystemExit as end: assert (end.code or 0) == 0 or 'Error' in str(end.code)"
    )
    assert "hydra" in imported
    return imported


@pytest.mark.parametrize(
    ("command", "option"),
    [
        *(("train", option) for option in ("--help", "steer.rnk=4", "steer.rank=abc", "trainer.max_steps=-1")),
        *(
            ("train", option)
            for option in ("cache=[1]", "protocol.kl=x", "device=gpu", "trainer.precision=9", "data.batch_size=0")
        ),
        *(("report", option) for option in ("--help", "titel=x", "runs=[]", "runs=no-such-folder")),
        *(("fetch", option) for option in ("--help", "force=x", "gemma=true")),
    ],
)
def test_help_and_refusals_import_nothing_of_the_work(command: str, option: str, tmp_path: Path) -> None:
    unused = LEARNING if command == "report" else HEAVY  # tables need pandas and scipy
    assert not modules_of(command, option, f"hydra.run.dir={tmp_path}") & unused


def test_a_report_of_finished_runs_is_made_without_torch(tmp_path: Path) -> None:
    runs = write_sweep(tmp_path / "sweep")
    assert not modules_of("report", f"runs={runs}", f"hydra.run.dir={tmp_path}/out", "wandb=none") & LEARNING
    assert (tmp_path / "out" / "report.html").is_file()


def test_every_public_name_is_found() -> None:
    assert all(getattr(lmsteer, name) is not None for name in dir(lmsteer))
    with pytest.raises(AttributeError, match="no attribute 'stear'"):
        _ = lmsteer.stear
